"""Makes what the programs of cases.py read: the same bytes every time, for a size (1: the full benchmark)."""
import json
import os
import random
import subprocess

WORDS = 'alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon'.split()


def write(folder, name, text):
	with open(os.path.join(folder, name), 'w') as file:
		file.write(text)


def documents(folder, size):
	pick = random.Random(1)
	records = [{'id': number, 'kind': pick.choice(WORDS), 'value': pick.randrange(10**6), 'text': ' '.join(pick.choices(WORDS, k=12)),
		'tags': pick.sample(WORDS, 4), 'nested': {'a': [number, number + 1], 'b': None, 'c': number % 3 == 0}}
		for number in range(int(16000 * size))]
	write(folder, 'documents.json', json.dumps(records))


def queries(folder, size):
	source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'queries.sql')
	write(folder, 'queries.sql', open(source).read().replace('COUNT)', f'{int(120000 * size)})').replace('-- COUNT', '-- The count'))


def history(folder, size):
	"""A repository whose files change a few lines in each commit."""
	pick = random.Random(2)
	repository = os.path.join(folder, 'repository')
	if os.path.exists(repository):
		return
	files = {f'source{number}.txt': [' '.join(pick.choices(WORDS, k=8)) for _ in range(300)] for number in range(12)}
	stream = []
	for commit in range(int(500 * size)):
		for name in pick.sample(sorted(files), 3) if commit else sorted(files):
			for _ in range(6):
				files[name][pick.randrange(len(files[name]))] = ' '.join(pick.choices(WORDS, k=8))
		stream.append(f'commit refs/heads/main\ncommitter A <a@example.org> {1600000000 + commit * 60} +0000\ndata 7\nchange\n\n')
		for name, lines in files.items():
			text = '\n'.join(lines) + '\n'
			stream.append(f'M 100644 inline {name}\ndata {len(text)}\n{text}\n')
	subprocess.run(['git', 'init', '-q', '--bare', repository], check=True)
	subprocess.run(['git', '-C', repository, 'fast-import', '--quiet'], input=''.join(stream).encode(), check=True)
	subprocess.run(['git', '-C', repository, 'symbolic-ref', 'HEAD', 'refs/heads/main'], check=True)


def redis_commands(folder, size):
	"""Inline commands for redis-cli --pipe: strings, hashes, lists and sets that are made, grown and deleted."""
	pick = random.Random(3)
	lines = []
	for number in range(int(30000 * size)):
		key = pick.randrange(8000)
		lines += [f'SET string:{key} {"v" * pick.randrange(1, 200)}', f'HSET hash:{key % 800} field:{number % 50} {"h" * pick.randrange(1, 60)}',
			f'RPUSH list:{key % 400} {number}', f'SADD set:{key % 300} member:{number}']
		if number % 3 == 0:
			lines += [f'DEL string:{pick.randrange(8000)}', f'LPOP list:{key % 400}', f'APPEND string:{key} {"a" * pick.randrange(1, 100)}']
	write(folder, 'redis.txt', '\r\n'.join(lines) + '\r\n')


def make(folder, size):
	os.makedirs(folder, exist_ok=True)
	for kind in (documents, queries, history, redis_commands):
		kind(folder, size)
