# trees.rb DEPTH: perfect binary trees with a string in each node, made, counted and dropped; one is kept all the time.
def make(depth)
  depth.zero? ? [nil, nil, 'leaf' * 8] : [make(depth - 1), make(depth - 1), 'node' * 12]
end

def count(tree)
  tree[0] ? tree[2].size + count(tree[0]) + count(tree[1]) : tree[2].size
end

deepest = ARGV[0].to_i
kept = make(deepest)
4.step(deepest, 2) do |depth|
  rounds = 1 << (deepest - depth + 4)
  puts "#{depth} #{rounds} #{(1..rounds).sum { count(make(depth)) }}"
end
puts count(kept)
