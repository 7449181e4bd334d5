/*
 * Everything at once that an unwinder can lock up with or stumble over: threads that load and unload C++ plugins whose constructors allocate, throw and catch, fork, walk
 * the loader's list and allocate while they do, each allocation with its stack taken (stacks=all), while cycles stop them all. A watchdog ends the process when
 * some thread has not finished an action for too long; a child has an alarm.
 *
 * A few seconds; STORM_SECONDS in the environment makes it longer.
 */
#include "preload/gasket.h"
#include "tests/harness/frames.h"
#include "tests/harness/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, SECONDS = 3, STUCK_SECONDS = 30, PLUGINS = 3, HELD_MAX = 50 };

static const char *const plugin_paths[PLUGINS] = {STORM_PLUGIN_1, STORM_PLUGIN_2, STORM_PLUGIN_3};

struct worker {
	pthread_t thread;
	uint64_t random;
	const char *volatile action; // under way
	volatile uint64_t count;     // of actions
	void *held[HELD_MAX];
};

static struct worker workers[THREADS];
static volatile bool must_end;

/*
 * libc's fork leaves the loader's locks as they are, so a child may use the loader only if no thread did when it was made. Readers load and unload; who forks
 * such a child is the writer.
 */
static pthread_rwlock_t loader_lock = PTHREAD_RWLOCK_INITIALIZER;

static unsigned next_random(struct worker *worker)
{
	worker->random = worker->random * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(worker->random >> 33);
}

/* ---- actions ---- */

static KEEP long allocate_at_depth(struct worker *worker, int depth)
{
	volatile char room[64];
	long sum;

	room[depth & 63] = 1;
	if (depth > 0) {
		sum = allocate_at_depth(worker, depth - 1);
	} else {
		void **place = &worker->held[next_random(worker) % HELD_MAX];

		free(*place);
		*place = malloc(next_random(worker) % 600);
		sum = *place != NULL;
	}
	AFTER_CALL;
	return sum + room[3];
}

static void allocate(struct worker *worker)
{
	for (int i = 0; i < 20; i++)
		allocate_at_depth(worker, (int)(next_random(worker) % 40));
}

static long from_plugin(long value)
{
	char *block = malloc((size_t)(value & 255) + 1);

	block[0] = 1;
	free(block);
	return value;
}

static void run_plugin(struct worker *worker)
{
	unsigned number = next_random(worker) % PLUGINS;
	void *handle = dlopen(plugin_paths[number], number & 1 ? RTLD_NOW : RTLD_LAZY);
	long (*run)(long (*)(long), long);

	CHECK_MSG(handle != NULL, "%s", dlerror());
	run = (long (*)(long (*)(long), long))dlsym(handle, "storm_plugin_run");
	CHECK(run != NULL);
	for (int i = 0; i < 10; i++)
		run(from_plugin, (long)next_random(worker));
	CHECK_EQ(dlclose(handle), 0);
}

static void load(struct worker *worker)
{
	CHECK_EQ(pthread_rwlock_rdlock(&loader_lock), 0);
	run_plugin(worker);
	CHECK_EQ(pthread_rwlock_unlock(&loader_lock), 0);
}

static void *keep_handle;
static long (*kept_run)(long (*)(long), long);

static void throw_and_catch(struct worker *worker)
{
	for (int i = 0; i < 30; i++)
		kept_run(from_plugin, 3 * (long)(next_random(worker) % 1000));
}

static int on_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
	(void)bytes;
	free(malloc(strlen(info->dlpi_name) + 1));
	allocate_at_depth(argument, 5);
	return 0;
}

static void walk_modules(struct worker *worker)
{
	CHECK_EQ(pthread_rwlock_rdlock(&loader_lock), 0);
	dl_iterate_phdr(on_module, worker);
	CHECK_EQ(pthread_rwlock_unlock(&loader_lock), 0);
}

static void take_backtrace(struct worker *worker)
{
	void *frames[30];

	(void)worker;
	CHECK_GT(backtrace(frames, 30), 1);
	free(malloc(100));
}

static void wait_for(pid_t child)
{
	int status = 0;

	CHECK_GT(child, 0);
	while (waitpid(child, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK_MSG(
		status == 0, "a child ended with status %#x (14: it was stuck)", (unsigned)status);
}

static void fork_quick(struct worker *worker)
{
	pid_t child = fork();

	if (child == 0) {
		alarm(STUCK_SECONDS);
		allocate(worker);
		throw_and_catch(worker);
		take_backtrace(worker);
		_exit(0);
	}
	wait_for(child);
}

static void fork_loader(struct worker *worker)
{
	pid_t child;

	CHECK_EQ(pthread_rwlock_wrlock(&loader_lock), 0);
	child = fork();
	if (child == 0) {
		alarm(STUCK_SECONDS);
		run_plugin(worker);
		dl_iterate_phdr(on_module, worker);
		allocate(worker);
		_exit(0);
	}
	CHECK_EQ(pthread_rwlock_unlock(&loader_lock), 0);
	wait_for(child);
}

static const struct {
	const char *name;
	void (*run)(struct worker *worker);
	unsigned weight;
} actions[] = {
	{"allocate", allocate, 30},
	{"load", load, 12},
	{"throw", throw_and_catch, 20},
	{"walk", walk_modules, 20},
	{"backtrace", take_backtrace, 20},
	{"fork", fork_quick, 2},
	{"fork, then load", fork_loader, 1},
};

enum { ACTION_COUNT = sizeof(actions) / sizeof(actions[0]) };

static void *work(void *argument)
{
	struct worker *worker = argument;
	unsigned sum = 0;

	for (int i = 0; i < ACTION_COUNT; i++)
		sum += actions[i].weight;
	while (!must_end) {
		unsigned at = next_random(worker) % sum;
		int i = 0;

		while (at >= actions[i].weight)
			at -= actions[i++].weight;
		worker->action = actions[i].name;
		actions[i].run(worker);
		worker->count++;
	}
	return NULL;
}

/* ---- the watchdog ---- */

static uint64_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

/* A thread of its own, so that it sees also a collection that hangs. It only sleeps and reads. */
static void *watch(void *argument)
{
	uint64_t counts[THREADS] = {0}, since[THREADS];

	for (int i = 0; i < THREADS; i++)
		since[i] = now_s();
	while (!must_end) {
		usleep(200000);
		for (int i = 0; i < THREADS; i++) {
			if (workers[i].count != counts[i]) {
				counts[i] = workers[i].count;
				since[i] = now_s();
			} else if (now_s() - since[i] > STUCK_SECONDS) {
				fprintf(stderr, "thread %d hangs in %s after %lu actions\n", i,
					workers[i].action, (unsigned long)counts[i]);
				abort();
			}
		}
	}
	return argument;
}

static void report(uint64_t collections)
{
	uint64_t sum = 0;

	for (int i = 0; i < THREADS; i++)
		sum += workers[i].count;
	if (getenv("STORM_SECONDS"))
		printf("%lu actions, %lu collections\n", (unsigned long)sum,
			(unsigned long)collections);
}

TEST(nothing_hangs_in_a_storm_of_loading_throwing_and_forking)
{
	const char *text = getenv("STORM_SECONDS");
	uint64_t end = now_s() + (text ? strtoull(text, NULL, 10) : SECONDS), collections = 0;
	pthread_t watchdog;

	keep_handle = dlopen(plugin_paths[0], RTLD_NOW);
	CHECK_MSG(keep_handle != NULL, "%s", dlerror());
	kept_run = (long (*)(long (*)(long), long))dlsym(keep_handle, "storm_plugin_run");
	CHECK_EQ(pthread_create(&watchdog, NULL, watch, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		workers[i].random = (uint64_t)i + 1;
		CHECK_EQ(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	while (now_s() < end) {
		usleep(20000);
		collections += gasket_collect && gasket_collect() == 1;
	}
	must_end = true;
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(workers[i].thread, NULL), 0);
	CHECK_EQ(pthread_join(watchdog, NULL), 0);
	report(collections);
}
