/*
 * Signals that arrive at every instruction of malloc, in the two ways in which a handler may come to run over a half-done malloc: directly, and right after
 * another handler has returned, before its restorer has gone back. The handler allocates, too: the two blocks must differ.
 *
 * A child runs the mallocs, each behind a breakpoint; its parent traces it, steps a further instruction each time, and sends the signal there. Large blocks
 * take locks on the way, where no handler may run: it runs later, and once.
 */
#include "tests/harness/test.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ROUNDS = 90,
	BYTES = 48,
	LARGE_ROUNDS = 200,
	LARGE_STRIDE = 7,
	LARGE_BYTES = 1 << 20,
	RETURNING_STEPS_MAX = 100000,
	NOT_TRACED = 77,
	WRONG_LOST = 1,  // a handler did not run
	WRONG_BLOCK = 2, // the handler got the same
	WRONG_MASK = 4,  // signals are blocked still
	WRONG_TWICE = 8  // a handler ran twice
};

static void *volatile block_of_handler;
static volatile int handled;
static size_t bytes = BYTES;

static void on_allocate(int number)
{
	(void)number;
	block_of_handler = malloc(bytes);
	handled++;
}

static void on_nothing(int number)
{
	(void)number;
	handled++;
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

static void be_traced(void)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
		_exit(NOT_TRACED);
	raise(SIGSTOP);
}

static void run_mallocs(int handlers)
{
	int doubles = 0;

	(void)handlers;
	signal(SIGUSR1, on_nothing);
	signal(SIGUSR2, on_allocate);
	fragment();
	be_traced();
	for (int i = 0; i < ROUNDS; i++) {
		void *block;

		block_of_handler = NULL;
		__asm__ volatile("int3");
		block = malloc(BYTES);
		doubles += block == block_of_handler;
	}
	_exit(doubles);
}

/* `handlers` are sent in each round. */
static void run_large_mallocs(int handlers)
{
	unsigned long mask = 1;
	int wrong = 0;

	signal(SIGUSR1, on_nothing);
	signal(SIGUSR2, on_allocate);
	bytes = LARGE_BYTES;
	free(malloc(bytes));
	be_traced();
	for (int i = 0; i < LARGE_ROUNDS; i++) {
		void *block;

		handled = 0;
		block_of_handler = NULL;
		__asm__ volatile("int3");
		block = malloc(bytes);
		free(block);
		block = malloc(bytes);
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
		wrong |= (handled < handlers) * WRONG_LOST | (handled > handlers) * WRONG_TWICE |
			 (block_of_handler == block) * WRONG_BLOCK | (mask != 0) * WRONG_MASK;
		free(block);
		free(block_of_handler);
	}
	_exit(wrong);
}

/* Lets the child run one instruction, with a signal if it is not 0; or as many as it takes until that signal was let through, if it was blocked. */
static void step(pid_t child, int signal)
{
	int status;

	do {
		CHECK_EQ(ptrace(PTRACE_SINGLESTEP, child, 0, signal), 0);
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK(WIFSTOPPED(status));
		signal = WSTOPSIG(status);
	} while (signal != SIGTRAP);
}

/* A handler runs and returns; the child then stands at the restorer's first instruction: mov $15, %rax. */
static void run_other_handler(pid_t child)
{
	kill(child, SIGUSR1);
	step(child, 0);
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

/* Returns the child's exit status: how often malloc and the handler's malloc returned the same block, or what was wrong. */
static int signal_everywhere(void (*run)(int handlers), int stride, bool after_another)
{
	cpu_set_t one;
	pid_t child;
	int status, steps = 0;

	// one waits for the other at each step: on two processors each time for one that sleeps
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	child = fork();

	if (child == 0)
		run(after_another ? 2 : 1);
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) != SIGTRAP) { /* SIGSTOP at first; later those that waited */
			ptrace(PTRACE_CONT, child, 0,
				WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status));
			continue;
		}
		CHECK_EQ(WSTOPSIG(status), SIGTRAP);
		for (int i = 0; i < steps; i++)
			step(child, 0);
		steps += stride;
		if (after_another)
			run_other_handler(child);
		// not by PTRACE_CONT: where the child stands at the first instruction of the collector's handler, the kernel drops what is to be delivered
		kill(child, SIGUSR2);
		ptrace(PTRACE_CONT, child, 0, 0);
	}
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_TRACED)
		test_skip("ptrace is not allowed");
	return WEXITSTATUS(status);
}

TEST(a_handler_over_malloc_gets_another_block)
{
	CHECK_EQ(signal_everywhere(run_mallocs, 1, false), 0);
}

TEST(a_handler_over_the_return_of_another_gets_another_block)
{
	CHECK_EQ(signal_everywhere(run_mallocs, 1, true), 0);
}

TEST(a_handler_over_malloc_of_a_large_block_runs_once)
{
	CHECK_EQ(signal_everywhere(run_large_mallocs, LARGE_STRIDE, false), 0);
}

TEST(a_handler_over_the_return_of_another_over_a_large_block_runs_once)
{
	CHECK_EQ(signal_everywhere(run_large_mallocs, LARGE_STRIDE, true), 0);
}

/* ---- faults ---- */

enum { FAULTS = 60, FAULT_STRIDE = 21, FAULT_HANDLED = 3 };

static void on_fault(int number)
{
	(void)number;
	free(malloc(LARGE_BYTES));
	_exit(FAULT_HANDLED);
}

/* The child's status after a fault so many instructions into malloc and free of a large block. */
static int status_after_fault(int steps)
{
	siginfo_t fault = {.si_signo = SIGSEGV, .si_code = SEGV_MAPERR};
	pid_t child = fork();
	int status;

	if (child == 0) {
		signal(SIGSEGV, on_fault);
		free(malloc(LARGE_BYTES));
		be_traced();
		__asm__ volatile("int3");
		free(malloc(LARGE_BYTES));
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_TRACED)
		test_skip("ptrace is not allowed");
	CHECK_EQ(ptrace(PTRACE_CONT, child, 0, 0), 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	for (int i = 0; i < steps; i++)
		step(child, 0);
	CHECK_EQ(ptrace(PTRACE_SETSIGINFO, child, 0, &fault), 0);
	CHECK_EQ(ptrace(PTRACE_DETACH, child, 0, SIGSEGV), 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

/* With locks held it may not run the handler, which would wait for them. */
TEST(a_fault_ends_the_process_or_is_handled)
{
	const char *options = getenv("GASKET_OPTIONS");
	int handled_count = 0, ended = 0;

	for (int i = 0; i < FAULTS; i++) {
		int status = status_after_fault(i * FAULT_STRIDE);

		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
			ended++;
		else if (WIFEXITED(status) && WEXITSTATUS(status) == FAULT_HANDLED)
			handled_count++;
		else
			CHECK_MSG(0, "after %d steps: %#x", i * FAULT_STRIDE, status);
	}
	CHECK_GT(handled_count, 0);
	CHECK(ended > 0 || !options || !strstr(options, "mode=fast"));
}
