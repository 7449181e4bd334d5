/*
 * Stops malloc, free and their like after every instruction, and runs two full cycles at each stop, with probation off: whatever the program will hold or
 * still holds must be named by a register or the stack at every moment (the state store comes when the address is in a register, and free keeps
 * its argument to the end).
 *
 * How: the trap flag is set around one call. The handler of SIGTRAP asks another thread, the helper, for a collection and spins until it is over, so that
 * the stepped thread is stopped where it stands, with the interrupted registers in its signal frame. The helper then allocates blocks of the same size:
 * if the slot under way was taken back, it is handed out a second time and both are noticed.
 *
 * Code that blocks all signals would be killed by a blocked trap: the handler sees the system call coming and takes SIGTRAP out of its mask. No thread can
 * be stopped there, so no cycle is asked for either. An instruction is stopped at a few times at most, so that loops end.
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)

/* With every block sampled a call takes thousands of instructions, nearly all of them the unwinder's: one visit each, and fewer calls. */
#ifndef STEPPER_SAMPLES
#define STEPPER_SAMPLES 0
#endif

enum {
	VISITS_MAX = STEPPER_SAMPLES ? 1 : 2, /* stops at one instruction, in one call */
	PLACES_MAX = 1 << 16,
	STOPS_MAX = 4000, /* in one call */
	HELPER_BLOCKS = 8192,
	HELPER_KEEPS = 48, /* unless it takes more at once; a twelfth of it when they are large */
	LARGE_BYTES = 70000,
	MOVED_BYTES = 280000, /* from here on pages are moved, not copied */
};

static struct {
	uint64_t asked;
	uint64_t answered;
	uint64_t verdicts;
	uint64_t stops;
	uint64_t instructions;
	size_t bytes; /* of the blocks that the helper allocates, 0: none */
	unsigned count;
	unsigned kept;
	bool is_over;
	uint64_t mask; /* in place of the one a system call named */
} step;

static unsigned char
	visits[PLACES_MAX]; /* by hash of the address: two instructions may share one */
static unsigned char *volatile helper_blocks[HELPER_BLOCKS];
static size_t helper_bytes[HELPER_BLOCKS];
static uint64_t helper_next;

/*
 * Calls function(a, b, c) with the trap flag set and returns the complement of its result. `a` is given as its complement, so that no register but the
 * argument's names the block.
 */
uintptr_t call_stepped(void *function, uintptr_t hidden_a, uintptr_t b, uintptr_t c);
__asm__(".text\n"
	".globl call_stepped\n"
	".type call_stepped, @function\n"
	"call_stepped:\n"
	"	sub $8, %rsp\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	not %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	xor %ecx, %ecx\n"
	"	xor %r8d, %r8d\n"
	"	xor %r9d, %r9d\n"
	"	pushfq\n"
	"	orq $0x100, (%rsp)\n"
	"	popfq\n"
	"	call *%rax\n"
	"	pushfq\n"
	"	andq $~0x100, (%rsp)\n"
	"	popfq\n"
	"	not %rax\n"
	"	xor %edi, %edi\n"
	"	add $8, %rsp\n"
	"	ret\n"
	".size call_stepped, . - call_stepped\n");

/* ---- the helper ---- */

static void check_helper_block(unsigned index)
{
	unsigned char *block = helper_blocks[index];
	int state;

	if (!block)
		return;
	state = gasket_block_state(block);
	CHECK_MSG(state == 1 || state == 4, "a block of the helper (%p) is in state %d",
		(void *)block, state);
	for (size_t i = 0; i < helper_bytes[index]; i += 8)
		CHECK_MSG(block[i] == (unsigned char)(index + 1),
			"a block of the helper (%p) was changed", (void *)block);
}

static void allocate_some(void)
{
	for (unsigned i = 0; i < step.count; i++) {
		unsigned index = (unsigned)(helper_next++ % step.kept);

		check_helper_block(index);
		free(helper_blocks[index]);
		helper_blocks[index] = malloc(step.bytes);
		CHECK_NOT_NULL(helper_blocks[index]);
		helper_bytes[index] = step.bytes;
		memset(helper_blocks[index], (int)index + 1, step.bytes);
	}
}

static void *help(void *argument)
{
	while (!__atomic_load_n(&step.is_over, __ATOMIC_ACQUIRE)) {
		uint64_t asked = __atomic_load_n(&step.asked, __ATOMIC_ACQUIRE);

		if (asked == step.answered) {
			sched_yield();
			continue;
		}
		// waits for two cycles; on a busy machine some give no verdict: again
		for (int tries = 0; tries < 20; tries++) {
			if (gasket_collect() == 1) {
				step.verdicts++;
				break;
			}
		}
		allocate_some();
		__atomic_store_n(&step.answered, asked, __ATOMIC_RELEASE);
	}
	return argument;
}

/* ---- the stepped thread ---- */

static bool is_mask_call(const greg_t *registers)
{
	const unsigned char *code = (const unsigned char *)registers[REG_RIP];

	return code[0] == 0x0f && code[1] == 0x05 && registers[REG_RAX] == SYS_rt_sigprocmask &&
	       registers[REG_RSI] != 0;
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
	ucontext_t *interrupted = context;
	greg_t *registers = interrupted->uc_mcontext.gregs;
	unsigned char *seen = &visits[(uintptr_t)registers[REG_RIP] * 0x9e3779b97f4a7c15ull >> 48];

	(void)signal;
	(void)info;
	step.instructions++;
	if (is_mask_call(registers)) {
		step.mask = *(const uint64_t *)registers[REG_RSI] & ~(1ull << (SIGTRAP - 1));
		registers[REG_RSI] = (greg_t)&step.mask;
	}
	if (sigismember(&interrupted->uc_sigmask, SIGUSR2) || *seen >= VISITS_MAX ||
		step.stops >= STOPS_MAX)
		return;
	++*seen;
	step.stops++;
	__atomic_store_n(&step.asked, step.asked + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&step.answered, __ATOMIC_ACQUIRE) != step.asked)
		syscall(SYS_sched_yield);
}

/* Steps through function(~hidden_a, b, c); the helper allocates `count` blocks of `bytes` at each stop. The result is a complement. */
static __attribute__((noinline)) uintptr_t step_with(
	void *function, uintptr_t hidden_a, uintptr_t b, uintptr_t c, size_t bytes, unsigned count)
{
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
	pthread_t helper;
	uintptr_t hidden;

	sigaction(SIGTRAP, &action, 0);
	memset(&step, 0, sizeof(step));
	memset(visits, 0, sizeof(visits));
	step.bytes = bytes;
	step.count = count;
	step.kept = count > HELPER_KEEPS ? HELPER_BLOCKS
		    : count == 1         ? HELPER_KEEPS / 12
					 : HELPER_KEEPS;
	CHECK_EQ(pthread_create(&helper, 0, help, 0), 0);
	hidden = call_stepped(function, hidden_a, b, c);
	__atomic_store_n(&step.is_over, true, __ATOMIC_RELEASE);
	pthread_join(helper, 0);
	for (unsigned i = 0; i < HELPER_BLOCKS; i++)
		check_helper_block(i);
	CHECK_MSG(step.verdicts > 0 && step.verdicts * 10 >= step.stops * 9,
		"%lu stops, %lu with a verdict", step.stops, step.verdicts);
	dprintf(STDOUT_FILENO, "%lu instructions, %lu stops\n", step.instructions, step.stops);
	return hidden;
}

static uintptr_t step_through(
	void *function, uintptr_t hidden_a, uintptr_t b, uintptr_t c, size_t bytes)
{
	return step_with(function, hidden_a, b, c, bytes, bytes >= LARGE_BYTES ? 1 : 8);
}

/* The result is a live block of its own. */
static __attribute__((noinline)) void check_result(uintptr_t hidden, size_t bytes)
{
	unsigned char *block = (unsigned char *)~hidden;
	int state;

	CHECK_NOT_NULL(block);
	state = gasket_block_state(block);
	CHECK_MSG(state == 1 || state == 4, "the block (%p) is in state %d", (void *)block, state);
	for (unsigned i = 0; i < HELPER_BLOCKS; i++)
		CHECK_MSG(!helper_blocks[i] || block + bytes <= helper_blocks[i] ||
				  helper_blocks[i] + helper_bytes[i] <= block,
			"the block (%p) was handed out twice", (void *)block);
	memset(block, 0xee, bytes);
	for (unsigned i = 0; i < HELPER_BLOCKS; i++)
		check_helper_block(i);
}

/* A block of `bytes` filled with `byte`, as a complement: nothing names it. */
static __attribute__((noinline)) uintptr_t make_hidden(size_t bytes, int byte)
{
	unsigned char *block = malloc(bytes);

	CHECK_NOT_NULL(block);
	memset(block, byte, bytes);
	return ~(uintptr_t)block;
}

static __attribute__((noinline)) void check_contents(uintptr_t hidden, size_t bytes, int byte)
{
	const unsigned char *block = (const unsigned char *)~hidden;

	for (size_t i = 0; i < bytes; i++)
		CHECK_MSG(block[i] == byte, "byte %zu of the block (%p) is %#x, not %#x", i,
			(const void *)block, block[i], byte);
}

static void step_malloc(size_t bytes)
{
	check_result(step_through((void *)malloc, ~bytes, 0, 0, bytes), bytes);
}

__attribute__((unused)) static void step_calloc(size_t bytes)
{
	uintptr_t hidden = step_through((void *)calloc, ~(uintptr_t)1, bytes, 0, bytes);

	check_contents(hidden, bytes, 0);
	check_result(hidden, bytes);
}

/* Nothing names the block but the argument of free: between the making and the call no cycle may come, so the interval is long. */
static void step_free(size_t bytes)
{
	step_through((void *)free, make_hidden(bytes, 0x11), 0, 0, bytes);
}

static void step_realloc(size_t old_bytes, size_t bytes)
{
	size_t kept = old_bytes < bytes ? old_bytes : bytes;
	uintptr_t hidden =
		step_through((void *)realloc, make_hidden(old_bytes, 0x22), bytes, 0, bytes);

	check_contents(hidden, kept, 0x22);
	check_result(hidden, bytes);
}

/* The bins of a class get a current span with free slots, or lose them. */
__attribute__((unused)) static void warm(size_t bytes)
{
	for (int i = 0; i < 3; i++)
		free(malloc(bytes));
}

__attribute__((unused)) static void drain(size_t bytes, int count)
{
	for (int i = 0; i < count; i++)
		CHECK_NOT_NULL(malloc(bytes));
}

#if STEPPER_SAMPLES
TEST(sampled_blocks, .limit_seconds = 120)
{
	step_malloc(40);
	step_free(40);
	step_realloc(100, 1000);
	step_malloc(LARGE_BYTES);
	step_free(LARGE_BYTES);
}
#else
TEST(malloc_of_a_cached_slot, .limit_seconds = 60)
{
	warm(40);
	step_malloc(40);
	warm(5000);
	step_malloc(5000);
}

TEST(malloc_that_refills, .limit_seconds = 120)
{
	step_malloc(700); // a fresh span
	warm(48);
	drain(48, 63); // the next group of the span
	step_malloc(48);
	step_malloc(48);
}

TEST(malloc_of_a_large_block, .limit_seconds = 120)
{
	step_malloc(LARGE_BYTES);
}

TEST(calloc_and_memalign, .limit_seconds = 120)
{
	warm(56);
	step_calloc(56);
	step_calloc(LARGE_BYTES);
	check_result(step_through((void *)memalign, ~(uintptr_t)64, 150, 0, 150), 150);
}

TEST(free_of_a_small_block, .limit_seconds = 60)
{
	warm(40);
	step_free(40);
	step_free(5000);
}

static void *make_and_end(void *argument)
{
	*(uintptr_t *)argument = make_hidden(5000, 0x11);
	return 0;
}

/*
 * The block's span is nobody's: its thread has ended. The helper takes all that is free and more at each stop, so that the slot, if it were taken back,
 * would have another owner when free stores its state.
 */
TEST(free_of_a_block_of_a_thread_that_has_ended, .limit_seconds = 60)
{
	pthread_t thread;
	uintptr_t hidden;

	CHECK_EQ(pthread_create(&thread, 0, make_and_end, &hidden), 0);
	pthread_join(thread, 0);
	step_with((void *)free, hidden, 0, 0, 5000, 60);
}

TEST(free_that_reports_to_the_pacer, .limit_seconds = 60)
{
	for (int i = 0; i < 4; i++)
		free(malloc(30000));
	for (int i = 0; i < 2; i++)
		step_free(30000);
}

TEST(free_of_a_large_block, .limit_seconds = 60)
{
	step_free(LARGE_BYTES);
}

TEST(realloc_in_place_and_by_copy, .limit_seconds = 120)
{
	warm(100);
	warm(1000);
	step_realloc(100, 104);
	step_realloc(100, 1000);
	step_realloc(1000, 100);
}

TEST(realloc_of_a_large_block, .limit_seconds = 120)
{
	step_realloc(LARGE_BYTES, 2 * LARGE_BYTES);
	step_realloc(2 * LARGE_BYTES, LARGE_BYTES);
	step_realloc(MOVED_BYTES, 2 * MOVED_BYTES);
}

/* free=trust: the thread's LIFO is full, then empty. */
TEST(spilling_and_fetching, .limit_seconds = 120)
{
	static void *blocks[200];
	uintptr_t hidden;

	for (int i = 0; i < 200; i++)
		blocks[i] = malloc(64);
	hidden = make_hidden(64, 0x11);
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
	step_through((void *)free, hidden, 0, 0, 64);
	for (int i = 64; i < 200; i++)
		free(blocks[i]);
	for (int i = 0; i < 64; i++)
		blocks[i] = malloc(64);
	step_malloc(64);
}
#endif

#endif
