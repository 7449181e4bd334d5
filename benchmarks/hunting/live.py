"""
The part of the suite `hunting` that asks a process which works: `gasket leaks PID` of redis with 1 GiB of small values (--quick: 64 MiB), mode=watch, while
redis-benchmark loads it. Each round has, in an order of its own, a run of the load with the question and one without, for SET and for GET; a run is about as long as
the answer takes, so that what the question does to latencies is not thinned out. Writes RESULTS/live.csv.

Answer: what the user waits for the command. Its parts are the cycle's, from the trace (gctrace=1): the pauses, what was marked beside the program; and the CPU time of the
command, which reads the file of findings and looks up names.
"""
import csv
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import bench  # noqa: E402
import standalone  # noqa: E402
from cases import Redis  # noqa: E402

KEYS = {False: 4500000, True: 270000}  # of 100 bytes: 1 GiB and 64 MiB with all that redis keeps for a key
VALUE_BYTES = 100
CLIENTS = 20
LOADS = ['set', 'get']
RUN_SECONDS = 4  # of the load, about
LEAD_SECONDS = 0.2  # from its begin to the question
COLUMNS = ['round', 'load', 'asked', 'outcome', 'rps', 'p50_ms', 'p99_ms', 'longest_ms', 'answer_s', 'command_cpu_s', 'tier', 'pause_ms', 'stop_ms', 'roots_ms',
	'mark_ms', 'beside_ms', 'live_mib']
LINE = re.compile(r'gc \d+ @[\d.]+s ([\w-]+) ([\d.]+)\+([\d.]+)\+([\d.]+) ms pause ([\d.]+), beside ([\d.]+) .* live (\d+) MB')
LIMITS = [('paused, ms, the longest', 2), ('answer, s, the longest', 5), ('p99 of SET, asked against not', 1.2), ('p99 of GET, asked against not', 1.2)]


class Server:
	"""redis under Gasket, filled, from its begin to its end."""

	def __init__(self, build, folder, keys):
		self.gasket, self.trace, self.keys = os.path.join(build, 'gasket'), os.path.join(folder, 'trace'), keys
		with socket.socket() as free:
			free.bind(('127.0.0.1', 0))
			self.port = free.getsockname()[1]
		self.environment = {key: value for key, value in os.environ.items() if key not in ('LD_PRELOAD', 'GASKET_OPTIONS')} | {'XDG_RUNTIME_DIR': folder}
		preload = {'LD_PRELOAD': os.path.join(build, 'libgasket.so'), 'GASKET_OPTIONS': f'mode=watch:gctrace=1:log={self.trace}'}
		# without --save '' it forks in between
		words = ['redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--enable-debug-command', 'local', '--dir', folder]
		self.process = subprocess.Popen(words, env=self.environment | preload, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

	def fill(self):
		Redis().await_ready(self.port, self.process)
		with socket.create_connection(('127.0.0.1', self.port), 600) as connection:
			connection.sendall(f'DEBUG POPULATE {self.keys} key {VALUE_BYTES}\r\n'.encode())
			if connection.recv(100) != b'+OK\r\n':
				raise RuntimeError('redis does not fill itself')

	def end(self):
		self.process.kill()
		self.process.wait()

	def load(self, test, count):
		words = ['redis-benchmark', '-p', str(self.port), '-t', test, '-c', str(CLIENTS), '-n', str(count), '-r', str(self.keys), '-d', str(VALUE_BYTES), '--csv']
		return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

	def ask(self):
		"""Fields of the answer, and of the cycle that was run for it."""
		before, start = len(LINE.findall(bench.read(self.trace))), time.monotonic()
		command = subprocess.Popen([self.gasket, 'leaks', str(self.process.pid)], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		_, status, usage = os.wait4(command.pid, 0)
		command.returncode = os.waitstatus_to_exitcode(status)
		fields = {'answer_s': f'{time.monotonic() - start:.3f}', 'command_cpu_s': f'{usage.ru_utime + usage.ru_stime:.3f}',
			'outcome': 'ok' if command.returncode in (0, 23) else f'status {command.returncode}'}
		lines = LINE.findall(bench.read(self.trace))[before:]
		if not lines:
			return {**fields, 'outcome': 'no cycle with a verdict'}
		longest = max(lines, key=lambda line: float(line[4]))
		return {**fields, **dict(zip(('tier', 'stop_ms', 'roots_ms', 'mark_ms', 'pause_ms', 'beside_ms', 'live_mib'), longest))}


def figures(text):
	row = list(csv.DictReader(text.splitlines()))[0]
	return {'rps': row['rps'], 'p50_ms': row['p50_latency_ms'], 'p99_ms': row['p99_latency_ms'], 'longest_ms': row['max_latency_ms']}


def run(server, test, count, asked):
	client, fields = server.load(test, count), {'outcome': 'ok'}
	if asked:
		time.sleep(LEAD_SECONDS)
		fields = server.ask()
	said = client.communicate()[0]
	return {**figures(said), **fields} if client.returncode == 0 else {**fields, 'outcome': f'redis-benchmark: status {client.returncode}'}


def measure(options, build):
	order = random.Random('live')
	if not shutil.which('redis-server') or not shutil.which('redis-benchmark'):
		standalone.say('live: left out: redis is not installed (Debian: redis-server, redis-tools)')
		return
	with tempfile.TemporaryDirectory(prefix='gasket-live-') as folder:
		server = Server(build, folder, KEYS[options.quick])
		try:
			server.fill()
			server.ask()  # what the fill left behind is not the question's
			rate = {test: float(run(server, test, 20000, False)['rps']) for test in LOADS}
			for number in range(1, options.rounds + 1):
				standalone.say(f'live: round {number} of {options.rounds}')
				for test in LOADS:
					for asked in order.sample([0, 1], 2):
						yield {'round': number, 'load': test, 'asked': asked, **run(server, test, int(rate[test] * RUN_SECONDS), asked)}
		finally:
			server.end()


def numbers(rows, column, **wanted):
	return [float(row[column]) for row in rows if row.get(column) and row['outcome'] == 'ok' and all(row[key] == value for key, value in wanted.items())]


def ratio(rows, column, test):
	"""With the question against without, in the same round; the median."""
	without, of = numbers(rows, column, load=test, asked=0), numbers(rows, column, load=test, asked=1)
	return statistics.median(a / b for a, b in zip(of, without)) if len(of) == len(without) and of else None


def summarize(rows):
	right = [row for row in rows if row['outcome'] == 'ok']
	for row in rows:
		if row not in right:
			print(f'FAILED: {row["load"]}, round {row["round"]}: {row["outcome"]}')
	if not numbers(right, 'pause_ms'):
		return
	tiers = ', '.join(sorted({row['tier'] for row in right if row.get('tier')}))
	print(f'\nredis, {max(numbers(right, "live_mib")):.0f} MiB live, asked by gasket leaks PID ({tiers}):')
	print(f'{"":14}' + ''.join(f'{title:>14}' for title in ('per second', 'p50 ms', 'p99 ms', 'longest ms')))
	for test in LOADS:
		for asked, title in ((0, ''), (1, ', asked')):
			values = [numbers(right, column, load=test, asked=asked) for column in ('rps', 'p50_ms', 'p99_ms', 'longest_ms')]
			cells = [f'{(max if column == 3 else statistics.median)(one):.2f}' if one else '-' for column, one in enumerate(values)]
			print(f'{test.upper() + title:14}' + ''.join(f'{cell:>14}' for cell in cells))
	parts = {title: statistics.median(numbers(right, column)) for title, column in (('answer', 'answer_s'), ('CPU of the command', 'command_cpu_s'))}
	parts |= {title: statistics.median(numbers(right, column)) / 1000 for title, column in (('beside', 'beside_ms'), ('pause', 'pause_ms'), ('stop', 'stop_ms'),
		('roots', 'roots_ms'), ('rest of the mark', 'mark_ms'))}
	print('medians: ' + ', '.join(f'{title} {value:.4f} s' for title, value in parts.items()))
	of = [max(numbers(right, 'pause_ms')), max(numbers(right, 'answer_s')), ratio(right, 'p99_ms', 'set'), ratio(right, 'p99_ms', 'get')]
	for (title, limit), value in zip(LIMITS, of):
		if value is not None:
			print(f'{title}: {value:.2f}, at most {limit}: {"met" if value <= limit else "missed"}')


def finish(rows, results):
	del results
	summarize(rows)


def main(arguments=None):
	return standalone.main('live', COLUMNS, (5, 1), ['gasket'], measure, finish, arguments, command=['benchmarks/hunting/live.py'])


if __name__ == '__main__':
	sys.exit(main())
