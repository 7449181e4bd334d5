/*
 * Programs started under a seccomp filter that kills for system calls it does not know, as services are: nothing of ours may be their end, whether the
 * collector can work or not.
 */
#include "tests/gc/hidden.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Runs another test of this program under a filter that kills for one system call. */
static void run_without(long number, const char *test)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	pid_t child = fork();

	if (child == 0) {
		CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
		CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
		execl("/proc/self/exe", "sandboxed", "--run", test, NULL);
		_exit(126);
	}
	CHECK_CHILD_PASSES(child);
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

TEST(program_collects)
{
	uintptr_t hidden, lost;

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

	churn();
	hidden = hide_block(64);
	put(hidden, &word);
	gasket_collect();
	CHECK(is_kept(hidden));
	churn();
}

TEST(without_process_vm_readv_memory_is_read_all_the_same)
{
	run_without(SYS_process_vm_readv, "program_collects");
}

TEST(calls_that_can_be_spared_are_not_made)
{
	static const long calls[] = {SYS_mincore, SYS_sched_setscheduler, SYS_pidfd_getfd, SYS_getsockopt, SYS_readlinkat};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		run_without(calls[i], "program_collects");
}

TEST(without_calls_that_are_needed_there_is_no_collector_and_no_harm)
{
	static const long calls[] = {SYS_ioctl, SYS_close_range, SYS_tgkill, SYS_getdents64, SYS_lseek};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		run_without(calls[i], "program_goes_on");
}

TEST(filter_that_forbids_nothing_changes_nothing)
{
	run_without(10000, "program_collects");
}
