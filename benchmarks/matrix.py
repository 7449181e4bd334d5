"""What is measured: suites of rows. A row is one command with a name, and a number of threads if it is a workload."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'programs'))
from cases import PROGRAMS, Case, Server  # noqa: E402

# Name, numbers of threads: all of them, and those of --quick.
WORKLOADS = [
	('pairs', (1, 2, 8), (1,)),
	('batch-lifo', (1,), (1,)),
	('batch-fifo', (1,), (1,)),
	('batch-big', (1, 4), (1,)),
	('random-small', (1, 2, 8), (1, 4)),
	('random-medium', (1, 4), (1,)),
	('random-large', (1, 2), (1,)),
	('random-server', (1, 4), (1,)),
	('larson', (1, 2, 4, 8), (4,)),
	('producer-consumer', (2, 4, 8), (2,)),
	('exchange', (2, 8), (4,)),
	('sh6', (1, 4), (1,)),
	('sh8', (2, 4, 8), (4,)),
	('short-threads', (1, 4), (4,)),
	('realloc', (1, 4), (1,)),
	('aligned', (1,), (1,)),
	('calloc-big', (1,), (1,)),
	('large', (1, 2), (1,)),
]

# Where threads can only take turns: locks, hand-over and yielding show.
ONE_CPU = [
	('pairs', (1,), (1,)),
	('random-small', (1,), ()),
	('larson', (4,), (4,)),
	('producer-consumer', (2,), (2,)),
	('exchange', (4,), ()),
	('sh8', (4,), ()),
	('short-threads', (4,), (4,)),
]

# Of the work of one thread's run: on the two CPUs of a small machine a run with more threads would be too short.
THREADS_SCALE = 1.2
ONE_CPU_SCALE = 0.6
QUICK_SCALE = 0.1


class Row:
	"""`words(tools)` is the command, `tools` being the folder of the built programs."""

	def __init__(self, workload, threads, words, environment=None, prefix=(), runner=None, details=''):
		self.workload, self.threads, self.words, self.environment = workload, threads, words, environment or {}
		self.prefix, self.runner, self.details = list(prefix), runner, details

	@property
	def key(self):
		return self.workload, str(self.threads)


class Suite:
	"""`together`: all allocators of a round at the same time, for runs that mostly wait."""

	def __init__(self, name, rows, title, together=False, missing=()):
		self.name, self.rows, self.title, self.together, self.missing = name, rows, title, together, list(missing)


def workload_row(name, threads, scale, prefix=(), more=()):
	def words(tools):
		return [os.path.join(tools, 'workloads', 'workload'), name, '--threads', str(threads), '--scale', f'{scale:g}', *more]
	return Row(name, threads, words, prefix=prefix)


def workload_rows(table, quick, factor, prefix=()):
	for name, all_threads, quick_threads in table:
		for threads in quick_threads if quick else all_threads:
			yield workload_row(name, threads, factor * (QUICK_SCALE if quick else 1) * (THREADS_SCALE if threads > 1 else 1), prefix)


def program_row(case, inputs, quick):
	if isinstance(case, Server):
		return Row(case.name, 1, None, case.environment, runner=case)
	return Row(case.name, 1, lambda tools: case.words(inputs, quick), case.environment)


def small_rows(quick):
	here = os.path.dirname(os.path.abspath(__file__))
	spawns, forks = ('100', '500') if quick else ('1000', '5000')
	yield Row('true', 1, lambda tools: [os.path.join(tools, 'programs', 'spawn'), spawns, '/bin/true'], details=f'count={spawns}')
	yield Row('forks', 1, lambda tools: ['/bin/bash', os.path.join(here, 'programs', 'forks.sh'), forks], details=f'count={forks}')
	yield workload_row('idle', 1, 1, more=('--wait', '0.1' if quick else '0.3'))


def suites(quick, inputs, factor=1.0):
	"""All suites in the order in which they are run. `factor` is of the work of each workload (tests)."""
	scale = factor * (QUICK_SCALE if quick else 1)
	missing = [f'{case.name} ({case.missing()} is not installed)' for case in PROGRAMS if case.missing()]
	return [
		Suite('alloc', list(workload_rows(WORKLOADS, quick, factor)), 'bound by allocation'),
		Suite('one-cpu', list(workload_rows(ONE_CPU, quick, factor * ONE_CPU_SCALE, prefix=('taskset', '-c', '0'))), 'bound by allocation, on one CPU'),
		Suite('programs', [program_row(case, inputs, quick) for case in PROGRAMS if not case.missing()], 'whole programs', missing=missing),
		Suite('small', list(small_rows(quick)), 'small processes'),
		Suite('memory', [workload_row('fragmentation', 1, scale, more=('--wait', '2' if quick else '10'))], 'after 90 % was freed', together=True),
		Suite('latency', [workload_row('latency', threads, scale) for threads in ((1,) if quick else (1, 4))], 'single calls'),
	]
