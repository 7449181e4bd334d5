#!/usr/bin/python3
"""
analyse.py [RESULTS] [--readme FILE] [--check] [--no-chart]

Reads RESULTS/SUITE.csv (benchmarks/results) and prints medians, spreads, ratios and whether the targets are met. With --readme it writes the table
between the markers of FILE and, beside the results, the charts; with --check it only says whether the table of FILE is what the results give.

Ratios are paired: a run is divided by the base's run of the same round and row; a row's ratio is the median over the rounds, a suite's the geometric
mean of its rows. Intervals are the middle 95 % of 2000 such figures, each from as many rounds drawn with replacement: rounds, not runs, because what
disturbs a machine disturbs neighbouring runs alike.
"""
import argparse
import csv
import glob
import math
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
COLUMNS = ['round', 'workload', 'threads', 'allocator', 'outcome', 'wall', 'user', 'sys', 'peak_kib', 'mean_kib', 'minor_faults', 'major_faults',
	'voluntary', 'involuntary', 'answer', 'details']
PEERS = ['jemalloc', 'mimalloc', 'tcmalloc']
OURS = ['gasket-fast', 'gasket']
BASE = 'glibc'
ORDER = [BASE, *PEERS, *OURS]
SUITES = ['alloc', 'one-cpu', 'programs', 'small', 'memory', 'latency']
DRAWS = 2000
ROUNDS_NEEDED = 7
MARGIN = 1.02  # a target is met when the upper end of the interval is below this much of it


def median(values):
	ordered = sorted(values)
	middle = len(ordered) // 2
	return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def quantile(ordered, share):
	position = share * (len(ordered) - 1)
	low = int(position)
	high = min(low + 1, len(ordered) - 1)
	return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def spread(values):
	"""Half the distance of the quartiles, in percent of the median."""
	ordered = sorted(values)
	return 50 * (quantile(ordered, 0.75) - quantile(ordered, 0.25)) / median(ordered) if median(ordered) else 0


class Estimate:
	"""A figure and its 95 % interval."""

	def __init__(self, value, draws):
		ordered = sorted(draws)
		self.value, self.low, self.high = value, quantile(ordered, 0.025), quantile(ordered, 0.975)

	def text(self, digits=3, scale=1):
		return f'{self.value * scale:.{digits}f} [{self.low * scale:.{digits}f}, {self.high * scale:.{digits}f}]'


def figure(row, metric):
	"""A number of a row of the file: a column, cpu, or a word of the details."""
	if metric == 'cpu':
		return float(row['user']) + float(row['sys'])
	if metric in COLUMNS:
		return float(row[metric])
	words = dict(word.split('=', 1) for word in row['details'].split())
	return float(words[metric])


class Suite:
	"""The results of one file. runs[workload, threads][allocator][round] is a row that ended well."""

	def __init__(self, path):
		self.name = os.path.basename(path)[:-4]
		self.head, self.runs, self.failures, self.drawn = {}, {}, [], None
		with open(path, newline='') as file:
			lines = list(file)
		for line in lines:
			if line.startswith('# '):
				key, _, value = line[2:].rstrip('\n').partition(': ')
				self.head[key] = value
		for row in csv.DictReader(line for line in lines if not line.startswith('#')):
			self.add(row)
		found = {name for by_allocator in self.runs.values() for name in by_allocator}
		self.allocators = [name for name in ORDER if name in found] + sorted(found - set(ORDER))
		self.rounds = sorted({number for by_allocator in self.runs.values() for runs in by_allocator.values() for number in runs} |
			{int(row['round']) for row in self.failures})

	def add(self, row):
		by_allocator = self.runs.setdefault((row['workload'], int(row['threads'])), {})
		if row['outcome'] == 'ok':
			by_allocator.setdefault(row['allocator'], {})[int(row['round'])] = row
		else:
			self.failures.append(row)

	def keys(self, *names):
		"""The rows in which none of the allocators failed: one wrong answer, and the row is not timed."""
		failed = {(row['workload'], int(row['threads']), row['allocator']) for row in self.failures}
		return [key for key, by_allocator in self.runs.items() if all(name in by_allocator and (*key, name) not in failed for name in names)]

	def complete(self, name):
		return len(self.keys(name)) == len(self.runs)

	def values(self, key, name, metric):
		return [figure(row, metric) for row in self.runs[key].get(name, {}).values()]

	def logs(self, key, name, base, metric):
		"""Logarithms of the ratios of a row, by round."""
		ours, theirs = self.runs[key].get(name, {}), self.runs[key].get(base, {})
		pairs = {number: (figure(ours[number], metric), figure(theirs[number], metric)) for number in ours if number in theirs}
		return {number: math.log(a / b) for number, (a, b) in pairs.items() if a > 0 and b > 0}

	def draws(self):
		"""The rounds of each draw, the same for all figures of the suite."""
		if not self.drawn:
			pick = random.Random(1)
			self.drawn = [pick.choices(self.rounds, k=len(self.rounds)) for _ in range(DRAWS)]
		return self.drawn

	def mean_ratio(self, name, base, metric):
		"""Geometric mean over all rows that both got right; None if there are none."""
		return self.ratio(self.keys(name, base), name, base, metric)

	def ratio(self, keys, name, base, metric):
		"""Geometric mean over the rows `keys`; None if one of them has no pairs."""
		rows = [self.logs(key, name, base, metric) for key in keys]
		if not rows or not all(rows):
			return None
		draws = []
		for rounds in self.draws():
			medians = [median(drawn) for drawn in ([row[number] for number in rounds if number in row] for row in rows) if drawn]
			if medians:
				draws.append(math.exp(sum(medians) / len(medians)))
		return Estimate(math.exp(sum(median(row.values()) for row in rows) / len(rows)), draws)

	def difference(self, key, name, base, metric):
		"""Median of the differences of the pairs of one row."""
		ours, theirs = self.runs[key].get(name, {}), self.runs[key].get(base, {})
		pairs = {number: figure(ours[number], metric) - figure(theirs[number], metric) for number in ours if number in theirs}
		if not pairs:
			return None
		draws = [median(drawn) for drawn in ([pairs[number] for number in rounds if number in pairs] for rounds in self.draws()) if drawn]
		return Estimate(median(pairs.values()), draws)

	def best_peer(self, metric='wall'):
		"""The peer with the lowest geometric mean over the suite, of the rows that all peers got right."""
		peers = [name for name in PEERS if name in self.allocators]
		keys = self.keys(BASE, *peers)
		means = {name: self.ratio(keys, name, BASE, metric) for name in peers} if keys else {}
		means = {name: ratio.value for name, ratio in means.items() if ratio}
		return min(means, key=means.get) if means else None


def load(folder):
	paths = {os.path.basename(path)[:-4]: path for path in glob.glob(os.path.join(folder, '*.csv'))}
	return {name: Suite(paths[name]) for name in SUITES if name in paths}


class Target:
	"""One line of the list of targets: a figure, what it may be, and what is said of it."""

	def __init__(self, what, estimate, limit, rounds, text=None, exact=False):
		self.what, self.estimate, self.limit, self.rounds = what, estimate, limit, rounds
		self.figure, self.exact = text or (estimate.text() if estimate else 'no figure'), exact

	def verdict(self):
		if not self.estimate:
			return 'not measured'
		if self.rounds < ROUNDS_NEEDED:
			return 'open'
		return 'met' if self.estimate.high <= self.limit * MARGIN else 'missed'


def row_name(key):
	return f'{key[0]} x{key[1]}' if key[1] > 1 else key[0]


def worst_row(suite, name, base, metric):
	ratios = {key: suite.ratio([key], name, base, metric) for key in suite.keys(name, base)}
	known = {key: ratio for key, ratio in ratios.items() if ratio}
	return max(known.items(), key=lambda item: item[1].value) if known else (None, None)


def targets_of_time(suite):
	rounds, peer, ours = len(suite.rounds), suite.best_peer(), 'gasket-fast'
	limit = 0.97 if suite.name == 'programs' else 0.75
	title = {'alloc': 'allocation-bound', 'one-cpu': 'allocation-bound on one CPU', 'programs': 'whole programs'}[suite.name]
	if not suite.complete(ours):
		yield Target(f'{title}: {ours} gives the right answers', None, 0, rounds)
		return
	if peer:
		yield Target(f'{title}, time against {peer}, the best peer <= 1.00', suite.mean_ratio(ours, peer, 'wall'), 1.00, rounds)
		key, ratio = worst_row(suite, ours, peer, 'wall')
		yield Target(f'{title}, the worst row against it <= 1.25', ratio, 1.25, rounds, ratio and f'{ratio.text()} {row_name(key)}')
		yield Target(f'{title}, peak memory against it <= 1.10', suite.mean_ratio(ours, peer, 'peak_kib'), 1.10, rounds)
	yield Target(f'{title}, time against glibc <= {limit}', suite.mean_ratio(ours, BASE, 'wall'), limit, rounds)
	yield Target(f'{title}, peak memory against glibc <= 1.10', suite.mean_ratio(ours, BASE, 'peak_kib'), 1.10, rounds)


def targets_of_small(suite):
	rounds = len(suite.rounds)
	for name in OURS:
		true, idle, forks = ('true', 1), ('idle', 1), ('forks', 1)
		if true in suite.runs and name in suite.runs[true]:
			count = figure(next(iter(suite.runs[true][name].values())), 'count')
			more = suite.difference(true, name, BASE, 'wall')
			each = Estimate(more.value / count, [more.low / count, more.high / count]) if more else None
			yield Target(f'`true`, {name}: <= 1 ms each more than glibc', each, 0.001, rounds, each and each.text(3, 1000) + ' ms')
		if idle in suite.runs and name in suite.runs[idle]:
			more = suite.difference(idle, name, BASE, 'private_kib')
			yield Target(f'idle small process, {name}: <= 400 KiB private memory more than glibc', more, 400, rounds, more and more.text(0) + ' KiB')
		if forks in suite.runs and name in suite.runs[forks]:
			yield Target(f'script of forks, {name}: time against glibc <= 1.05', suite.ratio([forks], name, BASE, 'wall'), 1.05, rounds)


def targets_of_memory(suite):
	key = ('fragmentation', 1)
	medians = {name: median(suite.values(key, name, 'waited_kib')) for name in PEERS if suite.values(key, name, 'waited_kib')}
	peer = min(medians, key=medians.get) if medians else None
	for name in OURS:
		if peer:
			ratio = suite.ratio([key], name, peer, 'waited_kib')
			yield Target(f'resident 10 s after 90 % was freed, {name}: <= {peer}, the best peer', ratio, 1.0, len(suite.rounds))


def targets(suites):
	for name in ('alloc', 'one-cpu', 'programs'):
		if name in suites:
			yield from targets_of_time(suites[name])
	if 'small' in suites:
		yield from targets_of_small(suites['small'])
	if 'memory' in suites:
		yield from targets_of_memory(suites['memory'])


def print_rows(suite, metric, unit, digits, scale=1):
	"""Medians and spreads, a line per row."""
	width = max([len(row_name(key)) for key in suite.runs] + [16])
	print(f'\n{suite.name}: {metric}, {unit}: median ± spread in %')
	print(' ' * width + ''.join(f'{name:>16}' for name in suite.allocators))
	for key in suite.runs:
		cells = []
		for name in suite.allocators:
			values = suite.values(key, name, metric)
			cells.append(f'{median(values) * scale:10.{digits}f} ±{spread(values):4.1f}' if values else 'failed'.rjust(16))
		print(f'{row_name(key):{width}}' + ''.join(f'{cell:>16}' for cell in cells))


def print_ratios(suite, metric, title):
	"""Every row of ours against glibc and the best peer, and the suite's means."""
	peer = suite.best_peer()
	pairs = [(name, BASE) for name in suite.allocators if name != BASE] + [(name, peer) for name in OURS if peer and name in suite.allocators]
	width = max([len(row_name(key)) for key in suite.runs] + [16])
	print(f'\n{suite.name}: {title}, ratio [95 %]' + (f'; the best peer is {peer}' if peer else ''))
	print(' ' * width + ''.join(f'{name + "/" + base:>24}' for name, base in pairs))
	for key in suite.runs:
		cells = [suite.ratio([key], name, base, metric) if key in suite.keys(name, base) else None for name, base in pairs]
		print(f'{row_name(key):{width}}' + ''.join(f'{cell.text() if cell else "-":>24}' for cell in cells))
	cells = [suite.mean_ratio(name, base, metric) for name, base in pairs]
	print(f'{"geometric mean":{width}}' + ''.join(f'{cell.text() if cell else "-":>24}' for cell in cells))


def print_details(suite, metrics, keys=None):
	for key in keys or suite.runs:
		print(f'\n{suite.name}: {row_name(key)}: medians')
		width = max(map(len, metrics)) + 2
		print(' ' * width + ''.join(f'{name:>13}' for name in suite.allocators))
		for metric in metrics:
			cells = []
			for name in suite.allocators:
				values = suite.values(key, name, metric)
				cells.append(f'{median(values):13.0f}' if values else f'{"failed":>13}')
			print(f'{metric:{width}}' + ''.join(cells))


def print_latency(suite):
	"""50 % / 99 % / 99.9 % of the calls take less, in ns; medians of the rounds."""
	for key in suite.runs:
		print(f'\n{suite.name}: {row_name(key)}: ns per call, 50 / 99 / 99.9 % (the timer takes part of it)')
		rows = [row for runs in suite.runs[key].values() for row in runs.values()]
		if not rows:
			continue
		calls = [word.split('=')[0] for word in rows[0]['details'].split() if '/' in word]
		print(' ' * 14 + ''.join(f'{name:>19}' for name in suite.allocators))
		for call in calls:
			print(f'{call:14}' + ''.join(f'{latency_cell(suite, key, name, call):>19}' for name in suite.allocators))


def latency_cell(suite, key, name, call):
	parts = [[float(part) for part in word.split('=')[1].split('/')] for row in suite.runs[key].get(name, {}).values()
		for word in row['details'].split() if word.startswith(call + '=')]
	return '/'.join(f'{median([part[i] for part in parts]):.0f}' for i in range(3)) if parts else 'failed'


def failure_lines(suite):
	"""One for each row and allocator: what happened first, and how often something did."""
	found = {}
	for row in suite.failures:
		found.setdefault((row['workload'], int(row['threads']), row['allocator']), []).append(row['outcome'])
	for (workload, threads, name), outcomes in found.items():
		yield f'{suite.name}: {row_name((workload, threads))} under {name}: {outcomes[0]}, in {len(outcomes)} of {len(suite.rounds)} rounds'


def print_head(suite):
	print(f'\n=== {suite.head.get("suite", suite.name)}')
	for key in ('machine', 'kernel', 'commit', 'command', 'date', 'load before', 'left out'):
		if key in suite.head:
			print(f'{key}: {suite.head[key]}')
	for line in failure_lines(suite):
		print(f'FAILED: {line}')


def print_suite(suite):
	print_head(suite)
	if suite.name == 'latency':
		print_latency(suite)
		return
	if suite.name == 'memory':
		print_details(suite, ['full_kib', 'live_kib', 'freed_kib', 'waited_kib', 'nudged_kib', 'others_kib'])
		return
	if suite.name == 'small' and ('idle', 1) in suite.runs:
		print_details(suite, ['private_kib', 'dirty_kib', 'resident_kib'], [('idle', 1)])
	print_rows(suite, 'wall', 'ms', 1, 1000)
	print_rows(suite, 'peak_kib', 'MiB', 1, 1 / 1024)
	print_ratios(suite, 'wall', 'wall time')
	print_ratios(suite, 'cpu', 'CPU time')
	print_ratios(suite, 'peak_kib', 'peak memory')


def print_targets(suites):
	lines = list(targets(suites))
	if lines:
		print(f'\n=== Targets: met when the upper end of the interval is within 2 % of it; open with fewer than {ROUNDS_NEEDED} rounds')
	for target in lines:
		print(f'{target.verdict():12}  {target.what}: {target.figure}')


# What README.md shows: suite, metric, title.
README_ROWS = [
	('alloc', 'wall', 'time, {rows} rows bound by allocation'),
	('alloc', 'peak_kib', 'peak memory'),
	('one-cpu', 'wall', 'time, {rows} of them on one CPU'),
	('programs', 'wall', 'time, {rows} whole programs'),
	('programs', 'peak_kib', 'peak memory'),
]
TITLES = {'gasket-fast': 'Gasket, `mode=fast`', 'gasket': 'Gasket'}


def readme_cell(suite, name, metric):
	if name == BASE:
		return '1'
	ratio = suite.mean_ratio(name, BASE, metric)
	return f'{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]' if ratio else '-'


def readme_lines(suites, chart):
	"""The block of README.md; nothing as long as there are no results."""
	if not suites:
		return
	first = next(iter(suites.values()))
	heads = [suite.head for suite in suites.values()]
	names = [name for name in ORDER if any(name in suite.allocators for suite in suites.values())]
	yield f'{first.head.get("machine", "")}; {first.head.get("kernel", "")}; {", ".join(sorted({head.get("date", "") for head in heads}))}, ' \
		f'commit {", ".join(sorted({head.get("commit", "") for head in heads}))}, {first.head.get("rounds", "")} rounds. ' \
		'Ratios to glibc: geometric means, 95 % intervals; below 1 is less.'
	yield ''
	yield '| | ' + ' | '.join(TITLES.get(name, name) for name in names) + ' |'
	yield '|---|' + '---|' * len(names)
	for suite_name, metric, title in README_ROWS:
		suite = suites.get(suite_name)
		if suite:
			cells = [readme_cell(suite, name, metric) if name in suite.allocators else '-' for name in names]
			yield f'| {title.format(rows=len(suite.runs))} | ' + ' | '.join(cells) + ' |'
	if 'memory' in suites:
		suite, key = suites['memory'], ('fragmentation', 1)
		cells = [f'{median(suite.values(key, name, "waited_kib")) / 1024:.0f} MiB' if suite.values(key, name, 'waited_kib') else '-' for name in names]
		yield '| resident 10 s after 90 % was freed at random | ' + ' | '.join(cells) + ' |'
	yield ''
	yield '| target | figure | |'
	yield '|---|---|---|'
	for target in targets(suites):
		yield f'| {target.what} | {target.figure} | {target.verdict()} |'
	if chart:
		yield ''
		yield f'![Ratios to glibc, by suite]({chart})'
	failures = [line for suite in suites.values() for line in failure_lines(suite)]
	if failures:
		yield ''
		yield 'Not timed, for it went wrong: ' + '; '.join(failures) + '.'


def update_readme(path, suites, chart, only_check):
	begin, end = '<!-- benchmarks: made by benchmarks/analyse.py from benchmarks/results -->', '<!-- end of benchmarks -->'
	old = open(path).read()
	if begin not in old or end not in old:
		sys.exit(f'{path} has no block of benchmarks')
	new = old[:old.index(begin)] + '\n'.join([begin, *readme_lines(suites, chart), end]) + old[old.index(end) + len(end):]
	if only_check and new != old:
		sys.exit(f'{path}: the table of benchmarks is not current; run benchmarks/analyse.py --readme {path}')
	if not only_check:
		open(path, 'w').write(new)


def main(arguments=None):
	parser = argparse.ArgumentParser(prog='analyse.py', usage=__doc__.strip().split('\n')[0])
	parser.add_argument('results', nargs='?', default=os.path.join(HERE, 'results'))
	parser.add_argument('--readme')
	parser.add_argument('--check', action='store_true')
	parser.add_argument('--no-chart', action='store_true')
	options = parser.parse_args(arguments)
	suites = load(options.results)
	chart = os.path.join(options.results, 'summary.svg')
	link = os.path.relpath(chart, os.path.dirname(os.path.abspath(options.readme))) if options.readme else None
	if not options.check:
		if not suites:
			print(f'{options.results} holds no results; scripts/bench makes them')
		for suite in suites.values():
			print_suite(suite)
		print_targets(suites)
		if suites and not options.no_chart:
			import chart as drawing
			drawing.draw(suites, options.results)
	if options.readme:
		update_readme(options.readme, suites, link if os.path.exists(chart) else None, options.check)
	return 0


if __name__ == '__main__':
	sys.exit(main())
