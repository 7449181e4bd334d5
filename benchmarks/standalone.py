"""What the suites with columns of their own have in common: options, the file of results, and what is said at the end."""
import argparse
import csv
import os
import sys

import bench


def say(line):
	print(f'bench: {line}', file=sys.stderr, flush=True)


def main(suite, columns, rounds, names, measure, finish, arguments, row_names=(), command=()):
	"""
	`rounds`: how many, and of --quick. `measure(options, build)` yields rows as dictionaries, which are written to RESULTS/SUITE.csv as they come, beside the old
	file and then over it; `finish(rows, results)` prints and draws. `row_names`: what may be chosen by --row, options.row; `command`: what runs it, where that is not scripts/bench. Returns the status.
	"""
	command = list(command) or ['scripts/bench', '--suite', suite]
	parser = argparse.ArgumentParser(prog=' '.join(command))
	parser.add_argument('--quick', action='store_true')
	parser.add_argument('--rounds', type=int)
	if row_names:
		parser.add_argument('--row', action='append', choices=row_names, help='only this one (again: and this one); benchmarks/results is left alone')
	parser.add_argument('--build', default=os.path.join(bench.TOP, 'build'))
	parser.add_argument('--results')
	options = parser.parse_args(arguments)
	command += ['--quick'] * options.quick + (['--rounds', str(options.rounds)] if options.rounds else [])
	options.row = getattr(options, 'row', None) or []
	command += [word for name in options.row for word in ('--row', name)]
	options.rounds = options.rounds or rounds[options.quick]
	build = os.path.realpath(options.build)
	results = options.results or (os.path.join(build, 'benchmarks', 'quick') if options.quick or options.row else os.path.join(bench.HERE, 'results'))
	os.makedirs(results, exist_ok=True)
	path = os.path.join(results, f'{suite}.csv')
	rows = []
	with open(path + '.new', 'w', newline='') as file:
		for key, value in bench.header(command, build, options.rounds, names).items():
			file.write(f'# {key}: {value}\n')
		writer = csv.DictWriter(file, columns, lineterminator='\n', restval='')
		writer.writeheader()
		for row in measure(options, build):
			rows.append(row)
			writer.writerow(row)
			file.flush()
	os.rename(path + '.new', path)
	finish(rows, results)
	return 0


def pyplot():
	"""None, and a line that says so, without matplotlib."""
	try:
		import matplotlib
	except ImportError:
		say('no chart: python3-matplotlib is not installed')
		return None
	matplotlib.use('Agg')
	from matplotlib import pyplot
	return pyplot


def save(figure, path):
	for axes in figure.axes:
		axes.spines[['top', 'right']].set_visible(False)
	figure.tight_layout()
	figure.savefig(path, metadata={'Date': None})


def percentile(values, share):
	return sorted(values)[min(len(values) - 1, int(len(values) * share))]
