/*
 * Birth and death of threads: many, often, small, cancelled, with destructors that allocate, without main.
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"
#include "tests/preload/sleeps.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static volatile int is_over;
static unsigned long verdicts, attempts;
static pthread_t collecting;

static void *collect(void *argument)
{
	while (!is_over) {
		verdicts += gasket_collect() == 1;
		attempts++;
	}
	return argument;
}

static void start_collecting(void)
{
	CHECK_EQ(pthread_create(&collecting, NULL, collect, NULL), 0);
}

/* On a busy machine so many verdicts take longer. */
static void stop_collecting(unsigned long least)
{
	for (int i = 0; i < 1500 && verdicts < least; i++)
		usleep(10000);
	is_over = 1;
	CHECK_EQ(pthread_join(collecting, NULL), 0);
	CHECK_MSG(verdicts >= least, "%lu of %lu collections gave a verdict", verdicts, attempts);
}

static long resident_kib(void)
{
	char line[256];
	long kib = -1;
	FILE *status = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), status))
		sscanf(line, "VmRSS: %ld", &kib);
	fclose(status);
	return kib;
}

/* What one cycle finds garbage. On a busy machine a cycle may be late and give no verdict: then nothing was taken back, and the next one counts. */
static void collect_garbage(void)
{
	for (int i = 0; i < 100; i++) {
		if (gasket_collect() == 1)
			return;
	}
	CHECK_MSG(false, "no collection gave a verdict");
}

/* ---- many ---- */

static sem_t may_end;

static void *wait_for_leave(void *argument)
{
	void *block = malloc(100);

	sem_wait(&may_end);
	free(block);
	return argument;
}

static unsigned long read_number(const char *path, unsigned long otherwise)
{
	FILE *file = fopen(path, "r");
	unsigned long number;

	if (!file)
		return otherwise;
	if (fscanf(file, "%lu", &number) != 1) /* "max" */
		number = otherwise;
	fclose(file);
	return number;
}

/* Where the limit of the process's own control group is, if there is one: version 2 has one path, version 1 one for each controller. */
static unsigned long pids_max(void)
{
	unsigned long least = ULONG_MAX;
	FILE *groups = fopen("/proc/self/cgroup", "r");
	char line[300], path[400];

	while (groups && fgets(line, sizeof(line), groups)) {
		char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
		bool is_old = group && strncmp(names, ":pids:", 6) == 0;

		if (!group || (!is_old && group != names + 1))
			continue;
		group[strcspn(group, "\n")] = 0;
		for (char *end; (end = strrchr(group, '/')); *end = 0) {
			unsigned long limit;

			snprintf(path, sizeof(path), "/sys/fs/cgroup/%s%s/pids.max",
				is_old ? "pids" : "", group + 1);
			limit = read_number(path, ULONG_MAX);
			least = limit < least ? limit : least;
		}
	}
	if (groups)
		fclose(groups);
	return least;
}

/* Skips if this system cannot have so many threads, and says why. Each has a stack with a guard: two mappings. */
static void require_threads(unsigned long count)
{
	struct rlimit limit;
	char reason[200];

	CHECK_EQ(getrlimit(RLIMIT_NPROC, &limit), 0);
	const struct {
		const char *name;
		unsigned long value, needed;
	} limits[] = {
		{"RLIMIT_NPROC", geteuid() == 0 ? ULONG_MAX : limit.rlim_cur, count + 100},
		{"pids.max of the control group", pids_max(), count + 100},
		{"/proc/sys/kernel/threads-max",
			read_number("/proc/sys/kernel/threads-max", ULONG_MAX), count + 500},
		{"/proc/sys/kernel/pid_max", read_number("/proc/sys/kernel/pid_max", ULONG_MAX),
			count + 500},
		{"/proc/sys/vm/max_map_count", read_number("/proc/sys/vm/max_map_count", ULONG_MAX),
			2 * count + 1000},
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (limits[i].value >= limits[i].needed)
			continue;
		snprintf(reason, sizeof(reason), "%s is %lu, %lu is needed", limits[i].name,
			limits[i].value, limits[i].needed);
		test_skip(reason);
	}
}

TEST(five_thousand_threads, .limit_seconds = 100)
{
	enum { COUNT = 5000 };
	static pthread_t threads[COUNT];
	static int arguments[COUNT];
	pthread_attr_t attributes;
	int count = 0, error = 0;

	require_threads(COUNT);
	sem_init(&may_end, 0, 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	while (count < COUNT && (error = pthread_create(&threads[count], &attributes,
					 wait_for_leave, &arguments[count])) == 0)
		count++;
	CHECK_MSG(count == COUNT, "pthread_create number %d: %s", count + 1, strerror(error));
	for (int i = 0; i < 10; i++)
		collect_garbage();
	for (int i = 0; i < count; i++)
		sem_post(&may_end);
	for (int i = 0; i < count; i++) {
		void *result;

		CHECK_EQ(pthread_join(threads[i], &result), 0);
		CHECK_EQ(result, (void *)&arguments[i]);
	}
	collect_garbage();
}

/* ---- often ---- */

static pthread_key_t key;

/* Allocates in every round libc gives. */
static void destroy(void *value)
{
	char *text = malloc(1000); /* so much, left behind by each thread, would be seen */

	strcpy(text, value);
	free(value);
	for (int i = 0; i < 10; i++)
		free(malloc(50 * (size_t)i));
	pthread_setspecific(key, text);
}

/* Detached threads are made so many at a time: the peak costs memory, not their number. */
enum { DETACHED_MAX = 30 };

/* Tasks of this process that the kernel still knows: those that are just ending, too. */
static unsigned long count_tasks(void)
{
	struct stat status;

	CHECK_EQ(stat("/proc/self/task", &status), 0);
	return status.st_nlink - 2;
}

static void *live_detached(void *argument)
{
	char *text = malloc(100);

	strcpy(text, "value");
	pthread_setspecific(key, text);
	return argument;
}

static void *live_briefly(void *argument)
{
	char *text = malloc(100);

	strcpy(text, "value");
	pthread_setspecific(key, text);
	for (size_t i = 0; i < 10; i++)
		free(malloc(i * 100));
	return argument;
}

static void churn(int count, bool detached)
{
	unsigned long others;

	collect_garbage(); /* the collector's own task is there from now on */
	others = count_tasks();
	for (int i = 0; i < count; i++) {
		pthread_t thread;
		int error;

		while (detached && i % DETACHED_MAX == 0 && count_tasks() > others)
			usleep(100);
		do
			error = pthread_create(
				&thread, NULL, detached ? live_detached : live_briefly, NULL);
		while (error == EAGAIN && usleep(1000) == 0);
		CHECK_EQ(error, 0);
		if (detached)
			CHECK_EQ(pthread_detach(thread), 0);
		else
			CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	while (count_tasks() > others)
		usleep(100);
}

/* Each thread leaks a value, which its destructor set in the last round: the collections take all of them back. */
TEST(churn_keeps_memory_flat, .limit_seconds = 3600)
{
	const char *full = getenv("GASKET_TEST_FULL");
	int count = !full ? 20000 : atoi(full) > 1 ? atoi(full) : 1000000;
	long before, after;

	CHECK_EQ(pthread_key_create(&key, destroy), 0);
	churn(4000, false);
	churn(4000, true);
	collect_garbage();
	malloc_trim(0); /* pages that wait for their decay are not growth */
	before = resident_kib();
	churn(count / 2, false);
	churn(count / 2, true);
	collect_garbage();
	malloc_trim(0);
	after = resident_kib();
	dprintf(STDOUT_FILENO, "%d threads: %ld KiB before, %ld KiB after\n", count, before, after);
	/* Threads that are alive at the same time cost memory once; of that a busy machine may see the most late. 400 bytes a thread would be seen here, 8 at full size. */
	CHECK_MSG(after < before + 8192, "%ld KiB, then %ld KiB", before, after);
}

TEST(churn_under_collections, .limit_seconds = 60)
{
	CHECK_EQ(pthread_key_create(&key, destroy), 0);
	start_collecting();
	churn(3000, false);
	churn(3000, true);
	stop_collecting(20);
}

/* Without a key of ours nobody tells us of the end of a thread. */
TEST(churn_without_keys, .limit_seconds = 60)
{
	pthread_key_t keys[PTHREAD_KEYS_MAX];
	int count = 0;
	long before, after;

	while (count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0)
		count++;
	key = keys[0];
	CHECK_NE(pthread_key_create(&keys[0], NULL), 0);
	churn(3000, false);
	collect_garbage();
	before = resident_kib();
	churn(5000, false);
	collect_garbage();
	after = resident_kib();
	CHECK_MSG(after < before + 16384, "%ld KiB, then %ld KiB", before, after);
}

/* ---- the first collection is due inside libc ---- */

/* Bytes a thread frees before it tells the pacer, and the quarantine this suite is run with. */
enum { QUANTUM_BYTES = 128 << 10, QUARANTINE_BYTES = 1 << 20, SLOT_BYTES = 32, BLOCK_BYTES = 20 };
enum { QUANTUM_BLOCKS = QUANTUM_BYTES / SLOT_BYTES + 1, JOIN_FREES_AT_MOST = 32 };

static void *pass(void *argument)
{
	return argument;
}

static void free_blocks(int count)
{
	void **blocks = mmap(NULL, (size_t)count * sizeof(*blocks), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < count; i++)
		blocks[i] = malloc(BLOCK_BYTES);
	for (int i = 0; i < count; i++)
		free(blocks[i]);
	munmap(blocks, (size_t)count * sizeof(*blocks));
}

static void *free_nearly_all(void *argument)
{
	free_blocks((QUARANTINE_BYTES / QUANTUM_BYTES - 1) * QUANTUM_BLOCKS);
	return argument;
}

/* A thread on a stack of the program's own: joining it frees its table of TLS, under the lock of libc's list of such stacks. */
static void *join_at_the_goal(void *left)
{
	pthread_attr_t attributes;
	pthread_t thread;
	void *stack =
		mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	free(malloc(
		BLOCK_BYTES)); /* a thread's first block has a stack record, and its free another way */
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, stack, 1 << 18);
	if (pthread_create(&thread, &attributes, pass, stack) != 0)
		_exit(1);
	free_blocks(QUANTUM_BLOCKS - (int)(size_t)left);
	pthread_join(thread, NULL);
	return NULL;
}

static void run_thread(void *(*start)(void *), size_t argument)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, start, (void *)argument), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* Somewhere among these counts it is the free inside the join that wants the collector, which no process has yet that was just forked. */
TEST(a_join_may_be_what_wants_the_first_collection, .limit_seconds = 60)
{
	for (size_t left = 0; left < JOIN_FREES_AT_MOST; left++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			alarm(10);
			run_thread(free_nearly_all, 0);
			run_thread(join_at_the_goal, left);
			_exit(0);
		}
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK_EQ(status, 0);
	}
}

/* ---- small ---- */

static void *work_on_small_stack(void *argument)
{
	while (!is_over) {
		void *block = malloc(500);

		memset(block, 1, 500);
		free(block);
	}
	return argument;
}

TEST(smallest_stacks)
{
	pthread_attr_t attributes;
	pthread_t threads[8];

	pthread_attr_init(&attributes);
	CHECK_EQ(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], &attributes, work_on_small_stack, NULL), 0);
	start_collecting();
	sleep(2);
	stop_collecting(20);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(stacks_of_the_programs_own)
{
	pthread_attr_t attributes;
	char *stack = malloc(1 << 18);

	pthread_attr_init(&attributes);
	CHECK_EQ(pthread_attr_setstack(
			 &attributes, (void *)(((size_t)stack + 15) & ~(size_t)15), (1 << 18) - 16),
		0);
	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		void *result;

		CHECK_EQ(pthread_create(&thread, &attributes, live_briefly, stack), 0);
		CHECK_EQ(gasket_collect(), 1);
		CHECK_EQ(pthread_join(thread, &result), 0);
		CHECK_EQ(result, (void *)stack);
		memset(stack, 0x11, 1 << 18); /* any memory again */
		CHECK_EQ(gasket_collect(), 1);
		CHECK_EQ(stack[1000], 0x11);
	}
}

/* ---- cancelled ---- */

static volatile int cleaned, blocked;

static void clean(void *argument)
{
	char *block = malloc(
		64); /* the gate must be left by now: this allocates in a thread that no longer waits */

	strcpy(block, "cleanup");
	for (int i = 0; i < 100; i++) {
		char *copy = strdup(block);

		free(block);
		block = copy;
	}
	CHECK_STR_EQ(block, "cleanup");
	free(block);
	cleaned++;
	(void)argument;
}

static int never_readable(void)
{
	static _Thread_local int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	return pair[0];
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static void unlock(void *argument)
{
	pthread_mutex_unlock(argument);
}

static void *wait_to_be_cancelled(void *argument)
{
	char byte;

	pthread_cleanup_push(clean, NULL);
	blocked++;
	switch ((int)(size_t)argument) {
	case 0:
		for (;;)
			poll(NULL, 0, -1);
	case 1:
		for (;;)
			read(never_readable(), &byte, 1);
	case 2:
		for (;;)
			usleep(100000);
	case 3:
		pthread_mutex_lock(&mutex);
		pthread_cleanup_push(unlock, &mutex);
		for (;;)
			pthread_cond_wait(&condition, &mutex);
		pthread_cleanup_pop(1);
		break;
	case 4:
		for (;;) {
			sem_t semaphore;

			sem_init(&semaphore, 0, 0);
			sem_wait(&semaphore);
		}
	case 5:
		for (;;)
			recv(never_readable(), &byte, 1, 0);
	case 6:
		for (;;)
			pause();
	default:
		for (;;)
			accept(never_readable(), NULL, NULL) == -1 && errno == EINVAL ? usleep(1000)
										      : 0;
	}
	pthread_cleanup_pop(1);
	return NULL;
}

TEST(cancellation_passes_the_gate, .limit_seconds = 60)
{
	enum { KINDS = 8, ROUNDS = 30 };

	start_collecting();
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t threads[KINDS];

		blocked = cleaned = 0;
		for (size_t i = 0; i < KINDS; i++)
			CHECK_EQ(pthread_create(&threads[i], NULL, wait_to_be_cancelled, (void *)i),
				0);
		usleep(3000);
		for (int i = 0; i < KINDS; i++)
			CHECK_EQ(pthread_cancel(threads[i]), 0);
		for (int i = 0; i < KINDS; i++) {
			void *result;

			CHECK_EQ(pthread_join(threads[i], &result), 0);
			CHECK_EQ(result, PTHREAD_CANCELED);
		}
	}
	stop_collecting(10);
}

static void *run_until_cancelled(void *argument)
{
	for (;;)
		pthread_testcancel();
	return argument;
}

static void *open_library(void *path)
{
	return dlopen(path, RTLD_NOW);
}

static volatile pid_t waiting;

static void *poll_until_cancelled(void *argument)
{
	waiting = (pid_t)syscall(SYS_gettid);
	for (;;)
		poll(NULL, 0, -1);
	return argument;
}

static void cancel_and_join(pthread_t thread)
{
	void *result;

	CHECK_EQ(pthread_cancel(thread), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK_EQ(result, PTHREAD_CANCELED);
}

/*
 * The first unwinding through a gated call looks for functions of libgcc. Here it must wait for the loader's lock, which somebody holds who opens a fifo as
 * a library: meanwhile the thread is one that runs, and each collection has to stop it.
 */
TEST(a_thread_that_is_unwound_does_not_count_as_waiting)
{
	enum { STOPS = 20 };
	char fifo[64];
	pthread_t thread, opener;
	void *result;
	long before;

	CHECK_EQ(pthread_create(&thread, NULL, run_until_cancelled, NULL), 0);
	cancel_and_join(thread); /* libc has what it needs itself */
	snprintf(fifo, sizeof(fifo), "/tmp/gasket-fifo-%d", getpid());
	CHECK_EQ(mkfifo(fifo, 0600), 0);
	CHECK_EQ(pthread_create(&thread, NULL, poll_until_cancelled, NULL), 0);
	while (!waiting)
		usleep(1000);
	collect_garbage(); /* no thread can be made while the lock is held, not the collector's either */
	CHECK_EQ(pthread_create(&opener, NULL, open_library, fifo), 0);
	usleep(50000);
	CHECK_EQ(pthread_cancel(thread), 0);
	usleep(50000);
	before = count_sleeps(waiting);
	for (int i = 0; i < STOPS; i++)
		collect_garbage();
	CHECK_GE(count_sleeps(waiting), before + STOPS);
	close(open(fifo, O_WRONLY));
	unlink(fifo);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK_EQ(result, PTHREAD_CANCELED);
	CHECK_EQ(pthread_join(opener, NULL), 0);
}

/* ---- arguments and results, through libc's other doors ---- */

static int c11_main(void *argument)
{
	int value = *(int *)argument;

	free(argument);
	return value;
}

TEST(c11_threads)
{
	start_collecting();
	for (int i = 0; i < 200; i++) {
		int *argument = malloc(sizeof(int)), result;
		thrd_t thread;

		*argument = i;
		CHECK_EQ(thrd_create(&thread, c11_main, argument), thrd_success);
		CHECK_EQ(thrd_join(thread, &result), thrd_success);
		CHECK_EQ(result, i);
	}
	stop_collecting(5);
}

static void *exit_deep_down(void *argument)
{
	pthread_exit(argument);
}

TEST(pthread_exit_keeps_its_result)
{
	start_collecting();
	for (int i = 0; i < 300; i++) {
		char *block = malloc(64);
		pthread_t thread;
		void *result;

		strcpy(block, "result");
		CHECK_EQ(pthread_create(&thread, NULL, exit_deep_down, block), 0);
		block = NULL;
		if (i % 10 == 0)
			usleep(3000);
		CHECK_EQ(pthread_join(thread, &result), 0);
		CHECK_STR_EQ((char *)result, "result");
		free(result);
	}
	stop_collecting(5);
}

/* ---- descriptors ---- */

/* The lowest free descriptor is the program's: whoever opens a file gets the same one each time, whatever goes on in malloc beside it. */
static void *open_again_and_again(void *argument)
{
	int lowest = *(int *)argument;

	while (!is_over) {
		int file = open("/dev/null", O_RDONLY);

		CHECK_MSG(file == lowest, "got %d, where %d is the lowest that is free", file,
			lowest);
		close(file);
	}
	return NULL;
}

static void watch_descriptors(void)
{
	int lowest = dup(0);
	void *blocks[1000] = {0};
	pthread_t thread;

	close(lowest);
	CHECK_EQ(pthread_create(&thread, NULL, open_again_and_again, &lowest), 0);
	for (int i = 0; i < 100000; i++) {
		free(blocks[i % 1000]);
		blocks[i % 1000] = malloc((size_t)(i % 4000));
		if (i % 1000 == 0)
			usleep(10);
	}
	is_over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* In children all begins anew: the page, the look for sandboxes, the collector. */
TEST(no_descriptor_of_ours_is_seen)
{
	CHECK_EQ(dup2(0, 100), 100);
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();

		if (child == 0) {
			watch_descriptors();
			_exit(0);
		}
		CHECK_CHILD_PASSES(child);
	}
	watch_descriptors();
}

/* ---- without main ---- */

static void *outlive_main(void *argument)
{
	void *keeps = argument;

	usleep(20000);
	for (int i = 0; i < 50; i++) {
		if (gasket_collect() != 1)
			_exit(3);
		free(malloc(1000));
	}
	if (strcmp(keeps, "from main") != 0)
		_exit(4);
	_exit(0);
}

TEST(main_may_end_first)
{
	char *block = malloc(100);
	pthread_t thread;

	strcpy(block, "from main");
	CHECK_EQ(pthread_create(&thread, NULL, outlive_main, block), 0);
	pthread_exit(NULL);
}
