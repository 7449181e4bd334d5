/* The start of a process: any function may come first, before every constructor and before our own. */
#include "tests/harness/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void run_first(const char *name)
{
	int ends[2];
	char text[10] = "";

	CHECK_EQ(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl(FIRST_CALL, FIRST_CALL, name, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	CHECK_CHILD_PASSES(child);
	CHECK_EQ(read(ends[0], text, sizeof(text) - 1), 3);
	CHECK_STR_EQ(text, "ok\n");
}

#define FIRST(name) \
	TEST(name##_comes_first) \
	{ \
		run_first(#name); \
	}

FIRST(free)
FIRST(free_foreign)
FIRST(realloc)
FIRST(realloc_zero)
FIRST(realloc_foreign)
FIRST(usable_size)
FIRST(usable_size_foreign)
FIRST(calloc)
FIRST(posix_memalign)
FIRST(memalign)
FIRST(mallopt)
FIRST(mallinfo2)
FIRST(malloc_trim)

TEST(bad_options_are_named_and_ignored, .options = "mode=unknown:nonsense=1:growth=banana",
	.contains = "nonsense")
{
	free(malloc(100));
}

TEST(empty_environment)
{
	pid_t child = fork();

	if (child == 0) {
		char preload[4096] = "LD_PRELOAD=";
		strncat(preload, getenv("LD_PRELOAD"), sizeof(preload) - 20);
		char *environment[] = {preload, NULL};
		execle(FIRST_CALL, FIRST_CALL, "free", (char *)NULL, environment);
		_exit(127);
	}
	CHECK_CHILD_PASSES(child);
}

static void *churn(void *result)
{
	for (int i = 0; i < 300000; i++)
		free(malloc((size_t)i % 3000));
	usleep(200000);
	return result;
}

TEST(process_ends_with_its_last_thread, .options = "interval_ms=20", .limit_seconds = 10)
{
	// libc ends a process when its last thread is gone; a collector thread must not count.
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, churn, NULL), 0);
	churn(NULL);
	pthread_exit(NULL);
}

/* Frees that make the library want its own thread are the last thing that the process does: that thread has hardly begun. */
// seen to take 80 s once in ten runs of all tests: both threads able to run and not running, on the one CPU they may use
TEST(process_ends_with_its_last_thread_while_ours_begins, .options = "interval_ms=1",
	.limit_seconds = 240)
{
	time_t end = time(NULL) + 20; // or fewer rounds, where the machine is busy
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one); // a new thread waits for its turn
	CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	for (int i = 0; i < 20 && time(NULL) < end; i++) {
		pid_t child = fork();

		if (child == 0) {
			free(memset(malloc(8 << 20), 1, 8 << 20));
			pthread_exit(NULL);
		}
		CHECK_CHILD_PASSES(child);
	}
}

static void *fork_and_return(void *argument)
{
	pid_t child = fork();

	churn(NULL);
	if (child > 0)
		CHECK_CHILD_PASSES(child);
	return argument;
}

TEST(child_of_a_thread_ends_with_it, .options = "interval_ms=20", .limit_seconds = 10)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, fork_and_return, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}
