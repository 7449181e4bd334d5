# trees.pl DEPTH: perfect binary trees, made, counted and dropped; one is kept all the time.
use strict;
use warnings;

sub make {
	my $depth = shift;
	return $depth ? [make($depth - 1), make($depth - 1)] : [];
}

sub count {
	my $tree = shift;
	return @$tree ? 1 + count($tree->[0]) + count($tree->[1]) : 1;
}

my $deepest = shift;
my $kept = make($deepest);
for (my $depth = 4; $depth <= $deepest; $depth += 2) {
	my ($rounds, $sum) = (1 << ($deepest - $depth + 4), 0);
	$sum += count(make($depth)) for 1 .. $rounds;
	print "$depth $rounds $sum\n";
}
print count($kept), "\n";
