#!/usr/bin/python3
"""
hunting.py [--quick] [--rounds N] [--row NAME]... [--build FOLDER] [--results FOLDER]

The suite `hunting` of scripts/bench: what it costs a program to be watched for leaks. Three programs that do little else than malloc and free, and leak a known
little (tests/leaks/st.c, mt.c, so.c), redis, nginx and python; each plain, under Gasket with every choice of `stacks`, once with freed blocks verified and once with free=trust, and under the peers: LeakSanitizer (preloaded),
heaptrack, jemalloc's profiler, valgrind; all in turns, in another order each round. Every tool looks for leaks at the end and writes a report, as it would be
used. Says which targets are met, and writes RESULTS/hunting.csv and, with matplotlib, hunting.svg. --row takes one row alone.
"""
import copy
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.append(HERE)
import bench  # noqa: E402
import live  # noqa: E402
import matrix  # noqa: E402
import standalone  # noqa: E402
from cases import PROGRAMS, Nginx  # noqa: E402

CHURN = {False: 3000000, True: 300000}  # pairs of malloc and free; of --quick
PLAIN = 'plain'
STACKS = ['off', 'sampled', 'suspects', 'all']
HINTS = {'gasket': '', 'gasket trust': ':free=trust'}  # what becomes of freed blocks: verified, or used again at once
ORDER = [PLAIN, *(f'{hints} {stacks}' for hints in HINTS for stacks in STACKS), 'lsan', 'heaptrack', 'jemalloc', 'jemalloc-prof', 'jemalloc-prof-all', 'valgrind']
SLOW = ['jemalloc-prof-all', 'valgrind']  # forty times as long: not for the whole programs
CHURNERS = {'st': (1, 'st'), 'mt': (4, 'mt'), 'so': (1, 'so')}  # threads, program
WHOLE = ['redis', 'nginx', 'python-objects']
SLOW_ROUNDS = 3  # those of the slow tools, whose ratios need no more
COLUMNS = ['round', 'row', 'tool', 'outcome', 'wall', 'user', 'sys', 'peak_kib']
PROFILED = 'prof:true,prof_final:true,prof_prefix:@FOLDER/profile'


class Tool:
	"""`variables` and `words` (in front of the program's) may name @FOLDER, which is empty and goes when the run is over."""

	def __init__(self, name, variables=None, words=(), missing=None):
		self.name, self.variables, self.words, self.missing = name, variables or {}, words, missing


def sanitizer():
	path = subprocess.run(['gcc', '-print-file-name=liblsan.so'], capture_output=True, text=True).stdout.strip()
	return os.path.realpath(path) if os.path.isabs(path) else None


def refuses(build, stacks):
	"""A choice this build does not have."""
	return subprocess.run([os.path.join(build, 'gasket'), 'run', '-o', f'stacks={stacks}', 'true'], capture_output=True).returncode != 0


def tools(build):
	yield Tool(PLAIN)
	for hints, option in HINTS.items():
		for stacks in STACKS:
			options = f'mode=watch:leaks=report:stacks={stacks}:report=@FOLDER/report.%p{option}'
			yield Tool(f'{hints} {stacks}', {'LD_PRELOAD': os.path.join(build, 'libgasket.so'), 'GASKET_OPTIONS': options},
				missing=refuses(build, stacks) and f'stacks={stacks} is not there')
	library = sanitizer()
	yield Tool('lsan', {'LD_PRELOAD': library, 'LSAN_OPTIONS': 'exitcode=0:symbolize=0:log_path=@FOLDER/report'},
		missing=not library and 'no liblsan')
	yield Tool('heaptrack', words=['heaptrack', '--raw', '-o', '@FOLDER/trace'], missing=not shutil.which('heaptrack') and 'not installed')
	library = bench.find_library('libjemalloc.so.2')
	for name, more in (('jemalloc', None), ('jemalloc-prof', ''), ('jemalloc-prof-all', ',lg_prof_sample:0')):
		conf = {} if more is None else {'MALLOC_CONF': PROFILED + more}
		yield Tool(name, {'LD_PRELOAD': library, **conf}, missing=not library and 'not installed')
	yield Tool('valgrind', words=['valgrind', '--leak-check=full', '--log-file=@FOLDER/report'], missing=not shutil.which('valgrind') and 'not installed')


class Prefixed:
	"""A server with words in front of its command."""

	def __init__(self, runner, words):
		self.runner, self.words = runner, words

	def __getattr__(self, name):
		return getattr(self.runner, name)

	def server(self, port, folder):
		return [*self.words, *self.runner.server(port, folder)]


def rows(inputs, quick):
	def churner(name, *more):
		def words(built):
			return [os.path.join(built, 'hunting', name), str(CHURN[quick]), *(os.path.join(built, 'hunting', one) for one in more)]
		return words
	for name, (threads, *words) in CHURNERS.items():
		yield matrix.Row(name, threads, churner(*words))
	for case in [*PROGRAMS, Nginx()]:
		if case.name in WHOLE and not case.missing():
			yield matrix.program_row(case, inputs, quick)


def run(runner, row, tool):
	with tempfile.TemporaryDirectory(prefix='gasket-hunting-') as folder:
		def placed(text):
			return text.replace('@FOLDER', folder)
		words = [placed(word) for word in tool.words]
		one = copy.copy(row)
		if row.runner:
			one.runner = Prefixed(row.runner, words)
		else:
			one.words = lambda built: [*words, *row.words(built)]
		return runner.run(one, {key: placed(value) for key, value in tool.variables.items()})


def measure(options, build):
	inputs = os.path.join(build, 'benchmarks', 'inputs-quick' if options.quick else 'inputs')
	bench.program_inputs.make(inputs, 0.2 if options.quick else 1)
	runner, order, chosen = bench.Runner(build, inputs, options.quick), random.Random('hunting'), []
	for tool in tools(build):
		if tool.missing:
			standalone.say(f'hunting: {tool.name} is left out: {tool.missing}')
		else:
			chosen.append(tool)
	every = [row for row in rows(inputs, options.quick) if not options.row or row.workload in options.row]
	for number in range(options.rounds + 1):
		standalone.say(f'hunting: round {number} of {options.rounds}')
		for row in every:
			mine = [tool for tool in chosen if tool.name not in SLOW or (row.workload not in WHOLE and number <= SLOW_ROUNDS)]
			order.shuffle(mine)
			for tool in mine if number else [tool for tool in mine if tool.name == PLAIN]:
				fields = run(runner, row, tool)
				if number:
					yield {'round': number, 'row': row.workload, 'tool': tool.name, **{key: fields[key] for key in COLUMNS if key in fields}}


def cpu(row):
	return float(row['user']) + float(row['sys'])


def ratios(found, name, tool):
	"""CPU time against the plain run of the same round."""
	plain = {row['round']: cpu(row) for row in found if (row['row'], row['tool'], row['outcome']) == (name, PLAIN, 'ok')}
	return [cpu(row) / plain[row['round']] for row in found
		if (row['row'], row['tool'], row['outcome']) == (name, tool, 'ok') and row['round'] in plain]


def ratio(found, name, tool):
	values = ratios(found, name, tool)
	return statistics.median(values) if values else None


def cell(value, digits=2):
	return '-' if value is None else f'{value:.{digits}f}'


def limits(found, name):
	"""Pairs of a tool and what its ratio may be."""
	heaptrack = ratio(found, name, 'heaptrack')
	for hints in HINTS:
		yield f'{hints} sampled', 1.05
		yield f'{hints} suspects', 1.3
		yield f'{hints} all', 1.3 if name in WHOLE else heaptrack and heaptrack / 2


def summarize(found):
	names, used = list(dict.fromkeys(row['row'] for row in found)), list(dict.fromkeys(row['tool'] for row in found))
	used.sort(key=ORDER.index)
	for title, of in (
			('CPU time against the plain run, the median of the rounds', lambda name, tool: cell(ratio(found, name, tool))),
			('the highest resident memory, MiB', lambda name, tool: cell(max((float(row['peak_kib']) / 1024 for row in found
				if (row['row'], row['tool'], row['outcome']) == (name, tool, 'ok')), default=None), 0))):
		print(f'\n{title}:\n{"":20}' + ''.join(f'{name:>16}' for name in names))
		for tool in used:
			print(f'{tool:20}' + ''.join(f'{of(name, tool):>16}' for name in names))
	print(f'\n{"targets, CPU time":36}{"ratio":>8}{"lowest":>8}{"highest":>8}{"at most":>9}')
	for name in names:
		for tool, limit in limits(found, name):
			values = ratios(found, name, tool)
			if values and limit:
				verdict = 'met' if statistics.median(values) <= limit else 'missed'
				print(f'{name + ", " + tool:36}{statistics.median(values):8.2f}{min(values):8.2f}{max(values):8.2f}{limit:9.2f}  {verdict}')
			else:
				print(f'{name + ", " + tool:36}{"-":>8}  not measured')
	for row in found:
		if row['outcome'] != 'ok':
			print(f'FAILED: {row["row"]} under {row["tool"]}, round {row["round"]}: {row["outcome"]}')


def draw(found, path):
	pyplot = standalone.pyplot()
	if not pyplot:
		return
	names, used = list(dict.fromkeys(row['row'] for row in found)), [tool for tool in ORDER if tool not in SLOW and any(row['tool'] == tool for row in found)]
	figure, axes = pyplot.subplots(figsize=(11, 3.6))
	for number, tool in enumerate(used):
		axes.bar([place + 0.8 * number / len(used) for place in range(len(names))], [ratio(found, name, tool) or 0 for name in names], 0.8 / len(used), label=tool)
	axes.set_xticks([place + 0.36 for place in range(len(names))], names)
	axes.legend(frameon=False, fontsize=8)
	axes.set_title('CPU time against the plain run, the median of the rounds', fontsize=10, loc='left')
	standalone.save(figure, path)


def finish(found, results):
	summarize(found)
	draw(found, os.path.join(results, 'hunting.svg'))


def main(arguments=None):
	words = sys.argv[1:] if arguments is None else arguments
	status = standalone.main('hunting', COLUMNS, (7, 1), ORDER, measure, finish, words, [*CHURNERS, *WHOLE])
	return status or ('--row' not in words and live.main(words)) or 0


if __name__ == '__main__':
	sys.exit(main())
