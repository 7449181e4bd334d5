/*
 * A program that lets a seccomp filter kill it for anything but what a plain allocator needs: it
 * allocates on, forks nothing, and ends well. Neither a collector, nor a stack capture, nor the
 * removal of the public page may make a system call that it did not make before.
 */
#include "tests/harness/test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCKS = 300000, KEPT = 1000 };

static const int allowed[] = {
	SYS_read,
	SYS_write,
	SYS_exit_group,
	SYS_exit,
	SYS_futex,
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_mprotect,
	SYS_rt_sigprocmask,
	SYS_clock_gettime,
	SYS_getpid,
	SYS_gettid,
	SYS_fstat,
#ifdef SYS_newfstatat
	SYS_newfstatat,
#endif
};

enum { ALLOWED = sizeof(allowed) / sizeof(allowed[0]) };

static void enter_sandbox(void)
{
	struct sock_filter filter[2 * ALLOWED + 2];
	struct sock_fprog program = {.filter = filter};

	filter[program.len++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < ALLOWED; i++) {
		filter[program.len++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
		filter[program.len++] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[program.len++] =
		(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
		test_skip("no seccomp filters here");
}

static void churn(void)
{
	static char *kept[KEPT];

	for (int i = 0; i < BLOCKS; i++) {
		size_t bytes = 1 + (size_t)i * 7919 % 5000;
		char *block = malloc(bytes);

		memset(block, i, bytes);
		free(kept[i % KEPT]);
		kept[i % KEPT] = block;
	}
}

TEST(filter_of_a_fresh_process)
{
	enter_sandbox();
	churn();
}

TEST(filter_of_a_process_with_a_page_and_cycles)
{
	churn();
	usleep(100000);
	enter_sandbox();
	churn();
}
