#!/usr/bin/python3
"""
collector.py [--quick] [--rounds N] [--build FOLDER] [--results FOLDER]

The suite `collector` of scripts/bench, all in one interleaved run: what collections cost a program that runs beside them (pauses.c under each tier, with 1 and
4 GiB of live blocks and with 5000 threads); how soon threads that never wait stand still (stops.c); what a snapshot takes in memory; how much slower redis and
a program that writes get; and how fast a mark is (marks.c: Gasket, bdwgc, and a loop written for just that graph). Writes RESULTS/collector.csv and, with
matplotlib, collector.svg.
"""
import os
import re
import statistics
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import bench  # noqa: E402
import standalone  # noqa: E402
from cases import Redis  # noqa: E402
from standalone import percentile  # noqa: E402
from steady import steady  # noqa: E402

TIERS = {
	'no collector': 'mode=fast',
	'stw': 'collector=stw:interval_ms=200',
	# with naps, but without the rests that keep the share: a cycle of 10 s would leave too few pauses
	'snapshot': 'collector=snapshot:interval_ms=200:cpu_percent=50',
	'concurrent': 'collector=concurrent:interval_ms=200:cpu_percent=50',
}
# Further programs under GASKET_OPTIONS: name, options, MiB, seconds, and what comes behind them on the command line of pauses.c.
MORE = [
	('4 GiB', TIERS['concurrent'], 4096, 60, ['0', '64', '512']),
	('5000 threads', 'interval_ms=200', 16, 8, ['0', '5000']),
	('snapshot, a writer', TIERS['snapshot'], 1024, 15, ['1', '0']),
]
SPINNING, STOP_SECONDS, FLOOR = 8, 10, 'by signals, without Gasket'
STOP_OPTIONS = 'collector=stw:interval_ms=50'
# Rows of the suite steady, without a collector and while cycles run back to back.
SLOWED, SLOWED_SECONDS, SLOWED_TIMES = ['redis', 'writes'], 10, 2
BACK_TO_BACK = ['concurrent', 'snapshot']
KINDS = {'loop': {}, 'malloc': {'GASKET_OPTIONS': 'collector=stw:stacks=off:pause_max_ms=100000:gctrace=1'}, 'bdwgc': {'GC_MARKERS': '1'}}
COLUMNS = ['round', 'measure', 'name', 'mib', 'values']
COPIES_SECONDS = 0.1


class Copies(threading.Thread):
	"""Looks at the children of a process that mark: what memory is theirs alone, which are pages that were written since, and their page tables."""

	def __init__(self, pid):
		super().__init__(daemon=True)
		self.pid, self.kib, self.over = pid, {}, threading.Event()
		self.start()

	def run(self):
		while not self.over.wait(COPIES_SECONDS):
			for child in filter(str.isdigit, os.listdir('/proc')):
				stat = bench.read(f'/proc/{child}/stat')
				if '(gasket-mark) ' in stat and stat.split(') ')[1].split()[1] == str(self.pid):
					text = bench.read(f'/proc/{child}/smaps_rollup') + bench.read(f'/proc/{child}/status')
					kib = sum(int(value) for value in re.findall(r'(?:Private_Clean|Private_Dirty|VmPTE):\s+(\d+)', text))
					self.kib[child] = max(kib, self.kib.get(child, 0))

	def end(self):
		"""The most MiB of each child."""
		self.over.set()
		self.join()
		return [f'{value / 1024:.1f}' for value in self.kib.values()]


def run(build, words, variables):
	"""Returns what a program printed, what it said on standard error, and the MiB of its snapshots."""
	clean = {key: value for key, value in os.environ.items() if key not in ('LD_PRELOAD', 'GASKET_OPTIONS')}
	process = subprocess.Popen([*words[:-1], os.path.join(build, 'benchmarks', words[-1][0]), *words[-1][1:]], env={**clean, **variables},
		stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
	copies = Copies(process.pid) if 'snapshot' in variables.get('GASKET_OPTIONS', '') else None
	try:
		output, errors = process.communicate(timeout=600)
	except subprocess.TimeoutExpired:
		process.kill()
		raise RuntimeError(f'{words[-1]} takes too long')
	if process.returncode:
		raise RuntimeError(f'{words[-1]} ended with status {process.returncode}: {errors[-300:]}')
	return output, errors, copies.end() if copies else []


def under(build, options):
	return {'LD_PRELOAD': os.path.join(build, 'libgasket.so'), 'GASKET_OPTIONS': f'{options}:gctrace=1:pause_max_ms=100000'}


def pauses(build, options, mib, seconds, words=()):
	"""The program's own gaps in microseconds, and the pauses of the cycles as the collector saw them, in milliseconds."""
	output, errors, copies = run(build, [['pauses', str(mib), str(seconds), *words]], under(build, options))
	threads = sum(int(word) for word in (list(words) + ['0', '64'][len(words):])[:2]) + 2
	longest = re.search(r'longest ([\d ]+) us', output)
	yield 'longest_us', longest.group(1).split(' ') if longest else []
	yield 'histogram', re.search(r'histogram ([\d ]+)', output).group(1).split(' ')
	yield 'pauses_ms', re.findall(rf'gc \d+ .* pause ([\d.]+),.* {threads} threads', errors)
	yield 'extra_mib', copies


def stops(build, floor):
	"""Milliseconds until threads that never wait stood still: stopped by the collector, or by the program itself."""
	words = ['stops', str(SPINNING), str(STOP_SECONDS)]
	if floor:
		return run(build, [words + ['floor']], {})[0].split()
	_, errors, _ = run(build, [words], under(build, STOP_OPTIONS))
	return re.findall(rf'gc \d+ @\S+ stw ([\d.]+)\+.* {SPINNING + 1} threads', errors)


def marks(build, kind, mib, cycles):
	variables = {**KINDS[kind], **({'LD_PRELOAD': os.path.join(build, 'libgasket.so')} if kind == 'malloc' else {})}
	output, errors, _ = run(build, ['taskset', '-c', '0', ['marks', kind, str(mib), str(cycles)]], variables)
	if kind != 'malloc':
		return output.split()
	# gasket_collect() has two cycles run, for one may be under way; each cycle says how long threads stood still, which is the mark with all around it
	return re.findall(r'gc \d+ .* pause ([\d.]+),', errors)[-2 * cycles:]


def slowed(build, seconds):
	"""What redis and a program that writes do in each second, in turns without a collector and with cycles all the time."""
	for name in SLOWED:
		if name == 'redis' and Redis().missing():
			continue
		for kind in ['no collector', *BACK_TO_BACK] * SLOWED_TIMES:
			fields = steady.run(build, name, f'collector={kind}:interval_ms=1:pause_max_ms=100000' if kind in BACK_TO_BACK else TIERS[kind], seconds)
			if fields['outcome'] != 'ok':
				raise RuntimeError(f'{name}, {kind}: {fields["outcome"]}')
			yield 'per_second', f'{name}, {kind}', 0, [f'{value:.0f}' for value in steady.throughput(fields)]
			if kind in BACK_TO_BACK:
				under_way = sum(steady.numbers(fields, 'pauses_ms') + steady.numbers(fields, 'beside_ms'))
				yield 'under_way_percent', f'{name}, {kind}', 0, [f'{under_way / float(fields["wall"]) / 10:.0f}']


def parts(options, build):
	"""Yields what is run in one round: what to say, and a function that yields (measure, name, MiB, values)."""
	share = 8 if options.quick else 1

	def of_pauses(name, *arguments):
		return lambda: ((what, name, arguments[1], values) for what, values in pauses(build, *arguments) if values)

	for tier in TIERS:
		yield tier, of_pauses(tier, TIERS[tier], 1024 // share, 4 if options.quick else 25)
	for name, gasket_options, mib, seconds, words in MORE:
		yield name, of_pauses(name, gasket_options, max(16, mib // share), max(4, seconds // share), words)
	yield 'stops', lambda: (('stops_ms', name, 0, stops(build, name == FLOOR)) for name in (FLOOR, 'stops'))
	yield 'slowdown', lambda: slowed(build, 4 if options.quick else SLOWED_SECONDS)
	for kind in KINDS:
		yield f'mark by {kind}', lambda kind=kind: [('mark_ms', kind, 1024 // share, marks(build, kind, 1024 // share, 3 if options.quick else 4))]


def measure(options, build):
	for number in range(1, options.rounds + 1):
		for what, part in parts(options, build):
			standalone.say(f'collector: round {number} of {options.rounds}: {what}')
			try:
				for measured, name, mib, values in part():
					yield {'round': number, 'measure': measured, 'name': name, 'mib': mib, 'values': ' '.join(values)}
			except RuntimeError as error:
				standalone.say(f'collector: {error}')


def numbers(rows, measure_name, name):
	return [float(value) for row in rows if row['measure'] == measure_name and row['name'] == name for value in row['values'].split()]


def per_round(rows, name):
	"""The best collection of each round: the rest is the machine's."""
	return {row['round']: min(float(value) for value in row['values'].split()) for row in rows if row['measure'] == 'mark_ms' and row['name'] == name}


def longer_gaps(rows, name):
	"""Milliseconds by which the longest gap that the thread saw in each round is longer than without a collector."""
	gaps = {key: {row['round']: float(row['values'].split()[0]) / 1e3 for row in rows if row['measure'] == 'longest_us' and row['name'] == key and row['values']}
		for key in (name, 'no collector')}
	return [max(0, gap - gaps['no collector'][number]) for number, gap in gaps[name].items() if number in gaps['no collector']]


def slowdown(rows, name, kind):
	"""Percent, of each round."""
	def of(number, kind):
		return statistics.median(numbers([row for row in rows if row['round'] == number], 'per_second', f'{name}, {kind}'))
	found = sorted({row['round'] for row in rows if row['name'] == f'{name}, {kind}'})
	return [100 * (of(number, 'no collector') / of(number, kind) - 1) for number in found]


# What is measured, its figures, what is judged (0.5: the median, 0.99, 1: the most), and what it may be; None: nothing is.
TARGETS = [
	('pause, 1 GiB, concurrent', lambda rows: numbers(rows, 'pauses_ms', 'concurrent'), 0.99, 0.5, 'ms'),
	('the same, the longest', lambda rows: numbers(rows, 'pauses_ms', 'concurrent'), 1, 2, 'ms'),
	('as a thread sees it, the longest', lambda rows: longer_gaps(rows, 'concurrent'), 1, 2, 'ms'),
	('pause, 4 GiB, concurrent', lambda rows: numbers(rows, 'pauses_ms', '4 GiB'), 0.99, 1.5, 'ms'),
	('stop of 8 spinning threads', lambda rows: numbers(rows, 'stops_ms', 'stops'), 0.99, 4, 'ms'),
	(FLOOR, lambda rows: numbers(rows, 'stops_ms', FLOOR), None, None, 'ms'),
	('pause, 5000 idle threads', lambda rows: numbers(rows, 'pauses_ms', '5000 threads'), 1, 10, 'ms'),
	('snapshot, more memory, 1 GiB', lambda rows: numbers(rows, 'extra_mib', 'snapshot'), None, None, 'MiB'),
	('the same with a writer', lambda rows: numbers(rows, 'extra_mib', 'snapshot, a writer'), None, None, 'MiB'),
	*((f'slowdown of {name}, {kind}', lambda rows, pair=(name, kind): slowdown(rows, *pair), 0.5, 10, '%') for name in SLOWED for kind in BACK_TO_BACK),
	*((f'cycles under way, {name}, {kind}', lambda rows, key=f'{name}, {kind}': numbers(rows, 'under_way_percent', key), None, None, '%')
		for name in SLOWED for kind in BACK_TO_BACK),
]


def judge(rows):
	if rows[0]['mib'] < 1024:
		print('\nquick: of all these GiB an eighth')
	print(f'\n{"":36}{"figures":>8}{"p50":>10}{"p99":>10}{"most":>10}       {"target"}')
	for what, figures, share, limit, unit in TARGETS:
		values = figures(rows)
		if not values:
			print(f'{what:36}{0:8}')
			continue
		target = share and f'{"p50" if share == 0.5 else "most" if share == 1 else "p99"} <= {limit} {unit}: '
		verdict = target and target + ('met' if percentile(values, share) <= limit else 'missed') or ''
		print(f'{what:36}{len(values):8}{statistics.median(values):10.3f}{percentile(values, 0.99):10.3f}{max(values):10.3f} {unit:6}{verdict}')


def summarize(rows):
	mib = rows[0]['mib']
	judge(rows)
	print(f'\n{mib} MiB of live 64-byte blocks in random order, 64 blocked threads, one that looks at the clock:')
	print(f'{"":14}{"cycles":>8}{"pause p50":>12}{"p99":>10}{"longest":>10} ms   {"the longest gap that a thread saw, each round, ms"}')
	for tier in TIERS:
		seen = numbers(rows, 'pauses_ms', tier)
		gaps = [float(row['values'].split()[0]) / 1e3 for row in rows if row['measure'] == 'longest_us' and row['name'] == tier and row['values']]
		line = f'{len(seen):8}{statistics.median(seen):12.3f}{percentile(seen, 0.99):10.3f}{max(seen):10.3f}' if seen else f'{0:8}{"-":>12}{"-":>10}{"-":>10}'
		print(f'{tier:14}{line}      {" ".join(f"{gap:.2f}" for gap in gaps)}')
	print(f'\nfull mark of {mib} MiB, one CPU, the best of each round, ms:')
	base = {name: per_round(rows, name) for name in KINDS}
	for name in KINDS:
		if base[name]:
			ratios = [base['malloc'][number] / value for number, value in base[name].items() if number in base['malloc']]
			print(f'{name:14}{" ".join(f"{value:9.1f}" for value in base[name].values())}   Gasket against it: {statistics.median(ratios):.2f}')


def draw(rows, path):
	pyplot = standalone.pyplot()
	if not pyplot:
		return
	figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.6), width_ratios=(2, 1))
	colours = {'no collector': '#7f7f7f', 'stw': '#1f77b4', 'snapshot': '#9467bd', 'concurrent': '#d62728'}
	for tier in TIERS:
		histograms = [[int(value) for value in row['values'].split()] for row in rows if row['measure'] == 'histogram' and row['name'] == tier]
		sums = [sum(column) for column in zip(*histograms)]
		left.step([32 * 2 ** i / 1e3 for i in range(len(sums))], [value or None for value in sums], where='post', color=colours[tier], label=tier, linewidth=1.6)
	left.set_xscale('log')
	left.set_yscale('log')
	left.set_xlabel('time in which the thread did not run, ms')
	left.set_ylabel('how often')
	left.legend(frameon=False, fontsize=8)
	left.set_title(f'gaps over {rows[0]["mib"]} MiB of live blocks', fontsize=10, loc='left')
	names = [name for name in KINDS if per_round(rows, name)]
	labels = {'loop': 'a loop for this graph', 'malloc': 'Gasket', 'bdwgc': 'bdwgc 8.2'}
	right.barh([labels[name] for name in names], [statistics.median(per_round(rows, name).values()) for name in names],
		color=['#d62728' if name == 'malloc' else '#7f7f7f' for name in names])
	right.invert_yaxis()
	right.set_title('full mark, one CPU, ms', fontsize=10, loc='left')
	standalone.save(figure, path)


def finish(rows, results):
	summarize(rows)
	draw(rows, os.path.join(results, 'collector.svg'))


def main(arguments=None):
	return standalone.main('collector', COLUMNS, (3, 1), TIERS, measure, finish, arguments)


if __name__ == '__main__':
	sys.exit(main())
