/*
 * Signals that arrive at every instruction of malloc, in the two ways in which a handler may come to run over a half-done malloc: directly, and right after
 * another handler has returned, before its restorer has gone back. The handler allocates, too: the two blocks must differ.
 *
 * A child runs the mallocs, each behind a breakpoint; its parent traces it, steps a further instruction each time, and sends the signal there.
 */
#include "tests/harness/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 90, BYTES = 48, RETURNING_STEPS_MAX = 100000, NOT_TRACED = 77 };

static void *volatile block_of_handler;

static void on_allocate(int number)
{
	(void)number;
	block_of_handler = malloc(BYTES);
}

static void on_nothing(int number)
{
	(void)number;
}

/* Half-used groups of slots, so that both the fast path and a refill are met. */
static void fragment(void)
{
	void *blocks[100];

	for (int i = 0; i < 100; i++)
		blocks[i] = malloc(BYTES);
	for (int i = 0; i < 50; i++)
		free(blocks[i]);
}

static void run_mallocs(void)
{
	int doubles = 0;

	signal(SIGUSR1, on_nothing);
	signal(SIGUSR2, on_allocate);
	fragment();
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
		_exit(NOT_TRACED);
	raise(SIGSTOP);
	for (int i = 0; i < ROUNDS; i++) {
		void *block;

		block_of_handler = NULL;
		__asm__ volatile("int3");
		block = malloc(BYTES);
		doubles += block == block_of_handler;
	}
	_exit(doubles);
}

/* Lets the child run one instruction, with a signal if it is not 0. */
static void step(pid_t child, int signal)
{
	int status;

	CHECK_EQ(ptrace(PTRACE_SINGLESTEP, child, 0, signal), 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSTOPPED(status));
}

/* A handler runs and returns; the child then stands at the restorer's first instruction: mov $15, %rax. */
static void run_other_handler(pid_t child)
{
	step(child, SIGUSR1);
	for (int i = 0; i < RETURNING_STEPS_MAX; i++) {
		struct user_regs_struct registers;

		CHECK_EQ(ptrace(PTRACE_GETREGS, child, 0, &registers), 0);
		if ((ptrace(PTRACE_PEEKTEXT, child, registers.rip, 0) & 0x00ffffffffffffff) ==
			0x0000000fc0c748)
			return;
		step(child, 0);
	}
	CHECK_MSG(0, "the handler did not return");
}

/* Returns the child's exit status: how often malloc and the handler's malloc returned the same block. */
static int signal_everywhere(bool after_another)
{
	pid_t child = fork();
	int status, steps = 0;

	if (child == 0)
		run_mallocs();
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGSTOP) {
			ptrace(PTRACE_CONT, child, 0, 0);
			continue;
		}
		CHECK_EQ(WSTOPSIG(status), SIGTRAP);
		for (int i = 0; i < steps; i++)
			step(child, 0);
		steps++;
		if (after_another)
			run_other_handler(child);
		ptrace(PTRACE_CONT, child, 0, SIGUSR2);
	}
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_TRACED)
		test_skip("ptrace is not allowed");
	return WEXITSTATUS(status);
}

TEST(a_handler_over_malloc_gets_another_block)
{
	CHECK_EQ(signal_everywhere(false), 0);
}

TEST(a_handler_over_the_return_of_another_gets_another_block)
{
	CHECK_EQ(signal_everywhere(true), 0);
}
