"""
The real programs, one function each. A case runs its program through session.run() and returns what must not depend on the allocator: a
dictionary from a name (status, stderr, digest ...) to text. Inputs are made here and always the same; ports and paths are the session's own.
Each has enough work for some seconds of allocation, or the collector would not come around often enough to be tested.
"""
import glob
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

CASES = {}


def case(function):
	CASES[function.__name__.rstrip('_')] = function
	return function


def digest(data):
	return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def digest_files(pattern):
	return {os.path.basename(path): digest(open(path, 'rb').read()) for path in sorted(glob.glob(pattern))}


def outcome(done, **more):
	return {'status': str(done.returncode), 'stderr': done.stderr.decode(errors='replace'), 'stdout': digest(done.stdout), **more}


def wait_for(condition, what, seconds=30):
	end = time.monotonic() + seconds
	while time.monotonic() < end:
		try:
			if condition():
				return
		except OSError:
			pass
		time.sleep(0.02)
	raise TimeoutError(f'{what} did not come within {seconds} s')


# ---- interpreters ----

# From Debian's libpython3-testsuite, which has no test_sqlite3: the case python_sqlite3 stands in for it.
PYTHON_TESTS = ['test_json', 'test_re', 'test_threading', 'test_ctypes', 'test_gc', 'test_dict', 'test_collections', 'test_deque',
	'test_array', 'test_struct', 'test_unicode', 'test_bytes', 'test_zlib', 'test_thread', 'test_generators', 'test_list', 'test_mmap']


@case
def python(session):
	"""Debian's own test modules: every test must end as it does without us."""
	# -j2: test_threading sleeps for most of its time
	done = session.run(['/usr/bin/python3', '-m', 'test', '-v', '-j2', '--tempdir', session.folder] + PYTHON_TESTS, timeout=300)
	text = (done.stdout + done.stderr).decode(errors='replace')
	session.note(text)
	return {'status': str(done.returncode),
		'failed': '\n'.join(sorted(re.findall(r'^(?:FAIL|ERROR): .*|^\d+ tests? (?:failed|altered).*(?:\n    .*)*', text, flags=re.M))),
		'skipped': '\n'.join(sorted(re.findall(r'^(test\w* \(\S+\)).* \.\.\. skipped', text, flags=re.M))),
		'ran': ' '.join(sorted(re.findall(r'^Ran (\d+) tests', text, flags=re.M)))}


PYTHON_SQLITE3 = r"""
import hashlib, sqlite3, threading
class Sum:
	def __init__(self): self.values = []
	def step(self, value): self.values.append(value)
	def finalize(self): return sum(self.values)
digest = hashlib.sha256()
def work(number):
	base = sqlite3.connect(':memory:')
	base.create_aggregate('total_of', 1, Sum)
	base.create_function('twice', 1, lambda value: value * 2)
	base.create_collation('reverse', lambda a, b: (a < b) - (a > b))
	base.execute('create table t(id integer primary key, name text, data blob)')
	for step in range(12):
		base.executemany('insert into t(name, data) values(?, ?)', ((f'n{i * 7919 % 997}', bytes([i % 256]) * (i % 300)) for i in range(3000)))
		base.commit()
		base.execute('update t set name = name || twice(id) where id % 3 = ?', (step % 3,))
		base.execute('delete from t where id % 7 = ?', (step,))
		base.rollback() if step % 2 else base.commit()
	rows = base.execute('select name, data, id from t order by name collate reverse, id').fetchall()
	copy = sqlite3.connect(':memory:')
	base.backup(copy)
	text = ''.join(copy.iterdump())
	try:
		base.execute('select nothing from t')
	except sqlite3.OperationalError as error:
		text += str(error)
	results[number] = repr(rows[:100]) + text + str(base.execute('select total_of(id), count(*) from t').fetchone())
results = {}
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for number in sorted(results): digest.update(results[number].encode())
print(digest.hexdigest(), len(results))
"""


@case
def python_sqlite3(session):
	return outcome(session.run(['/usr/bin/python3', '-c', PYTHON_SQLITE3]))


PERL = r'''
use strict; use warnings;
use Digest::SHA qw(sha256_hex);
my (%index, @rows); my $seed = 1;
sub random { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed; }
for my $i (1 .. 120000) {
	my $key = join '-', map { random() % 97 } 1 .. 3;
	push @{$index{$key}}, "row $i of $key" x (1 + $i % 3);
	delete $index{$rows[random() % @rows][1]} if $i % 10 == 9;
	push @rows, [$i, $key, { even => $i % 2 ? undef : "yes" }] if $i % 7 == 0;
}
my $text = join "\n", map { my $key = $_; map { s/(\d+)/<$1>/gr } sort @{$index{$key}} } sort keys %index;
my @sorted = sort { $a->[1] cmp $b->[1] || $a->[0] <=> $b->[0] } @rows;
print sha256_hex($text), " ", scalar(@sorted), " ", join(",", map { $_->[0] } @sorted[0 .. 20]), "\n";
'''


@case
def perl(session):
	return outcome(session.run(['perl', '-e', PERL]))


LUA = r'''
local seed = 42
local function random() seed = (seed * 1103515245 + 12345) % 2147483648 return seed end
local store, threads, sum = {}, {}, 0
for i = 1, 900000 do
	local key = "key" .. random() % 10000
	local entry = store[key]
	if entry and #entry > 20 then
		store[key] = nil
	else
		entry = entry or {}
		entry[#entry + 1] = ("value %d of %s"):format(i, key)
		store[key] = entry
	end
	if i % 5000 == 0 then
		local thread = coroutine.wrap(function() local t = {} for j = 1, 100 do t[j] = j * i coroutine.yield(t[j]) end end)
		for _ = 1, 50 do sum = (sum + thread()) % 1000000007 end
	end
	if i % 300000 == 0 then collectgarbage() end
end
local lines = {}
for key, entry in pairs(store) do lines[#lines + 1] = key .. "=" .. table.concat(entry, "|") end
table.sort(lines)
for _, line in ipairs(lines) do for c in line:gmatch("%d+") do sum = (sum * 31 + tonumber(c)) % 1000000007 end end
print(#lines, sum, (table.concat(lines):gsub("value", "v")):len())
'''


@case
def lua(session):
	return outcome(session.run(['lua5.4', '-e', LUA]))


BASH = r'''
declare -A seen
list=()
for i in $(seq 1 200); do
	value=$(echo "$i" | sed "s/^/n/")
	seen[$value]=$((i * i))
	list+=("$value-${seen[$value]}")
done
text=""
for i in $(seq 1 6000); do text="${text: -2000}$i,"; part[$((i % 500))]=${text:0:500}; done
printf '%s\n' "${list[@]}" "${part[@]}" | sort | sha256sum
(exit 3); echo "status $?"
wait
'''


@case
def bash(session):
	return outcome(session.run(['bash', '-c', BASH]))


# ---- compilers ----

def c_source(functions):
	"""A file with enough code for some seconds of -O2."""
	parts = ['#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n']
	for i in range(functions):
		parts.append(f'''
struct record{i} {{ uint32_t key; uint64_t value[{i % 7 + 1}]; char name[{i % 13 + 4}]; }};
static uint64_t hash{i}(const struct record{i} *records, unsigned count)
{{
	uint64_t sum = {i};
	for (unsigned j = 0; j < count; j++) {{
		const struct record{i} *record = &records[j];
		switch (record->key % 5) {{
		case 0: sum += record->value[0] * {i + 3}; break;
		case 1: sum ^= record->value[record->key % {i % 7 + 1}] << {i % 13}; break;
		case 2: for (unsigned k = 0; k < sizeof(record->name); k++) sum = sum * 31 + (unsigned char)record->name[k]; break;
		default: sum = sum * record->key + strlen(record->name); break;
		}}
	}}
	return sum;
}}
uint64_t use{i}(const void *data, unsigned count) {{ return hash{i}(data, count) + {f"use{i - 1}(data, count / 2)" if i else "0"}; }}
''')
	return ''.join(parts)


@case
def gcc(session):
	open(session.path('big.c'), 'w').write(c_source(120))
	done = session.run(['gcc', '-O2', '-g', f'-ffile-prefix-map={session.folder}=.', '-c', 'big.c', '-o', 'big.o'])
	broken = session.run(['gcc', '-c', '-x', 'c', '-', '-o', 'none.o'], input=b'int main(void) { return undeclared; }\n')
	return outcome(done, object=str(digest_files(session.path('*.o'))), broken=str(broken.returncode) + broken.stderr.decode())


CPP = r'''
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>
template <int N> struct item { std::map<int, std::string> names; std::vector<std::unique_ptr<item<N - 1>>> children; };
template <> struct item<0> { std::unordered_map<std::string, int> leaves; };
int main()
{
	item<4> root;
	root.names[1] = "one";
	std::vector<std::string> words{"abc", "aac", "x"};
	std::sort(words.begin(), words.end(), [](const auto &a, const auto &b) { return a.size() < b.size() || a < b; });
	return static_cast<int>(std::count_if(words.begin(), words.end(), [&](const auto &w) { return w.find('a') == 0; }));
}
'''


@case
def gxx(session):
	open(session.path('many.cpp'), 'w').write(CPP)
	done = session.run(['g++', '-O1', '-g', f'-ffile-prefix-map={session.folder}=.', '-c', 'many.cpp', '-o', 'many.o'])
	linked = session.run(['g++', 'many.o', '-o', 'many.bin'])
	ran = session.run([session.path('many.bin')])
	return outcome(done, object=str(digest_files(session.path('*.o'))), linked=str(outcome(linked)), ran=str(ran.returncode))


# ---- data ----

SQL = '''
PRAGMA cache_size = 500;
PRAGMA synchronous = OFF;
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, age INTEGER, note TEXT);
CREATE TABLE visit(person INTEGER REFERENCES person, place TEXT, day INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
	INSERT INTO person SELECT i, 'name' || (i * 7919 % 10007), i % 90, printf('%.*c', i % 50, 'x') FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
	INSERT INTO visit SELECT i * 31 % 60000, 'place' || (i % 331), i % 365 FROM n;
CREATE INDEX by_name ON person(name, age);
CREATE INDEX by_place ON visit(place, day);
UPDATE person SET note = note || name WHERE id % 3 = 0;
DELETE FROM visit WHERE day % 11 = 0;
SELECT place, count(*), group_concat(DISTINCT age) FROM visit JOIN person ON id = person GROUP BY place ORDER BY 2 DESC, 1 LIMIT 20;
SELECT json_group_array(json_object('n', name, 'a', age)) FROM (SELECT * FROM person ORDER BY id LIMIT 20000);
VACUUM;
PRAGMA integrity_check;
SELECT nonsense FROM person;
'''


@case
def sqlite3(session):
	done = session.run(['sqlite3', 'test.db'], input=SQL.encode())
	dump = session.run(['sqlite3', 'test.db', '.dump'])
	return outcome(done, dump=outcome(dump)['stdout'])


def json_document(count):
	return json.dumps([{'id': i, 'name': f'name {i * 7919 % 1009}', 'tags': [f't{j}' for j in range(i % 9)],
		'inner': {'x': i / 7, 'deep': {'list': list(range(i % 5))}}} for i in range(count)])


@case
def jq(session):
	program = '''[.[] | select(.id % 3 != 0) | {key: .name, value: (.tags | map(ascii_upcase) | join("+")), n: .inner.deep.list | add}]
		| group_by(.key) | map({(.[0].key): map(.value) | unique | length}) | add | to_entries | sort_by(.value, .key) | .[:200]'''
	return outcome(session.run(['jq', '-S', program], input=json_document(32000).encode()))


@case
def xmllint(session):
	rows = [f'<row id="r{i}" kind="k{i % 17}"><a>text {i}</a><b x="{i}">&amp;<c/></b><!-- {i} --></row>\n' for i in range(25000)]
	for name, count in (('big.xml', 25000), ('small.xml', 20000)):
		text = ''.join(rows[:count])
		open(session.path(name), 'w').write(f'<?xml version="1.0"?>\n<rows xmlns:n="urn:n">{text}</rows>\n')
	repeated = session.run(['xmllint', '--repeat', '--noout', 'small.xml'])  # a hundred times
	formatted = session.run(['xmllint', '--format', 'big.xml'])
	found = session.run(['xmllint', '--xpath', 'count(//row[@kind="k3"]/b[@x > 1000])', 'big.xml'])
	canonical = session.run(['xmllint', '--c14n', 'big.xml'])
	broken = session.run(['xmllint', '--noout', '-'], input=b'<a><b></a>')
	return outcome(formatted, repeated=str(outcome(repeated)), found=found.stdout.decode(), canonical=outcome(canonical)['stdout'],
		broken=str(broken.returncode) + broken.stderr.decode())


@case
def git(session):
	identity = {'GIT_AUTHOR_NAME': 'A', 'GIT_AUTHOR_EMAIL': 'a@localhost', 'GIT_COMMITTER_NAME': 'A', 'GIT_COMMITTER_EMAIL': 'a@localhost',
		'GIT_AUTHOR_DATE': '1700000000 +0000', 'GIT_COMMITTER_DATE': '1700000000 +0000', 'GIT_CONFIG_NOSYSTEM': '1', 'HOME': session.folder}
	errors = []

	def run_git(*arguments):
		done = session.run(['git', '-C', session.path('repo')] + list(arguments), environment=identity)
		errors.append(f'{arguments[0]} {done.returncode} {done.stderr.decode()}')
		return done.stdout.decode()

	os.mkdir(session.path('repo'))
	run_git('init', '-q', '-b', 'main')
	for commit in range(6):
		for i in range(120):
			folder = session.path(f'repo/d{i % 10}')
			os.makedirs(folder, exist_ok=True)
			open(f'{folder}/f{i}', 'w').write('\n'.join(f'line {j * (commit + 1) * i % 997}' for j in range(300 + i)))
		run_git('add', '-A')
		run_git('commit', '-q', '-m', f'commit {commit}')
	run_git('checkout', '-q', '-b', 'side', 'HEAD~3')
	run_git('merge', '-q', '-s', 'ours', '-m', 'merge', 'main')
	run_git('repack', '-q', '-a', '-d', '-f', '--depth=50', '--window=50')
	fsck = run_git('fsck', '--strict', '--no-progress', '--full')
	return {'steps': '\n'.join(errors), 'fsck': fsck, 'tree': run_git('rev-parse', 'HEAD^{tree}'), 'head': run_git('rev-parse', 'HEAD'),
		'log': digest(run_git('log', '-p', '--stat')), 'blame': digest(run_git('blame', '-s', 'd3/f13'))}


# ---- servers ----

def redis_script():
	"""Some of every type, with deletions, in an order that never changes."""
	lines = []
	for i in range(4000):
		lines += [f'SET string:{i % 5000} {"v" * (i % 200)}{i}', f'HSET hash:{i % 300} field{i % 97} value{i}', f'ZADD zset:{i % 50} {i % 1000} m{i}',
			f'LPUSH list:{i % 40} item{i}', f'SADD set:{i % 60} s{i % 500}', f'APPEND string:{i * 7 % 5000} tail']
		if i % 5 == 0:
			lines += [f'DEL string:{i * 3 % 5000}', f'LTRIM list:{i % 40} 0 200', f'ZREMRANGEBYRANK zset:{i % 50} 300 -1']
		if i % 100 == 0:
			lines.append(f'EVAL "local t = {{}} for i = 1, 100 do t[i] = redis.call(\'HLEN\', KEYS[1]) + i end return #t" 1 hash:{i % 300}')
	return '\n'.join(lines) + '\n'


@case
def redis(session):
	address = session.path('redis.sock')
	server = session.start(['redis-server', '--port', '0', '--unixsocket', address, '--save', '', '--dir', session.folder,
		'--enable-debug-command', 'yes', '--daemonize', 'no'])

	def command(*words, script=None):
		return subprocess.run(['redis-cli', '-s', address] + list(words), input=script, capture_output=True, text=True, timeout=120).stdout

	wait_for(lambda: command('PING') == 'PONG\n', 'redis-server')
	answers = command(script=redis_script())
	results = {'answers': digest(answers), 'digest': command('DEBUG', 'DIGEST')}
	results['saved'] = command('BGSAVE')
	wait_for(lambda: 'rdb_bgsave_in_progress:0' in command('INFO', 'persistence'), 'the end of BGSAVE')
	results['bgsave'] = str('rdb_last_bgsave_status:ok' in command('INFO', 'persistence'))
	results['reload'] = command('DEBUG', 'RELOAD')
	results['digest_after_reload'] = command('DEBUG', 'DIGEST')
	results['flush'] = command('FLUSHALL', 'ASYNC')
	command(script='\n'.join(f'SET again:{i} {i}' for i in range(5000)))
	results['digest_at_end'] = command('DEBUG', 'DIGEST')
	command('SHUTDOWN', 'NOSAVE')
	done = session.finish(server)
	return {'status': str(done.returncode), 'stderr': done.stderr.decode(), **results}


NGINX = '''
daemon off;
master_process on;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 512; }}
http {{
	access_log {folder}/access.log;
	client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
	gzip on; gzip_min_length 100; gzip_types *; gzip_comp_level 4;
	server {{
		listen 127.0.0.1:{port};
		root {folder}/www;
		location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/; }}
	}}
}}
'''


def free_port():
	with socket.socket() as probe:
		probe.bind(('127.0.0.1', 0))
		return probe.getsockname()[1]


@case
def nginx(session):
	port = free_port()
	os.mkdir(session.path('www'))
	os.chmod(session.folder, 0o755)
	for i in range(20):
		open(session.path(f'www/f{i}.txt'), 'w').write(''.join(f'{i} {j * j % 10007}\n' for j in range(i * 900)))
	user = 'user root;' if os.getuid() == 0 else ''
	open(session.path('nginx.conf'), 'w').write(NGINX.format(folder=session.folder, port=port, user=user))
	server = session.start(['/usr/sbin/nginx', '-c', session.path('nginx.conf'), '-p', session.folder])
	base = f'http://127.0.0.1:{port}'

	def fetch(path, **headers):
		with urllib.request.urlopen(urllib.request.Request(base + path, headers=headers), timeout=30) as answer:
			return answer.read()

	wait_for(lambda: fetch('/f1.txt'), 'nginx')
	load = [subprocess.Popen(['wrk', '-t1', '-c16', '-d2s', '-H', 'Accept-Encoding: gzip', base + path], stdout=subprocess.PIPE, text=True)
		for path in ('/f9.txt', '/proxy/f7.txt')]
	bodies = []
	for _ in range(10):
		bodies = [digest(fetch(prefix + f'f{i}.txt')) for i in range(20) for prefix in ('/', '/proxy/')]
	texts = [process.communicate(timeout=60)[0] for process in load]
	errors = [line for text in texts for line in text.splitlines() if 'Socket errors' in line or 'Non-2xx' in line]
	server.send_signal(signal.SIGQUIT)
	done = session.finish(server)
	return {'status': str(done.returncode), 'stderr': done.stderr.decode(), 'bodies': digest(''.join(bodies)), 'errors': '\n'.join(errors),
		'served': str(all('Requests/sec' in text for text in texts))}


# ---- our own ----

@case
def exceptions(session):
	"""C++ with exceptions through many frames, thread_local destructors that allocate, and std containers in threads."""
	return outcome(session.run([session.program('cpp_threads')]))


@case
def daemon(session):
	"""Forks twice, closes every descriptor, serves on a socket, is told to end."""
	address = session.path('daemon.sock')
	started = session.run([session.program('daemon'), address])
	wait_for(lambda: os.path.exists(address), 'the daemon')
	answers = []

	def ask(text):
		with socket.socket(socket.AF_UNIX) as client:
			client.settimeout(30)
			client.connect(address)
			client.sendall(text.encode())
			client.shutdown(socket.SHUT_WR)
			return b''.join(iter(lambda: client.recv(65536), b'')).decode()

	wait_for(lambda: ask('descriptors'), 'an answer')
	descriptors = ask('descriptors')
	end = time.monotonic() + 2
	while time.monotonic() < end:
		answers = [ask(f'work {i}') for i in range(100)]
	ask('end')
	wait_for(lambda: not os.path.exists(address), 'the end of the daemon')
	time.sleep(0.2)
	return outcome(started, descriptors=descriptors, answers=digest(''.join(answers)))
