#!/usr/bin/python3
"""
steady.py [--quick] [--rounds N] [--build FOLDER] [--results FOLDER]

The suite `steady` of scripts/bench: programs that go on with a live set of some size, for a minute each (--quick: 6 s), under glibc, Gasket with mode=fast and
Gasket as it is by default, one after the other, in another order each round. Looks at the throughput of each second, at what is resident, and at the cycles.
Writes RESULTS/steady.csv and, with matplotlib, steady.svg.
"""
import os
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import bench  # noqa: E402
import standalone  # noqa: E402
from cases import PYTHON, Redis  # noqa: E402

WORKLOAD = '@TOOLS/workloads/workload'
# Command and environment of what prints its operations of each second; None: redis.
ROWS = {
	'server': ([WORKLOAD, 'server', '--threads', '4', '--seconds', '@SECONDS'], {}),
	'redis': None,
	'python': (['/usr/bin/python3', os.path.join(HERE, 'replace.py'), '@SECONDS'], PYTHON),
	'writes': ([WORKLOAD, 'writes', '--threads', '1', '--seconds', '@SECONDS'], {}),
	'cache': ([WORKLOAD, 'cache', '--threads', '2', '--seconds', '@SECONDS'], {}),
}
ALLOCATORS = {'glibc': None, 'gasket-fast': 'mode=fast', 'gasket': ''}  # GASKET_OPTIONS
COLOURS = {'glibc': '#7f7f7f', 'gasket-fast': '#d62728', 'gasket': '#ff7f0e'}
COLUMNS = ['round', 'row', 'allocator', 'outcome', 'wall', 'cpu', 'no_verdict', 'pauses_ms', 'awaited_ms', 'beside_ms', 'per_second', 'rss_mib']
SAMPLE_SECONDS = 0.25
RESIDENT_MIB_MOST = 8192
FILL = ['-t', 'mset', '-n', '50000']  # of ten keys each: all of the keys
LOAD = ['-t', 'set,get,incr,lpush,lpop,sadd,spop,zadd,zpopmin,mset', '-n', '5000', '-l']


class Resident(threading.Thread):
	"""Samples what is resident of a process, in MiB. One that grows too large for the machine is ended."""

	def __init__(self, pid):
		super().__init__(daemon=True)
		self.pid, self.path, self.values, self.over = pid, f'/proc/{pid}/statm', [], threading.Event()
		self.start()

	def run(self):
		while not self.over.wait(SAMPLE_SECONDS):
			fields = bench.read(self.path).split()
			if len(fields) > 1 and fields[1] != '0':
				self.values.append(int(fields[1]) * resource.getpagesize() / (1 << 20))
				if self.values[-1] > RESIDENT_MIB_MOST:
					os.kill(self.pid, signal.SIGKILL)  # nobody has waited for it yet: the number is still its own
					return

	def end(self):
		self.over.set()
		self.join()

	def complaint(self):
		return f', more than {RESIDENT_MIB_MOST} MiB were resident' if max(self.values, default=0) > RESIDENT_MIB_MOST else ''


def words_of_redis(port):
	return ['redis-benchmark', '-p', str(port), '-q', '-c', '20', '-P', '8', '-r', '100000', '-d', '1000']


def commands_processed(port):
	with socket.create_connection(('127.0.0.1', port), 10) as connection:
		connection.sendall(b'INFO stats\r\n')
		return int(re.search(rb'total_commands_processed:(\d+)', connection.recv(65536)).group(1))


def serve(process, port, seconds, resident):
	"""Yields what redis did in each second, then stops it. What was resident before does not count."""
	Redis().await_ready(port, process)
	subprocess.run(words_of_redis(port) + FILL, check=True, stdout=subprocess.DEVNULL)
	resident.values.clear()
	clients = subprocess.Popen(words_of_redis(port) + LOAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	try:
		at, before = time.monotonic(), commands_processed(port)
		for second in range(1, seconds + 1):
			time.sleep(max(0, at + second - time.monotonic()))
			now = commands_processed(port)
			yield now - before
			before = now
	finally:
		clients.kill()
		clients.wait()
		process.terminate()


def read_trace(path):
	"""Fields of what gctrace=1 wrote. While a thread waits for the cycle it does not notice a pause."""
	lines = [line for line in bench.read(path).split('\n') if re.search(r'gc \d+ @', line)]
	awaited = [line for line in lines if re.search(r'gc \d+ @\S+ awaited', line)]

	def all_of(name, lines):
		return ' '.join(re.findall(rf' {name} ([\d.]+)', '\n'.join(lines)))

	return {'pauses_ms': all_of('pause', [line for line in lines if line not in awaited]), 'awaited_ms': all_of('pause', awaited), 'beside_ms': all_of('beside', lines),
		'no_verdict': sum('no verdict' in line for line in lines)}


def run(build, name, options, seconds):
	"""One row with these GASKET_OPTIONS (None: without Gasket); returns the fields of a result but for what names it."""
	with tempfile.TemporaryDirectory(prefix='gasket-bench-') as folder, socket.socket() as free:
		free.bind(('127.0.0.1', 0))
		port = free.getsockname()[1]
		free.close()
		words, variables = ROWS[name] or (Redis().server(port, folder), {'LD_PRELOAD': 'libc.so.6'})  # Debian's redis-server is linked with jemalloc
		environment = {key: value for key, value in os.environ.items() if key not in ('LD_PRELOAD', 'GASKET_OPTIONS')} | variables
		trace = os.path.join(folder, 'trace')
		if options is not None:
			environment |= {'LD_PRELOAD': os.path.join(build, 'libgasket.so'), 'GASKET_OPTIONS': f'{options}:gctrace=1:log={trace}'.lstrip(':')}
		replaced = [word.replace('@TOOLS', os.path.join(build, 'benchmarks')).replace('@SECONDS', str(seconds)) for word in words]
		start = time.monotonic()
		process = subprocess.Popen(replaced, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if ROWS[name] else subprocess.DEVNULL,
			stderr=subprocess.DEVNULL, text=True)
		resident = Resident(process.pid)
		try:
			per_second = list((int(line) for line in process.stdout) if ROWS[name] else serve(process, port, seconds, resident))
			outcome = 'ok' if len(per_second) == seconds else f'{len(per_second)} of {seconds} seconds'
		except (RuntimeError, OSError, ValueError, AttributeError, subprocess.SubprocessError) as error:
			process.kill()
			process.wait()
			resident.end()
			return {'outcome': bench.describe_error(error) + resident.complaint()}
		resident.end()
		_, status, usage = os.wait4(process.pid, 0)
		process.returncode = os.waitstatus_to_exitcode(status)
		if process.returncode:
			outcome = f'status {process.returncode} after {len(per_second)} s' + resident.complaint()
		return {'outcome': outcome, 'wall': f'{time.monotonic() - start:.2f}', 'cpu': f'{usage.ru_utime + usage.ru_stime:.2f}', 'per_second': ' '.join(map(str, per_second)),
			'rss_mib': ' '.join(f'{value:.1f}' for value in resident.values), **read_trace(trace)}


def measure(options, build):
	order = random.Random('steady')
	seconds = 6 if options.quick else 60
	for number in range(1, options.rounds + 1):
		for name in ROWS:
			if name == 'redis' and Redis().missing():
				standalone.say(f'redis is left out: {Redis().missing()} is not installed')
				continue
			standalone.say(f'steady: round {number} of {options.rounds}: {name}')
			for allocator in order.sample(list(ALLOCATORS), len(ALLOCATORS)):
				yield {'round': number, 'row': name, 'allocator': allocator, **run(build, name, ALLOCATORS[allocator], seconds)}


def numbers(row, column):
	return [float(value) for value in row[column].split()]


def throughput(row):
	"""Of each second, but for the first ones, in which the live set is made."""
	values = numbers(row, 'per_second')
	return values[len(values) // 6:] if len(values) < 20 else values[3:]


def growth(row):
	"""What is resident at the end against a quarter of the time, each the median of a tenth of it."""
	values = numbers(row, 'rss_mib')
	tenth = len(values) // 10 + 1
	return statistics.median(values[-tenth:]) / statistics.median(values[len(values) // 4:len(values) // 4 + tenth])


def middle(rows, figure):
	return statistics.median(figure(row) for row in rows)


def describe(rows, base):
	"""The cells of one line: medians over the rounds, but the lowest second, the peak and the longest pause of all."""
	rate = middle(rows, lambda row: statistics.median(throughput(row)))
	pauses = [pause for row in rows for pause in numbers(row, 'pauses_ms')]
	cycles = middle(rows, lambda row: len(numbers(row, 'pauses_ms') + numbers(row, 'awaited_ms')))
	failed = sum(row['no_verdict'] for row in rows)
	return [f'{rate:.0f}', f'{min(min(throughput(row)) for row in rows):.0f}', f'{rate / base:.2f}' if base else '-',
		f'{max(max(numbers(row, "rss_mib")) for row in rows):.0f}', f'{middle(rows, lambda row: statistics.mean(numbers(row, "rss_mib"))):.0f}',
		f'{100 * (middle(rows, growth) - 1):+.0f} %', f'{middle(rows, lambda row: float(row["cpu"])):.1f}', f'{cycles:.0f}', str(failed),
		f'{max(pauses):.1f}' if pauses else '-']


def summarize(rows):
	titles = ['per second', 'lowest', 'to glibc', 'MiB peak', 'mean', 'growth', 'CPU s', 'cycles', 'no verdict', 'longest ms']
	print(f'\n{"":20}' + ''.join(f'{title:>12}' for title in titles))
	for name in ROWS:
		base = 0
		for allocator in ALLOCATORS:
			ran = [row for row in rows if row['row'] == name and row['allocator'] == allocator]
			right = [row for row in ran if row['outcome'] == 'ok']
			for row in ran:
				if row not in right:
					print(f'FAILED: {name} under {allocator}: {row["outcome"]}')
			if right:
				cells = describe(right, base)
				base = base or float(cells[0])
				print(f'{name:8}{allocator:12}' + ''.join(f'{cell:>12}' for cell in cells))
	print('growth: resident at the end against a quarter of the time')


def draw(rows, path):
	pyplot = standalone.pyplot()
	shown = [name for name in ROWS if any(row['row'] == name and row['outcome'] == 'ok' for row in rows)]
	if not pyplot or not shown:
		return
	figure, axes = pyplot.subplots(2, len(shown), figsize=(2.6 * len(shown), 4.4), squeeze=False)
	for at, name in enumerate(shown):
		for row in rows:
			if row['row'] == name and row['outcome'] == 'ok':
				colour = COLOURS[row['allocator']]
				axes[0][at].plot(numbers(row, 'per_second'), color=colour, linewidth=1)
				resident = numbers(row, 'rss_mib')
				axes[1][at].plot([index * SAMPLE_SECONDS for index in range(len(resident))], resident, color=colour, linewidth=1, label=row['allocator'])
		axes[0][at].set_title(name, fontsize=10, loc='left')
		for place in (axes[0][at], axes[1][at]):
			place.set_ylim(bottom=0)
			place.tick_params(labelsize=7)
	axes[0][0].set_ylabel('per second')
	axes[1][0].set_ylabel('resident, MiB')
	labels = dict(zip(*reversed(axes[1][0].get_legend_handles_labels())))
	axes[1][0].legend(labels.values(), labels.keys(), frameon=False, fontsize=7)
	standalone.save(figure, path)


def finish(rows, results):
	summarize(rows)
	draw(rows, os.path.join(results, 'steady.svg'))


def main(arguments=None):
	return standalone.main('steady', COLUMNS, (1, 1), ALLOCATORS, measure, finish, arguments)


if __name__ == '__main__':
	sys.exit(main())
