/*
 * The collector's thread is a guest: what the program does to itself as a process of one thread, and what it lays on itself, goes on as without it.
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Tasks of a process, and how many of them have this line in their status. */
static int count_tasks(pid_t process, const char *line, int *ret_having)
{
	char path[100], text[4096];
	struct dirent *entry;
	int count = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	folder = opendir(path);
	CHECK_NOT_NULL(folder);
	*ret_having = 0;
	while ((entry = readdir(folder)) != NULL) {
		int file;
		ssize_t bytes;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", process, entry->d_name);
		file = open(path, O_RDONLY);
		bytes = read(file, text, sizeof(text) - 1);
		close(file);
		CHECK_GT(bytes, 0);
		text[bytes] = 0;
		*ret_having += strstr(text, line) != NULL;
		count++;
	}
	closedir(folder);
	return count;
}

TEST(what_needs_a_single_thread_finds_one)
{
	for (int i = 0; i < 1000; i++) {
		gasket_collect();
		CHECK_MSG(unshare(CLONE_VM) == 0, "unshare: errno %d in round %d", errno, i);
		gasket_collect();
		CHECK_MSG(syscall(SYS_unshare, CLONE_VM) == 0, "unshare: errno %d in round %d",
			errno, i);
	}
}

static void *wait_to_end(void *end)
{
	return pthread_mutex_lock(end) == 0 ? end : NULL;
}

/* At once: there is nothing that could pass. */
TEST(what_is_refused_to_several_threads_stays_refused)
{
	static pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;

	pthread_mutex_lock(&end);
	CHECK_EQ(pthread_create(&thread, NULL, wait_to_end, &end), 0);
	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(unshare(CLONE_VM), -1);
	CHECK_EQ(errno, EINVAL);
	pthread_mutex_unlock(&end);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(unshare(0x7), -1);
	CHECK_EQ(errno, EINVAL);
}

/* The collector is wanted all the time. */
static void *free_much(void *end)
{
	while (!__atomic_load_n((int *)end, __ATOMIC_RELAXED))
		free(malloc(1 << 20));
	return end;
}

/* The collector is started again beside whoever waits for its end. */
TEST(who_asks_for_a_single_thread_beside_threads_that_free_much, .limit_seconds = 60)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	int end = 0;

	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, free_much, &end), 0);
	for (int i = 0; i < 3000; i++)
		CHECK_EQ(prctl(PR_CAPBSET_DROP, 1000, 0, 0, 0), -1);
	__atomic_store_n(&end, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(gasket_collect(), 1);
}

static void *collect(void *verdicts)
{
	for (int i = 0; i < 300; i++)
		*(int *)verdicts += gasket_collect() == 1;
	return NULL;
}

/* A request that the collector had taken when it was ended is taken over by the next one. */
TEST(who_asks_for_a_cycle_gets_it_beside_one_that_ends_the_collector, .limit_seconds = 20)
{
	pthread_t thread;
	int verdicts = 0;

	CHECK_EQ(pthread_create(&thread, NULL, collect, &verdicts), 0);
	while (pthread_tryjoin_np(thread, NULL) != 0) {
		CHECK_EQ(prctl(PR_CAPBSET_DROP, 1000, 0, 0, 0), -1);
		usleep(1000);
	}
	CHECK_EQ(verdicts, 300);
}

/* ---- sandboxes ---- */

TEST(asking_for_filters_is_no_sandbox)
{
	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL), -1l);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(gasket_collect(), 1);
}

TEST(a_filter_that_is_refused_is_no_sandbox)
{
	struct sock_filter code[1] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {.len = 0, .filter = code};

	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), -1l);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(gasket_collect(), 1);
}

static long prctl_by_libc(long option, long a)
{
	return prctl((int)option, a, 0, 0, 0);
}

static long prctl_by_kernel(long option, long a)
{
	return syscall(SYS_prctl, option, a, 0, 0, 0);
}

/* A thread of ours that was left outside would be a way out. */
static void enter_strict(long (*call)(long option, long a))
{
	int up[2], down[2], having;
	pid_t child;
	char byte;

	CHECK_EQ(pipe(up), 0);
	CHECK_EQ(pipe(down), 0);
	child = fork();
	if (child == 0) {
		close(down[1]);
		gasket_collect();
		if (call(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
			_exit(1);
		write(up[1], "x", 1);
		read(down[0], &byte, 1);
		syscall(SYS_exit, 0);
	}
	CHECK_EQ(read(up[0], &byte, 1), 1l);
	CHECK_EQ(count_tasks(child, "\nSeccomp:\t1\n", &having), 1);
	CHECK_EQ(having, 1);
	close(down[1]);
	CHECK_CHILD_PASSES(child);
}

TEST(nothing_is_left_outside_a_strict_sandbox)
{
	enter_strict(prctl_by_libc);
}

TEST(nothing_is_left_outside_a_strict_sandbox_entered_by_a_raw_call)
{
	enter_strict(prctl_by_kernel);
}

/* ---- what a thread gives up ---- */

static void give_up(long (*call)(long option, long a), long option, long a, const char *line)
{
	int having, count;

	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(call(option, a), 0l);
	count = count_tasks(getpid(), line, &having);
	CHECK_EQ(having, count);
	CHECK_EQ(gasket_collect(), 1);
	count = count_tasks(getpid(), line, &having);
	CHECK_EQ(having, count);
}

TEST(the_collector_gets_no_new_privileges_either)
{
	give_up(prctl_by_libc, PR_SET_NO_NEW_PRIVS, 1, "\nNoNewPrivs:\t1\n");
}

TEST(the_collector_gets_no_new_privileges_either_by_a_raw_call)
{
	give_up(prctl_by_kernel, PR_SET_NO_NEW_PRIVS, 1, "\nNoNewPrivs:\t1\n");
}

TEST(a_capability_that_is_dropped_is_dropped_by_the_collector)
{
	int having, count;

	CHECK_EQ(gasket_collect(), 1);
	for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0)
			test_skip("no capability to drop capabilities");
	count = count_tasks(getpid(), "\nCapBnd:\t0000000000000000\n", &having);
	CHECK_EQ(having, count);
	CHECK_EQ(gasket_collect(), 1);
	count = count_tasks(getpid(), "\nCapBnd:\t0000000000000000\n", &having);
	CHECK_EQ(having, count);
}
