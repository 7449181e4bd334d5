"""Prints TAP: one line a test, and under a failed one what is wrong."""
import sys


class Tap:
	def __init__(self):
		self.count = 0
		self.failed = 0

	def result(self, name, problems):
		"""One test; problems is a list of lines, empty if it passed."""
		self.count += 1
		self.failed += bool(problems)
		print(('not ok ' if problems else 'ok ') + f'{self.count} - {name}', flush=True)
		if problems:
			print(f'not ok: {name}', file=sys.stderr)
		for problem in problems:
			for line in str(problem).splitlines():
				print('  # ' + line, file=sys.stderr)

	def skip(self, name, why):
		"""A test that cannot be made here, for want of what `why` names."""
		self.count += 1
		print(f'ok {self.count} - {name} # SKIP {why}', flush=True)

	def finish(self):
		print(f'1..{self.count}')
		sys.exit(1 if self.failed else 0)
