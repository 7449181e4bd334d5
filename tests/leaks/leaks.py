"""Runs programs under `gasket leaks` and LeakSanitizer and takes their reports apart; both speak LeakSanitizer's language."""
import collections
import os
import re
import subprocess
import tempfile

# `functions`: of the frames, the innermost first.
Record = collections.namedtuple('Record', 'kind blocks bytes functions')
Result = collections.namedtuple('Result', 'status direct records blocks bytes text')

HEAD = re.compile(r'^(Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\)')
FRAME = re.compile(r'^ +#\d+ +0x[0-9a-f]+(?: +in +(.*))?$')
SUMMARY = re.compile(r'^SUMMARY: \w+: (\d+) byte\(s\) leaked in (\d+) allocation\(s\)', re.M)
NOT_PART_OF_NAME = re.compile(r' +(\(.*\)|\S+:\d+(:\d+)?)$')
LEAK_CHECK_CANNOT = 24


def clean_environment(**more):
	kept = {key: value for key, value in os.environ.items() if key not in ('LD_PRELOAD', 'GASKET_OPTIONS', 'LSAN_OPTIONS')}
	return {**kept, **more}


def records(text):
	"""The entries of a report, or of several. A frame's module or line is cut off, so that what is left is the function."""
	found, functions = [], None
	for line in text.split('\n'):
		head, frame = HEAD.match(line), FRAME.match(line)
		if head:
			functions = []
			found.append(Record(head.group(1), int(head.group(3)), int(head.group(2)), functions))
		elif frame and functions is not None:
			name = frame.group(1) or ''
			while NOT_PART_OF_NAME.search(name):
				name = NOT_PART_OF_NAME.sub('', name)
			functions.append(name)
		elif not line.strip():
			functions = None
	return found


def take_apart(status, text):
	found = records(text)
	sums = SUMMARY.findall(text)
	return Result(status, [one for one in found if one.kind == 'Direct'], found, sum(int(blocks) for _, blocks in sums), sum(int(size) for size, _ in sums), text)


def gasket(command, words, **environment):
	"""A check may not come about on a busy machine: then once more."""
	for _ in range(3):
		done = subprocess.run([command, 'leaks', '--', *words], env=clean_environment(**environment), stdin=subprocess.DEVNULL,
			stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=100)
		if done.returncode != LEAK_CHECK_CANNOT:
			break
	return take_apart(done.returncode, done.stderr)


class Sanitizer:
	"""LeakSanitizer, preloaded. It needs ptrace, so whether it works here is tried first; `missing` says why not."""

	def __init__(self, known_leak):
		self.preload = self.find()
		self.missing = self.preload is None and 'liblsan is not installed'
		if self.preload and not self.run(known_leak).blocks:
			self.missing = 'LeakSanitizer finds nothing here: it may not trace processes'

	@staticmethod
	def find():
		for compiler in ('gcc', 'clang'):
			try:
				path = subprocess.run([compiler, '-print-file-name=liblsan.so'], capture_output=True, text=True).stdout.strip()
			except OSError:
				continue
			if os.path.isabs(path):
				return os.path.realpath(path)
		return None

	def run(self, words, **environment):
		done = subprocess.run(words, env=clean_environment(LD_PRELOAD=self.preload, LSAN_OPTIONS='symbolize=0', **environment),
			stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=100)
		return take_apart(done.returncode, done.stderr)


Shape = collections.namedtuple('Shape', 'family name site blocks bytes held_blocks held_bytes link')


def shapes(program):
	text = subprocess.run([program, '--list'], capture_output=True, text=True, check=True).stdout
	for line in text.splitlines():
		fields = line.split('\t')
		yield Shape(*fields[:3], *map(int, fields[3:7]), fields[7])


def private_folder(name):
	return tempfile.mkdtemp(prefix=f'gasket-{name}-')
