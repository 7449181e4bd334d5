/*
 * Programs started under a seccomp filter that kills for system calls it does not know, as services are: nothing of ours may be their end, whether the
 * collector can work or not.
 */
#include "tests/gc/hidden.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void add_filter(long number, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* Runs another test of this program under filters that do `action` for these system calls. */
static void run_with(unsigned action, const long *numbers, size_t count, const char *test)
{
	pid_t child = fork();

	if (child == 0) {
		for (size_t i = 0; i < count; i++)
			add_filter(numbers[i], action);
		execl("/proc/self/exe", "sandboxed", "--run", test, NULL);
		_exit(126);
	}
	CHECK_CHILD_PASSES(child);
}

static void run_without(long number, const char *test)
{
	run_with(SECCOMP_RET_KILL_PROCESS, &number, 1, test);
}

/* Enough of everything for stacks to be sampled and for cycles to be wanted. */
static void churn(void)
{
	static void *blocks[2000];

	for (int i = 0; i < 100000; i++) {
		free(blocks[i % 2000]);
		blocks[i % 2000] = malloc((size_t)(i % 4000) + 1);
	}
	for (int i = 0; i < 2000; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
}

static uintptr_t word;

static void *do_nothing(void *argument)
{
	return argument;
}

/* Until a program has shown that it may make tasks, nothing is tried. */
static void make_thread(void)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, do_nothing, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(program_collects)
{
	uintptr_t hidden, lost;

	make_thread();
	churn();
	hidden = hide_block(64);
	lost = hide_block(64);
	put(hidden, &word);
	collect();
	CHECK(is_kept(hidden));
	CHECK(!is_kept(lost));
}

TEST(program_goes_on)
{
	uintptr_t hidden;

	make_thread();
	churn();
	hidden = hide_block(64);
	put(hidden, &word);
	gasket_collect();
	CHECK(is_kept(hidden));
	churn();
}

TEST(program_makes_no_tasks)
{
	uintptr_t hidden;

	churn();
	usleep(1000);
	CHECK_EQ(poll(NULL, 0, 1), 0);
	hidden = hide_block(64);
	put(hidden, &word);
	gasket_collect();
	CHECK(is_kept(hidden));
	churn();
	usleep(1000);
}

static int ends[2];

static void wait_for_other_end(void)
{
	struct pollfd other = {.fd = ends[0], .events = POLLIN};

	CHECK_EQ(poll(&other, 1, 5000), 1);
	CHECK_EQ(other.revents, POLLHUP);
}

/* Whoever reads from the other end waits for the last writer to close, and the collector must not be that. */
TEST(program_closes_its_end_of_a_pipe)
{
	CHECK_EQ(pipe(ends), 0);
	make_thread();
	gasket_collect();
	usleep(10000); // the thread of a collector that can be none ends by itself
	close(ends[1]);
	wait_for_other_end();
}

TEST(program_collects_and_closes_its_end_of_a_pipe)
{
	CHECK_EQ(pipe(ends), 0);
	make_thread();
	collect();
	close(ends[1]);
	wait_for_other_end();
}

TEST(without_process_vm_readv_memory_is_read_all_the_same)
{
	run_without(SYS_process_vm_readv, "program_collects");
}

TEST(calls_that_can_be_spared_are_not_made)
{
	static const long calls[] = {SYS_mincore, SYS_sched_setscheduler, SYS_pidfd_getfd,
		SYS_getsockopt, SYS_readlinkat};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		run_without(calls[i], "program_collects");
}

TEST(without_calls_that_are_needed_there_is_no_collector_and_no_harm)
{
	static const long calls[] = {
		SYS_ioctl, SYS_close_range, SYS_tgkill, SYS_getdents64, SYS_lseek};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		run_without(calls[i], "program_goes_on");
}

TEST(filter_that_forbids_nothing_changes_nothing)
{
	run_without(10000, "program_collects");
}

TEST(without_close_range_no_descriptor_of_the_program_is_held_open)
{
	const long calls[] = {SYS_close_range};

	run_with(SECCOMP_RET_ERRNO | ENOSYS, calls, 1,
		"program_collects_and_closes_its_end_of_a_pipe");
}

TEST(messages_need_a_descriptor_without_close_range_too, .options = "report=stderr")
{
	const long calls[] = {SYS_close_range};

	run_with(SECCOMP_RET_ERRNO | ENOSYS, calls, 1,
		"program_collects_and_closes_its_end_of_a_pipe");
}

TEST(without_a_table_of_its_own_the_collector_is_none)
{
	const long calls[] = {SYS_close_range, SYS_unshare};

	run_with(SECCOMP_RET_ERRNO | EPERM, calls, 2, "program_closes_its_end_of_a_pipe");
	run_with(SECCOMP_RET_ERRNO | EPERM, calls, 2, "program_goes_on");
}

static const long calls_that_make_tasks[] = {SYS_clone, SYS_fork, SYS_vfork, 435 /* clone3 */};

TEST(a_program_that_may_make_no_tasks_is_not_killed_for_one_of_ours)
{
	run_with(SECCOMP_RET_KILL_PROCESS, calls_that_make_tasks, 4, "program_makes_no_tasks");
}

TEST(nor_without_a_collector, .options = "mode=fast")
{
	run_with(SECCOMP_RET_KILL_PROCESS, calls_that_make_tasks, 4, "program_makes_no_tasks");
}

TEST(nor_if_it_waits_for_one, .options = "interval_ms=5")
{
	run_with(SECCOMP_RET_KILL_PROCESS, calls_that_make_tasks, 4, "program_makes_no_tasks");
}
