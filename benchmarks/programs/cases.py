"""The whole programs of the benchmark: how each is run, on what, and how what it says becomes an answer that can be compared."""
import os
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Case:
	"""A program that runs and ends. Its output is the answer."""

	def __init__(self, name, command, environment=None, quick=None):
		self.name, self.command, self.environment, self.quick = name, command, environment or {}, quick or command

	def missing(self):
		return None if shutil.which(self.command[0]) else self.command[0]

	def words(self, inputs, quick):
		return [word.replace('@HERE', HERE).replace('@INPUTS', inputs) for word in (self.quick if quick else self.command)]


class Server:
	"""A server under the allocator, and on loopback clients that are not. Wall time is the clients', everything else the server's."""

	environment = {}
	needs = ()  # programs

	def missing(self):
		return next((name for name in self.needs if not shutil.which(name)), None)

	def await_ready(self, port, process):
		for _ in range(3000):
			if process.poll() is not None:
				raise RuntimeError(f'{self.name} ended at once')
			try:
				socket.create_connection(('127.0.0.1', port), 0.2).close()
				return
			except OSError:
				time.sleep(0.01)
		raise RuntimeError(f'{self.name} does not answer')


class Redis(Server):
	"""redis-benchmark, then fixed commands whose result is the answer."""

	name = 'redis'
	needs = ('redis-server', 'redis-cli', 'redis-benchmark')

	def server(self, port, folder):
		return ['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder,
			'--daemonize', 'no', '--enable-debug-command', 'local', '--logfile', os.path.join(folder, 'redis.log')]

	def load(self, port, inputs, quick):
		"""Returns seconds and the answer."""
		client = ['redis-cli', '-p', str(port)]
		start = time.monotonic()
		subprocess.run(['redis-benchmark', '-p', str(port), '-q', '-c', '20', '-P', '8', '-r', '20000', '-d', '100', '-n', '2000' if quick else '8000',
			'-t', 'set,get,incr,lpush,rpush,lpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset'], check=True, stdout=subprocess.DEVNULL)
		subprocess.run([*client, 'flushall'], check=True, stdout=subprocess.DEVNULL)
		with open(os.path.join(inputs, 'redis.txt'), 'rb') as commands:
			subprocess.run([*client, '--pipe'], check=True, stdin=commands, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		digest = subprocess.run([*client, 'debug', 'digest'], check=True, capture_output=True, text=True).stdout.strip()
		seconds = time.monotonic() - start
		subprocess.run([*client, 'shutdown', 'nosave'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		return seconds, digest


class Nginx(Server):
	"""One process, whose clients ask for a small file and, compressed, a larger one, a few requests for each connection. (Debian's package.)"""

	name = 'nginx'
	needs = ('nginx',)
	CONNECTIONS, REQUESTS = 2000, 30

	def server(self, port, folder):
		self.folder = folder
		for name, size in (('small', 1 << 10), ('large', 8 << 10)):
			with open(os.path.join(folder, name + '.html'), 'w') as file:
				file.write(''.join(f'<p>{number * number}</p>\n' for number in range(size))[:size])
		paths = ''.join(f'{what}_temp_path {folder}/{what};' for what in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
		with open(os.path.join(folder, 'nginx.conf'), 'w') as file:
			file.write(f'daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n'
				f'http {{ access_log off; gzip on; types {{ text/html html; }} {paths}\n'
				f'server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n')
		return ['nginx', '-c', os.path.join(folder, 'nginx.conf')]

	def load(self, port, inputs, quick):
		def request(path, how):
			return f'GET /{path}.html HTTP/1.1\r\nHost: here\r\n{how}\r\n'.encode()
		once = request('small', '') * 9 + request('large', 'Accept-Encoding: gzip\r\n')
		asked = once * (self.REQUESTS // 10 - 1) + once[:-2] + b'Connection: close\r\n\r\n'
		start, answers, size = time.monotonic(), 0, 0
		for _ in range(self.CONNECTIONS // (10 if quick else 1)):
			with socket.create_connection(('127.0.0.1', port)) as client:
				client.sendall(asked)
				answer = b''.join(iter(lambda: client.recv(1 << 16), b''))
			answers, size = answers + answer.count(b'HTTP/1.1 200 OK'), size + len(answer)
		seconds = time.monotonic() - start
		with open(os.path.join(self.folder, 'pid')) as file:
			os.kill(int(file.read()), signal.SIGQUIT)
		return seconds, f'{answers}:{size}'


PYTHON = {'PYTHONMALLOC': 'malloc', 'PYTHONHASHSEED': '0', 'PYTHONDONTWRITEBYTECODE': '1'}

PROGRAMS = [
	Redis(),
	Case('python-objects', ['/usr/bin/python3', '@HERE/objects.py', '50000'], PYTHON, ['/usr/bin/python3', '@HERE/objects.py', '20000']),
	Case('python-json', ['/usr/bin/python3', '@HERE/documents.py', '@INPUTS/documents.json', '2'], PYTHON),
	Case('sqlite3', ['sqlite3', '-batch', '-init', '/dev/null', ':memory:', '.read @INPUTS/queries.sql']),
	Case('g++', ['g++', '-std=c++17', '-O1', '-S', '-DDEPTH=3', '-o', '-', '@HERE/templates.cpp'], None,
		['g++', '-std=c++17', '-O0', '-S', '-DDEPTH=1', '-o', '-', '@HERE/templates.cpp']),
	Case('lua-trees', ['lua5.4', '@HERE/trees.lua', '14'], None, ['lua5.4', '@HERE/trees.lua', '11']),
	Case('perl-trees', ['perl', '@HERE/trees.pl', '13'], None, ['perl', '@HERE/trees.pl', '10']),
	Case('ruby-trees', ['ruby', '--disable=gems', '@HERE/trees.rb', '13'], None, ['ruby', '--disable=gems', '@HERE/trees.rb', '10']),
	Case('jq', ['jq', '-c', 'group_by(.kind) | map({kind: .[0].kind, count: length, total: (map(.value) | add), tags: (map(.tags[]) | unique)})',
		'@INPUTS/documents.json']),
	Case('git-log', ['git', '--no-pager', '-C', '@INPUTS/repository', 'log', '-p', '--stat', '--no-color'],
		{'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null'}),
]
