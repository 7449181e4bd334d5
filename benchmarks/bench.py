#!/usr/bin/python3
"""
bench.py [--quick] [--suite NAME]... [--rounds N] [--row NAME]... [--build FOLDER] [--results FOLDER] [--factor X]

Runs the suites of matrix.py round by round under every allocator, each round in another order, and writes one row per run to RESULTS/SUITE.csv;
then analyses them (analyse.py). scripts/bench builds what is needed first. --quick takes a tenth of the work, three rounds and fewer rows, and leaves
README.md and benchmarks/results alone. --factor scales the work of the workloads (tests).
"""
import argparse
import csv
import datetime
import glob
import hashlib
import importlib
import json
import os
import platform
import random
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, 'programs'))
import analyse  # noqa: E402
import inputs as program_inputs  # noqa: E402
import matrix  # noqa: E402

# Name, what is preloaded: a pattern below the library folders.
PEERS = [('glibc', None), ('jemalloc', 'libjemalloc.so.2'), ('mimalloc', 'libmimalloc.so.2*'), ('tcmalloc', 'libtcmalloc_minimal.so.4')]
PACKAGES = ['libc6', 'libjemalloc2', 'libmimalloc2.0', 'libtcmalloc-minimal4', 'redis-server', 'nginx', 'python3.11', 'sqlite3', 'g++', 'lua5.4', 'perl', 'ruby',
	'jq', 'git', 'gcc', 'liblsan0', 'heaptrack', 'valgrind']
FOLDERS = ['/usr/lib/*-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/local/lib']
APART = ['collector', 'hunting', 'steady']  # suites with programs of their own, which run only if they are named
QUICK_ROUNDS, ROUNDS = 3, 7
TIMEOUT = 300


def find_library(pattern):
	return next((path for folder in FOLDERS for path in sorted(glob.glob(os.path.join(folder, pattern)))), None)


def allocators(build):
	"""Yields (name, variables of the environment)."""
	for name, pattern in PEERS:
		library = pattern and find_library(pattern)
		if pattern and not library:
			print(f'bench: {name} is left out: {pattern} is not installed', file=sys.stderr)
		else:
			yield name, {'LD_PRELOAD': library} if library else {}
	library = os.path.join(build, 'libgasket.so')
	yield 'gasket-fast', {'LD_PRELOAD': library, 'GASKET_OPTIONS': 'mode=fast'}
	yield 'gasket', {'LD_PRELOAD': library, 'GASKET_OPTIONS': ''}


def first_line(command):
	try:
		return subprocess.run(command, capture_output=True, text=True, cwd=TOP).stdout.split('\n')[0].strip()
	except OSError:
		return ''


def read(path):
	try:
		with open(path) as file:
			return file.read().strip()
	except OSError:
		return ''


def describe_cpu():
	model = next((line.split(':')[1].strip() for line in read('/proc/cpuinfo').split('\n') if line.startswith('model name')), platform.machine())
	caches = [f'L{read(index + "/level")} {read(index + "/size")}' for index in sorted(glob.glob('/sys/devices/system/cpu/cpu0/cache/index*'))
		if read(index + '/type') != 'Instruction']
	return f'{model}, {os.cpu_count()} CPUs, caches {", ".join(caches) or "unknown"}'


def describe_memory():
	kib = next((int(line.split()[1]) for line in read('/proc/meminfo').split('\n') if line.startswith('MemTotal')), 0)
	return f'{kib / (1 << 20):.1f} GiB, transparent huge pages {read("/sys/kernel/mm/transparent_hugepage/enabled") or "unknown"}'


def describe_commit():
	changed = subprocess.run(['git', 'status', '--porcelain', '--', 'core', 'scanners', 'preload', 'benchmarks', ':!benchmarks/results'], cwd=TOP,
		capture_output=True, text=True).stdout
	return first_line(['git', 'rev-parse', '--short=10', 'HEAD']) + (' with changes' if changed else '')


def describe_build(build):
	"""Ends the process unless it is what a user would install."""
	path = os.path.join(build, 'meson-info', 'intro-buildoptions.json')
	try:
		values = {option['name']: option['value'] for option in json.load(open(path))}
	except (OSError, ValueError):
		sys.exit(f'bench: {build} is no build folder')
	if values['buildtype'] != 'release' or values['checks'] or values['b_sanitize'] != 'none':
		sys.exit(f'bench: {build} is no release build; remove it, or name another with --build')
	return f'release, {first_line([os.environ.get("CC", "gcc"), "--version"])}'


def describe_versions():
	for package in PACKAGES:
		version = first_line(['dpkg-query', '-W', '-f', '${Version}', package])
		if version:
			yield f'{package} {version}'


def header(command, build, rounds, names):
	return {
		'machine': describe_cpu(),
		'memory': describe_memory(),
		'kernel': f'{platform.system()} {re.match("[0-9.]*", platform.release()).group(0)}',
		'build': describe_build(build),
		'versions': ', '.join(describe_versions()),
		'commit': describe_commit(),
		'command': shlex.join(command),
		'date': datetime.date.today().isoformat(),
		'rounds': rounds,
		'allocators': ', '.join(names),
		'load before': read('/proc/loadavg').split(' ')[0],
	}


class Progress:
	"""On a terminal a line that is written over, with the time that is left; elsewhere a line per round."""

	def __init__(self, suite, total):
		self.suite, self.total, self.done, self.start, self.line = suite, total, 0, time.monotonic(), None
		self.terminal = sys.stderr.isatty()

	def step(self, line, what):
		passed = time.monotonic() - self.start
		left = passed / self.done * (self.total - self.done) if self.done else 0
		if self.terminal:
			print(f'\r\033[K{self.suite}: {line}, {what}; {left:.0f} s left', end='', file=sys.stderr, flush=True)
		elif line != self.line:
			print(f'bench: {self.suite}: {line}', file=sys.stderr, flush=True)
		self.line = line

	def end(self):
		if self.terminal:
			print('\r\033[K', end='', file=sys.stderr)
		print(f'bench: {self.suite}: {time.monotonic() - self.start:.0f} s', file=sys.stderr, flush=True)


class Runner:
	"""Runs a row under an allocator, in a folder of its own, measured by the program `measure`."""

	def __init__(self, build, inputs, quick):
		self.tools, self.inputs, self.quick = os.path.join(build, 'benchmarks'), inputs, quick
		self.clean = {key: value for key, value in os.environ.items() if key not in ('LD_PRELOAD', 'GASKET_OPTIONS')}
		self.clean['LC_ALL'] = 'C.UTF-8'

	def command(self, file, words, variables, prefix):
		return [os.path.join(self.tools, 'measure'), file, *prefix, 'env', *(f'{key}={value}' for key, value in variables.items()), *words]

	def run(self, row, variables):
		"""Returns the fields of a result, but for what names the row."""
		with tempfile.TemporaryDirectory(prefix='gasket-bench-') as folder:
			file = os.path.join(folder, 'cost')
			if row.runner:
				return self.run_server(row, variables, folder, file)
			words = self.command(file, row.words(self.tools), {**variables, **row.environment}, row.prefix)
			try:
				done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.clean,
					timeout=TIMEOUT)
			except subprocess.TimeoutExpired:
				return {'outcome': 'too long'}
			return {'details': row.details, **cost(file), **answer(done.stdout)}

	def run_server(self, row, variables, folder, file):
		with socket.socket() as free:
			free.bind(('127.0.0.1', 0))
			port = free.getsockname()[1]
		if 'LD_PRELOAD' not in variables:  # Debian's redis-server is linked with jemalloc: libc's malloc comes first only if asked for
			variables = {**variables, 'LD_PRELOAD': 'libc.so.6'}
		process = subprocess.Popen(self.command(file, row.runner.server(port, folder), {**variables, **row.environment}, row.prefix),
			stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.clean, start_new_session=True)
		try:
			row.runner.await_ready(port, process)
			seconds, digest = row.runner.load(port, self.inputs, self.quick)
			process.wait(TIMEOUT)
		except (RuntimeError, OSError, subprocess.SubprocessError) as error:
			process.kill()  # the server dies with it
			process.wait()
			return {'outcome': describe_error(error)}
		return {**cost(file), 'wall': f'{seconds:.6f}', 'answer': digest[:16]}


def describe_error(error):
	if isinstance(error, subprocess.CalledProcessError):
		return f'{os.path.basename(error.cmd[0])} ended with status {error.returncode}'
	return 'too long' if isinstance(error, subprocess.TimeoutExpired) else str(error)


def pairs(line):
	return dict(word.split('=', 1) for word in line.split() if '=' in word)


def cost(file):
	fields = pairs(read(file))
	status, signal = fields.pop('exit', None), fields.pop('signal', None)
	fields['outcome'] = 'ok' if status == '0' else f'signal {signal}' if signal else f'exit {status}'
	return fields


def answer(output):
	"""A workload says its checksum; of anything else the output is the answer."""
	text = output.decode(errors='replace')
	if not text.startswith('workload='):
		return {'answer': hashlib.sha256(output).hexdigest()[:16]}
	fields = pairs(text)
	known = ('workload', 'threads', 'operations', 'checksum', 'peak_kib')
	return {'answer': f'{fields["operations"]}:{fields["checksum"]}', 'details': ' '.join(f'{key}={value}' for key, value in fields.items() if key not in known)}


def run_cell(runner, suite, row, contestants, results):
	"""One row under each of the allocators; results[name] are the fields."""
	def one(name, variables):
		results[name] = runner.run(row, variables)
	if not suite.together:
		for name, variables in contestants:
			one(name, variables)
		return
	threads = [threading.Thread(target=one, args=contestant) for contestant in contestants]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()


def run_suite(runner, suite, contestants, rounds):
	"""Yields (round, row, allocator, fields). A run before the first round, under libc, warms up and says what the answers are."""
	expected, order = {}, random.Random(suite.name)
	progress = Progress(suite.name, len(suite.rows) * (rounds + 1))
	for number in range(rounds + 1):
		for row in suite.rows:
			shuffled = [contestant for contestant in contestants if number or contestant[0] == 'glibc']
			order.shuffle(shuffled)
			progress.step(f'round {number} of {rounds}', ' '.join(row.key))
			results = {}
			run_cell(runner, suite, row, shuffled, results)
			progress.done += 1
			for name, fields in results.items():
				if not number:
					expected[row.key] = fields.get('answer')
					continue
				if fields['outcome'] == 'ok' and fields.get('answer') != expected[row.key]:
					fields['outcome'] = 'wrong answer'
				yield number, row, name, fields
	progress.end()


def write_suite(path, head, suite, rows):
	"""Writes beside the file and then over it: an interrupted run leaves the old one."""
	with open(path + '.new', 'w', newline='') as file:
		for key, value in {**head, 'suite': f'{suite.name}: {suite.title}', 'left out': '; '.join(suite.missing) or 'nothing'}.items():
			file.write(f'# {key}: {value}\n')
		writer = csv.DictWriter(file, analyse.COLUMNS, lineterminator='\n', restval='', extrasaction='ignore')
		writer.writeheader()
		for number, row, name, fields in rows:
			writer.writerow({'round': number, 'workload': row.workload, 'threads': row.threads, 'allocator': name, **fields})
			file.flush()
	os.rename(path + '.new', path)


def main():
	parser = argparse.ArgumentParser(prog='scripts/bench', usage=__doc__.strip().split('\n')[0].replace('bench.py', 'scripts/bench'))
	parser.add_argument('--quick', action='store_true')
	parser.add_argument('--suite', action='append')
	parser.add_argument('--rounds', type=int)
	parser.add_argument('--row', action='append', default=[], help='of the suite hunting')
	parser.add_argument('--build', default=os.path.join(TOP, 'build'))
	parser.add_argument('--results')
	parser.add_argument('--factor', type=float, default=1)
	options = parser.parse_args()
	build = os.path.realpath(options.build)
	results = options.results or (os.path.join(build, 'benchmarks', 'quick') if options.quick else os.path.join(HERE, 'results'))
	inputs = os.path.join(build, 'benchmarks', 'inputs-quick' if options.quick else 'inputs')
	suites = matrix.suites(options.quick, inputs, options.factor)
	names = [suite.name for suite in suites]
	for name in [name for name in APART if name in (options.suite or [])]:
		words = ['--build', build] + ['--quick'] * options.quick + (['--rounds', str(options.rounds)] if options.rounds else [])
		words += [word for row in options.row if name == 'hunting' for word in ('--row', row)]
		importlib.import_module(f'{name}.{name}').main(words + (['--results', options.results] if options.results else []))
		options.suite = [other for other in options.suite if other != name]
		if not options.suite:
			return 0
	for name in options.suite or []:
		if name not in names:
			parser.error(f'no suite {name}; there are {", ".join(names + APART)}')
	rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
	os.makedirs(results, exist_ok=True)
	chosen = [suite for suite in suites if not options.suite or suite.name in options.suite]
	if any(suite.name == 'programs' for suite in chosen):
		program_inputs.make(inputs, 0.2 if options.quick else 1)
	contestants = list(allocators(build))
	command = ['scripts/bench', *(sys.argv[3:] if sys.argv[1:3] == ['--build', options.build] else sys.argv[1:])]
	runner = Runner(build, inputs, options.quick)
	for suite in chosen:
		head = header(command, build, rounds, [name for name, _ in contestants])
		write_suite(os.path.join(results, f'{suite.name}.csv'), head, suite, run_suite(runner, suite, contestants, rounds))
	readme = results == os.path.join(HERE, 'results')
	return analyse.main([results] + (['--readme', os.path.join(TOP, 'README.md')] if readme else []))


if __name__ == '__main__':
	sys.exit(main())
