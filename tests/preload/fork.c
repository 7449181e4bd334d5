/*
 * Children of every kind, from a process whose threads allocate while collections run back to back: none may hang, none may hurt its parent.
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A child that takes so long hangs. It shares the machine with all those threads, and with whatever else runs there. */
enum { THREADS = 64, CHILD_SECONDS = 60 };

static volatile int is_over;
static volatile unsigned long verdicts;
static pthread_t threads[THREADS], collecting;

/* As many rounds as wanted, or as fit into a third of the time limit where the machine is busy. */
static int goes_on(int round, int rounds)
{
	static time_t end;

	if (round == 0)
		end = time(NULL) + 20;
	return round < rounds && (round < 3 || time(NULL) < end);
}

static void *allocate(void *argument)
{
	void *blocks[32] = {NULL};
	unsigned random = (unsigned)(size_t)argument;

	while (!is_over) {
		random = random * 1103515245 + 12345;
		free(blocks[random >> 27]);
		blocks[random >> 27] = malloc((random >> 8) % 2000);
		if (random % 256 ==
			0) /* what matters is to be inside malloc at the fork, not to fill memory */
			usleep(1000);
	}
	for (int i = 0; i < 32; i++)
		free(blocks[i]);
	return NULL;
}

static void *collect(void *argument)
{
	while (!is_over)
		verdicts += gasket_collect() == 1;
	return argument;
}

static void start(int count)
{
	for (int i = 0; i < count; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, allocate, (void *)(size_t)(i + 1)), 0);
	CHECK_EQ(pthread_create(&collecting, NULL, collect, NULL), 0);
}

static void stop(int count)
{
	is_over = 1;
	for (int i = 0; i < count; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(pthread_join(collecting, NULL), 0);
}

/* 1 MiB in pieces of every size, written and read. Only async-signal-safe reporting: _exit. */
static void work_in_child(void)
{
	static char *blocks[512];

	alarm(CHILD_SECONDS);
	for (size_t i = 0; i < 512; i++) {
		size_t bytes = 16 + i * 8;

		blocks[i] = malloc(bytes);
		if (!blocks[i])
			_exit(10);
		memset(blocks[i], (int)i, bytes);
	}
	for (size_t i = 0; i < 512; i++) {
		if (blocks[i][8] != (char)i)
			_exit(11);
		free(blocks[i]);
	}
}

static void check_ended(pid_t child)
{
	int status;
	pid_t waited = waitpid(child, &status, 0);

	CHECK_EQ(waited, child);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status 0x%x",
		status);
}

TEST(fork_while_threads_allocate, .limit_seconds = 7200)
{
	const char *full = getenv("GASKET_TEST_FULL");
	int children = !full ? 20 : atoi(full) > 1 ? atoi(full) : 20000;

	start(THREADS);
	for (int i = 0; i < children; i++) {
		pid_t child = fork();

		if (child == 0) {
			work_in_child();
			_exit(0);
		}
		CHECK_GT(child, 0);
		check_ended(child);
	}
	stop(THREADS);
}

static void *return_argument(void *argument)
{
	free(malloc(100));
	return argument;
}

TEST(a_forked_child_collects_and_makes_threads, .limit_seconds = 60)
{
	start(4);
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();

		if (child == 0) {
			pthread_t thread;
			void *result;

			alarm(CHILD_SECONDS);
			if (gasket_collect() != 1)
				_exit(2);
			if (pthread_create(&thread, NULL, return_argument, &result) != 0 ||
				pthread_join(thread, &result) != 0)
				_exit(3);
			if (gasket_collect() != 1)
				_exit(4);
			work_in_child();
			_exit(0);
		}
		check_ended(child);
	}
	stop(4);
	CHECK_GT(verdicts, 5ul);
}

TEST(a_double_forked_daemon_collects)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		pid_t grandchild;

		setsid();
		grandchild = fork();
		if (grandchild == 0) {
			for (int fd = 3; fd < 100; fd++)
				close(fd);
			for (int i = 0; i < 5; i++)
				if (gasket_collect() != 1)
					_exit(2);
			work_in_child();
			_exit(0);
		}
		waitpid(grandchild, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 50);
	}
	check_ended(child);
}

/* Without libc's fork, hence without its handlers. */
static pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

TEST(a_child_made_by_raw_clone_allocates, .limit_seconds = 60)
{
	start(8);
	for (int i = 0; goes_on(i, 60); i++) {
		pid_t child = raw_fork();

		if (child == 0) {
			work_in_child();
			_exit(0);
		}
		check_ended(child);
	}
	stop(8);
}

extern pid_t _Fork(void) __attribute__((weak));

TEST(a_child_made_by__Fork_allocates, .limit_seconds = 60)
{
	if (!_Fork)
		test_skip("this libc has no _Fork");
	start(8);
	for (int i = 0; goes_on(i, 60); i++) {
		pid_t child = _Fork();

		if (child == 0) {
			work_in_child();
			_exit(0);
		}
		check_ended(child);
	}
	stop(8);
}

static void on_interrupt(int number)
{
	(void)number;
}

TEST(a_vfork_child_allocates_and_leaves_its_parent_alone, .limit_seconds = 60)
{
	struct sigaction action;

	signal(SIGINT, on_interrupt);
	start(4);
	for (int i = 0; goes_on(i, 300); i++) {
		pid_t child = vfork();

		if (child == 0) {
			struct timespec moment = {0, 1000};
			char *block = malloc(1000);

			signal(SIGINT, SIG_DFL);
			nanosleep(&moment, NULL);
			free(block);
			if (i % 2)
				execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		check_ended(child);
	}
	CHECK_EQ(sigaction(SIGINT, NULL, &action), 0);
	CHECK_EQ((void *)action.sa_handler, (void *)on_interrupt);
	CHECK_EQ(raise(SIGINT), 0); /* still the handler, not the end */
	stop(4);
	verdicts = 0;
	CHECK_EQ(gasket_collect(), 1);
}

/* One that dies inside a blocking call, on its parent's thread record. */
TEST(a_vfork_child_that_is_killed_while_it_waits)
{
	for (int i = 0; i < 20; i++) {
		pid_t child = vfork();

		if (child == 0) {
			alarm(1);
			signal(SIGALRM, SIG_DFL);
			ualarm(20000, 0);
			for (;;)
				pause();
		}
		CHECK_EQ(waitpid(child, NULL, 0), child);
		CHECK_EQ(gasket_collect(), 1);
	}
}

static void *spawn(void *argument)
{
	extern char **environ;
	char *arguments[] = {"true", NULL};

	for (int i = 0; i < 25 || verdicts <= 3; i++) {
		pid_t child;

		CHECK_EQ(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ), 0);
		check_ended(child);
	}
	return argument;
}

TEST(posix_spawn_from_threads, .limit_seconds = 60)
{
	pthread_t spawning[8];

	start(2);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&spawning[i], NULL, spawn, NULL), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(spawning[i], NULL), 0);
	stop(2);
	CHECK_GT(verdicts, 3ul);
}

/* Long arguments, for the kernel copies them before it looks at signals for the last time. */
static char long_argument[100000], *long_arguments[20] = {"true"};

static int exec_by_libc(const char *path)
{
	return execve(path, long_arguments, environ);
}

static int exec_by_kernel(const char *path)
{
	return (int)syscall(SYS_execve, path, long_arguments, environ);
}

static int exec_at_by_kernel(const char *path)
{
	return (int)syscall(SYS_execveat, AT_FDCWD, path, long_arguments, environ, 0);
}

/* A stop signal that is pending when the program is replaced would kill the new one. */
static void exec_during_collections(int (*exec)(const char *path))
{
	memset(long_argument, 'x', sizeof(long_argument) - 1);
	for (int i = 1; i < 18; i++)
		long_arguments[i] = long_argument;
	for (int i = 0; i < 150; i++) {
		pid_t child = fork();

		if (child == 0) {
			struct timespec moment = {0, i * 20000};

			alarm(CHILD_SECONDS);
			start(1);
			nanosleep(&moment, NULL);
			exec("/bin/true");
			_exit(9);
		}
		check_ended(child);
	}
}

TEST(exec_in_the_middle_of_collections, .limit_seconds = 100)
{
	exec_during_collections(exec_by_libc);
}

TEST(exec_by_raw_calls_in_the_middle_of_collections, .limit_seconds = 100)
{
	exec_during_collections(exec_by_kernel);
	exec_during_collections(exec_at_by_kernel);
}

static int handler_steps;

static void allocate_in_fork_handler(void)
{
	for (size_t i = 0; i < 2000; i++)
		free(malloc(i * 3));
	handler_steps++;
}

TEST(fork_handlers_allocate, .limit_seconds = 60)
{
	CHECK_EQ(pthread_atfork(allocate_in_fork_handler, allocate_in_fork_handler,
			 allocate_in_fork_handler),
		0);
	start(8);
	for (int i = 0; goes_on(i, 50); i++) {
		pid_t child = fork();

		if (child == 0) {
			work_in_child();
			_exit(handler_steps == 2 * i + 2 ? 0 : 5);
		}
		check_ended(child);
	}
	stop(8);
}

/* ---- forks of a process with one thread ---- */

static void end_well_after(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		_exit(12);
}

/* Three generations: before there is a collector, and with one and threads. */
static void found_a_family(void)
{
	pid_t child;

	work_in_child();
	child = fork();
	if (child == 0) {
		work_in_child();
		start(4);
		if (gasket_collect() != 1)
			_exit(13);
		child = fork();
		if (child == 0) {
			work_in_child();
			_exit(gasket_collect() == 1 ? 0 : 14);
		}
		end_well_after(child);
		stop(4);
		_exit(0);
	}
	end_well_after(child);
	_exit(gasket_collect() == 1 ? 0 : 15);
}

TEST(children_of_a_process_with_one_thread_collect, .limit_seconds = 60)
{
	pid_t child;

	for (int i = 0; goes_on(i, 20); i++) {
		child = fork();
		if (child == 0)
			found_a_family();
		check_ended(child);
	}
	CHECK_EQ(gasket_collect(), 1);
	child = fork();
	if (child == 0)
		found_a_family();
	check_ended(child);
}

static int makes_a_thread;
static pthread_t made_by_handler;

static void make_a_thread(void)
{
	if (makes_a_thread && pthread_create(&made_by_handler, NULL, allocate, NULL) == 0)
		usleep(1000); /* it is inside malloc */
}

/* Before the first allocation, so that it is called after the library's own handler. */
static void register_make_a_thread(void)
{
	pthread_atfork(make_a_thread, NULL, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*const early)(
	void) = register_make_a_thread;

TEST(a_fork_handler_makes_the_second_thread, .limit_seconds = 60)
{
	for (int i = 0; goes_on(i, 50); i++) {
		pid_t child = fork();

		if (child == 0) {
			makes_a_thread = 1;
			child = fork();
			makes_a_thread = 0;
			if (child == 0) {
				work_in_child();
				_exit(0);
			}
			end_well_after(child);
			is_over = 1;
			pthread_join(made_by_handler, NULL);
			_exit(gasket_collect() == 1 ? 0 : 15);
		}
		check_ended(child);
	}
}

TEST(popen_and_system_under_collections, .limit_seconds = 60)
{
	start(2);
	for (int i = 0; goes_on(i, 30); i++) {
		char line[32] = "";
		FILE *pipe = popen("echo text", "r");

		CHECK_NOT_NULL(pipe);
		CHECK_NOT_NULL(fgets(line, sizeof(line), pipe));
		CHECK_STR_EQ(line, "text\n");
		CHECK_EQ(pclose(pipe), 0);
		CHECK_EQ(system("exit 3"), 3 << 8);
	}
	stop(2);
	CHECK_GT(verdicts, 3ul);
}
