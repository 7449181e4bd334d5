#!/usr/bin/python3
"""
collector.py [--quick] [--rounds N] [--build FOLDER] [--results FOLDER]

The suite `collector` of scripts/bench: what collections cost a program that runs beside them (pauses.c under each tier), and how fast a mark is (marks.c:
Gasket, bdwgc, and a loop written for just that graph), all in one interleaved run. Writes RESULTS/collector.csv and, with matplotlib, collector.svg.
"""
import argparse
import csv
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import bench  # noqa: E402

TIERS = {
	'no collector': 'mode=fast',
	'stw': 'collector=stw:interval_ms=200',
	'snapshot': 'collector=snapshot:interval_ms=200',
	'concurrent': 'collector=concurrent:interval_ms=200',
}
KINDS = {'loop': {}, 'malloc': {'GASKET_OPTIONS': 'collector=stw:stacks=off:pause_max_ms=100000:gctrace=1'}, 'bdwgc': {'GC_MARKERS': '1'}}
COLUMNS = ['round', 'measure', 'name', 'mib', 'values']


def run(build, words, variables):
	clean = {key: value for key, value in os.environ.items() if key not in ('LD_PRELOAD', 'GASKET_OPTIONS')}
	done = subprocess.run([*words[:-1], os.path.join(build, 'benchmarks', words[-1][0]), *words[-1][1:]], env={**clean, **variables},
		capture_output=True, text=True, timeout=600)
	if done.returncode:
		raise RuntimeError(f'{words[-1]} ended with status {done.returncode}: {done.stderr[-300:]}')
	return done


def pauses(build, library, tier, mib, seconds):
	"""The program's own gaps in microseconds, and the pauses of the cycles as the collector saw them, in milliseconds."""
	done = run(build, [['pauses', str(mib), str(seconds)]], {'LD_PRELOAD': library, 'GASKET_OPTIONS': TIERS[tier] + ':gctrace=1:pause_max_ms=100000'})
	last = [line for line in done.stderr.split('\n') if 'threads' in line and ' 66 threads' in line]
	seen = [float(re.search(r'pause ([\d.]+)', line).group(1)) for line in last]
	longest = re.search(r'longest ([\d ]+) us', done.stdout)
	return {
		'longest_us': longest.group(1).split(' ') if longest else [],
		'histogram': re.search(r'histogram ([\d ]+)', done.stdout).group(1).split(' '),
		'pauses_ms': [f'{value:.3f}' for value in seen],
	}


def marks(build, library, kind, mib, cycles):
	variables = {**KINDS[kind], **({'LD_PRELOAD': library} if kind == 'malloc' else {})}
	done = run(build, ['taskset', '-c', '0', ['marks', kind, str(mib), str(cycles)]], variables)
	if kind != 'malloc':
		return done.stdout.split()
	# gasket_collect() has two cycles run, for one may be under way; each cycle says how long threads stood still, which is the mark with all around it
	return re.findall(r'gc \d+ .* pause ([\d.]+),', done.stderr)[-2 * cycles:]


def measure(options, build, write):
	library = os.path.join(build, 'libgasket.so')
	mib, seconds, cycles = (128, 4, 3) if options.quick else (1024, 25, 4)
	for number in range(1, options.rounds + 1):
		for tier in TIERS:
			print(f'bench: collector: round {number} of {options.rounds}: {tier}', file=sys.stderr, flush=True)
			for name, values in pauses(build, library, tier, mib, seconds).items():
				write(number, name, tier, mib, values)
		for kind in KINDS:
			print(f'bench: collector: round {number} of {options.rounds}: mark by {kind}', file=sys.stderr, flush=True)
			try:
				write(number, 'mark_ms', kind, mib, marks(build, library, kind, mib, cycles))
			except RuntimeError as error:
				print(f'bench: collector: {error}', file=sys.stderr)


def numbers(rows, measure_name, name):
	return [float(value) for row in rows if row['measure'] == measure_name and row['name'] == name for value in row['values'].split()]


def per_round(rows, name):
	"""The best collection of each round: the rest is the machine's."""
	return {row['round']: min(float(value) for value in row['values'].split()) for row in rows if row['measure'] == 'mark_ms' and row['name'] == name}


def percentile(values, share):
	return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def summarize(rows):
	mib = rows[0]['mib']
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
	try:
		import matplotlib
		matplotlib.use('Agg')
		from matplotlib import pyplot
	except ImportError:
		print('bench: no chart: python3-matplotlib is not installed', file=sys.stderr)
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
	for axes in (left, right):
		axes.spines[['top', 'right']].set_visible(False)
	figure.tight_layout()
	figure.savefig(path, metadata={'Date': None})


def main(arguments=None, command=''):
	parser = argparse.ArgumentParser(prog='scripts/bench --suite collector')
	parser.add_argument('--quick', action='store_true')
	parser.add_argument('--rounds', type=int)
	parser.add_argument('--build', default=os.path.join(bench.TOP, 'build'))
	parser.add_argument('--results')
	options = parser.parse_args(arguments)
	options.rounds = options.rounds or (1 if options.quick else 3)
	build = os.path.realpath(options.build)
	results = options.results or (os.path.join(build, 'benchmarks', 'quick') if options.quick else os.path.join(bench.HERE, 'results'))
	os.makedirs(results, exist_ok=True)
	path = os.path.join(results, 'collector.csv')
	rows = []
	with open(path + '.new', 'w', newline='') as file:
		head = bench.header(['--suite', 'collector'] + (['--quick'] if options.quick else []), build, options.rounds, TIERS)
		for key, value in head.items():
			file.write(f'# {key}: {value}\n')
		writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
		writer.writeheader()

		def write(number, measure_name, name, mib, values):
			rows.append({'round': number, 'measure': measure_name, 'name': name, 'mib': mib, 'values': ' '.join(values)})
			writer.writerow(rows[-1])
			file.flush()

		measure(options, build, write)
	os.rename(path + '.new', path)
	summarize(rows)
	draw(rows, os.path.join(results, 'collector.svg'))
	return 0


if __name__ == '__main__':
	sys.exit(main())
