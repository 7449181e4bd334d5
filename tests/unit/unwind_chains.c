/*
 * Stacks of random chains of calls, against those that libgcc finds (backtrace of glibc): every kind of frame that compilers make, in any order, on the first
 * thread's stack, on others' and on stacks that are nobody's. And the stack at each single instruction of some of them.
 *
 * A chain is a text of numbers; each function takes the next one and calls that function. The last compares.
 */
#include "core/base/option.h"
#include "core/profile/known_stack.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/unwind.h"
#include "tests/harness/frames.h"
#include "tests/harness/test.h"

#include <alloca.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum {
	FRAMES_MAX = 400,
	LENGTH_MAX = 40,
	ROUNDS = 1500,
	STACK_BYTES = 4 << 20,
	STACKS_MAX = LENGTH_MAX,
	STEPS_MAX = 200000,
};

/* The thread's chain. What changes below a call of raise() is volatile: its declaration promises compilers (leaf) that nothing of this file runs meanwhile. */
static __thread struct {
	uint8_t links[LENGTH_MAX];
	unsigned length;
	volatile unsigned at;
	volatile unsigned stacks; // in use, of those below
	volatile bool on_alternate;
	volatile bool compared;
	unsigned cut_short;
	bool is_stepped; // compared at each instruction instead
} chain;

static char *stacks[STACKS_MAX]; // for one thread at a time

/* ---- what is compared ---- */

static void print_chain(void)
{
	fprintf(stderr, "chain:");
	for (unsigned i = 0; i < chain.length; i++)
		fprintf(stderr, " %u", chain.links[i]);
	fprintf(stderr, "\n");
}

static void print_difference(
	void *const *expected, unsigned count, const uintptr_t *frames, unsigned frame_count)
{
	for (unsigned i = 0; i < count || i < frame_count; i++) {
		uintptr_t left = i < count ? (uintptr_t)expected[i] : 0;
		uintptr_t right = i < frame_count ? frames[i] : 0;
		Dl_info info = {0};

		dladdr((void *)(left ? left : right), &info);
		fprintf(stderr, "%c #%u expected %#lx found %#lx %s %s\n",
			left == right ? ' ' : '*', i, left, right,
			info.dli_sname ? info.dli_sname : "?",
			info.dli_fname ? info.dli_fname : "?");
	}
}

static __thread struct known_stack known;

/* By what the stack before tells, too. */
static bool known_is_equal(const struct stack *stack, const uintptr_t *frames, unsigned count)
{
	if (count > STACK_DEPTH_MAX)
		count = STACK_DEPTH_MAX;
	if (count == 0 || (stack && stack->depth == count &&
				  memcmp(stack->frames, frames, count * sizeof(frames[0])) == 0))
		return true;
	fprintf(stderr, "what is known of the stack is wrong\n");
	if (stack)
		print_difference((void *const *)stack->frames, stack->depth, frames, count);
	return false;
}

static KEEP bool stacks_are_equal(void)
{
	void *expected[FRAMES_MAX];
	uintptr_t frames[FRAMES_MAX];
	unsigned count, frame_count;
	uint32_t id;

	frame_count = unwind_capture(frames, FRAMES_MAX, __builtin_frame_address(0));
	options.stacks = STACKS_ALL;
	known.passes = 0;
	id = known_stack_capture(&known, __builtin_frame_address(0));
	if (!known_is_equal(stack_table_get(id), frames, frame_count))
		return false;
	count = (unsigned)backtrace(expected, FRAMES_MAX);
	// the first one is in this function
	if (frame_count + 1 == count &&
		memcmp(expected + 1, frames, frame_count * sizeof(frames[0])) == 0)
		return true;
	// where a frame is found by another register than rsp and rbp (the first instructions of a function that realigns its stack) the stack ends early
	if (chain.is_stepped && frame_count + 1 < count &&
		memcmp(expected + 1, frames, frame_count * sizeof(frames[0])) == 0) {
		chain.cut_short++;
		return true;
	}
	print_difference(expected + 1, count - 1, frames, frame_count);
	return false;
}

/* ---- links ---- */

static KEEP int go_on(int value);

static KEEP int plain(int value)
{
	return go_on(value + 1) + 1;
}

/* rbp holds some value of the function's own. */
static KEEP int with_many_values(int value)
{
	long a = value, b = a * 3, c = b ^ 5, d = c + 7, e = d * 11, f = e ^ 13, g = f + 17;

	__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g));
	value = go_on(value);
	__asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(f), "r"(g));
	return value + (int)(a + b + c + d + e + f + g);
}

static KEEP int with_large_frame(int value)
{
	volatile char room[40000];

	room[value & 1023] = 1;
	return go_on(value) + room[7];
}

static KEEP int with_alloca(int value)
{
	volatile char *room = alloca((size_t)(value & 255) + 100);

	room[3] = 1;
	return go_on(value) + room[3];
}

static KEEP int with_alignment(int value)
{
	volatile char room[64] __attribute__((aligned(64)));

	room[value & 63] = 1;
	return go_on(value) + room[5];
}

static KEEP int with_aligned_array(int value)
{
	volatile char room[128] __attribute__((aligned(128)));
	volatile char array[(value & 255) + 1];

	room[value & 63] = array[0] = 1;
	return go_on(value) + room[5] + array[0];
}

static KEEP int with_list(int value, ...)
{
	va_list list;
	double number;

	va_start(list, value);
	number = va_arg(list, double);
	va_end(list);
	return go_on(value) + (int)number;
}

static KEEP int with_a_list(int value)
{
	return with_list(value, 2.5) + 1;
}

static KEEP int with_arguments(int a, int b, int c, int d, int e, int f, long g, long h, long i)
{
	return go_on(a + b + c + d + e + f) + (int)(g + h + i);
}

static KEEP int with_stack_arguments(int value)
{
	return with_arguments(value, 1, 2, 3, 4, 5, 6, 7, 8) + 1;
}

static KEEP __attribute__((noreturn)) void never_returns(jmp_buf *back, int value)
{
	go_on(value);
	longjmp(*back, 1);
}

/* The return address of the call is the first one of whatever function follows. */
static KEEP int calls_for_ever(int value)
{
	jmp_buf back;

	if (setjmp(back) != 0)
		return value;
	never_returns(&back, value);
}

static __thread bool is_called;

static int compare(const void *a, const void *b)
{
	if (!is_called) {
		is_called = true;
		go_on(1);
	}
	AFTER_CALL;
	return *(const int *)a - *(const int *)b;
}

static KEEP int through_sort(int value)
{
	int values[20];

	for (int i = 0; i < 20; i++)
		values[i] = 20 - i;
	is_called = false;
	qsort(values, 20, sizeof(values[0]), compare);
	return value + values[0];
}

static void call_go_on(void)
{
	go_on(2);
	AFTER_CALL;
}

static KEEP int through_once(int value)
{
	pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, call_go_on);
	return value + 1;
}

static int on_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
	(void)info;
	(void)bytes;
	go_on(*(int *)argument);
	AFTER_CALL;
	return 1;
}

static KEEP int through_loader(int value)
{
	return dl_iterate_phdr(on_module, &value) + value;
}

static struct {
	void (*enter)(void (*)(void));
	void (*through_exception)(void (*)(void));
} library;

static KEEP int through_library(int value)
{
	library.enter(call_go_on);
	return value + 1;
}

static void call_plain_once(void)
{
	unsigned at = chain.at;

	go_on(3);
	chain.at = at; // the same chain once more: from the catch
	AFTER_CALL;
}

static KEEP int through_exception(int value)
{
	library.through_exception(call_plain_once);
	chain.at = chain.length;
	return value + 1;
}

static void on_signal(int number)
{
	go_on(number);
	AFTER_CALL;
}

static KEEP int through_signal(int value)
{
	raise(SIGUSR1);
	return value + 1;
}

static KEEP int through_alternate_stack(int value)
{
	bool before = chain.on_alternate;

	chain.on_alternate = true;
	raise(before ? SIGUSR1 : SIGUSR2);
	chain.on_alternate = before;
	return value + 1;
}

static KEEP int through_coroutine(int value)
{
	ucontext_t here, there;

	if (chain.on_alternate)
		return plain(value);
	getcontext(&there);
	there.uc_stack = (stack_t){.ss_sp = stacks[chain.stacks], .ss_size = STACK_BYTES};
	there.uc_link = &here;
	makecontext(&there, call_go_on, 0);
	chain.stacks++;
	swapcontext(&here, &there);
	chain.stacks--;
	return value + 1;
}

/* As a person writes it: registers pushed and said so. */
__asm__(".text\n\t"
	".type by_hand, @function\n"
	"by_hand:\n\t"
	".cfi_startproc\n\t"
	"push %rbp\n\t"
	".cfi_def_cfa_offset 16\n\t"
	".cfi_offset rbp, -16\n\t"
	"xor %ebp, %ebp\n\t"
	"push %rbx\n\t"
	".cfi_adjust_cfa_offset 8\n\t"
	".cfi_offset rbx, -24\n\t"
	"sub $4096, %rsp\n\t"
	".cfi_adjust_cfa_offset 4096\n\t"
	"sub $8, %rsp\n\t"
	".cfi_adjust_cfa_offset 8\n\t"
	"mov %rdi, %rax\n\t"
	"call *%rax\n\t"
	"add $4104, %rsp\n\t"
	".cfi_adjust_cfa_offset -4104\n\t"
	"pop %rbx\n\t"
	".cfi_adjust_cfa_offset -8\n\t"
	".cfi_restore rbx\n\t"
	"pop %rbp\n\t"
	".cfi_adjust_cfa_offset -8\n\t"
	".cfi_restore rbp\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size by_hand, . - by_hand\n");
void by_hand(void (*call_back)(void));

static KEEP int through_assembly(int value)
{
	by_hand(call_go_on);
	return value + 1;
}

static int (*const links[])(int value) = {
	plain,
	with_many_values,
	with_large_frame,
	with_alloca,
	with_alignment,
	with_aligned_array,
	with_a_list,
	with_stack_arguments,
	calls_for_ever,
	through_assembly,
	through_sort,
	through_once,
	through_loader,
	through_library,
	through_signal,
	through_alternate_stack,
	through_coroutine,
	through_exception,
};

enum { LINK_COUNT = sizeof(links) / sizeof(links[0]), SIMPLE_LINK_COUNT = 12 };

static KEEP int go_on(int value)
{
	if (chain.at < chain.length)
		return links[chain.links[chain.at++]](value) + 1;
	chain.compared = true;
	if (!chain.is_stepped && !stacks_are_equal()) {
		print_chain();
		test_fail(__FILE__, __LINE__, "stacks differ");
	}
	return value;
}

/* ---- the tests ---- */

static char *map_stack(size_t bytes)
{
	char *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(stack != MAP_FAILED);
	return stack;
}

static void set_up(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
	void *warm[4], *handle;

	backtrace(warm, 4); // loads its library
	for (int i = 0; i < STACKS_MAX; i++)
		stacks[i] = map_stack(STACK_BYTES);
	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags |= SA_ONSTACK;
	sigaction(SIGUSR2, &action, NULL);
	handle = dlopen(UNWIND_MODULE, RTLD_NOW);
	CHECK_MSG(handle, "%s", dlerror());
	library.enter = (void (*)(void (*)(void)))dlsym(handle, "unwind_module_enter");
	handle = dlopen(UNWIND_EXCEPTIONS, RTLD_NOW);
	CHECK_MSG(handle, "%s", dlerror());
	library.through_exception =
		(void (*)(void (*)(void)))dlsym(handle, "unwind_through_exception");
	CHECK(library.enter && library.through_exception);
	CHECK(modules_scan());
}

static unsigned next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(*state >> 33);
}

/* Exceptions run the rest of the chain three times: few of them in one chain. */
static void draw_chain(uint64_t *state, unsigned link_count)
{
	unsigned exceptions = 0;

	chain.length = next_random(state) % LENGTH_MAX;
	chain.at = 0;
	for (unsigned i = 0; i < chain.length; i++) {
		unsigned link = next_random(state) % link_count;

		if (links[link] == through_exception && exceptions++ > 1)
			link = 0;
		chain.links[i] = (uint8_t)link;
	}
}

static void *run_chains(void *seed)
{
	uint64_t state = *(uint64_t *)seed;
	stack_t alternate = {.ss_sp = map_stack(STACK_BYTES), .ss_size = STACK_BYTES},
		none = {.ss_flags = SS_DISABLE};

	CHECK_EQ(sigaltstack(&alternate, NULL), 0);
	for (int i = 0; i < ROUNDS; i++) {
		draw_chain(&state, LINK_COUNT);
		chain.compared = false;
		go_on(i);
		CHECK(chain.compared);
	}
	sigaltstack(&none, NULL);
	return NULL;
}

TEST(random_chains_have_the_stacks_that_libgcc_finds)
{
	uint64_t seed = 1;

	set_up();
	run_chains(&seed);
}

TEST(so_they_have_in_a_thread)
{
	uint64_t seed = 2;
	pthread_t thread;

	set_up();
	CHECK_EQ(pthread_create(&thread, NULL, run_chains, &seed), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- every instruction ---- */

static volatile unsigned steps;

static void on_step(int number)
{
	(void)number;
	steps++;
	if (!stacks_are_equal()) {
		print_chain();
		test_fail(__FILE__, __LINE__, "stacks differ at step %u", steps);
	}
}

#define SET_TRAP __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc")
#define CLEAR_TRAP __asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc")

static KEEP int call_libc(int value)
{
	char text[64], *copy;

	snprintf(text, sizeof(text), "%d %s %g", value, "text", 2.5);
	copy = strdup(text);
	value = (int)strtol(copy, NULL, 10) + (int)strlen(copy);
	free(copy);
	return value + (strstr(text, "xt") != NULL);
}

TEST(every_instruction_has_the_stack_that_libgcc_finds)
{
	struct sigaction action = {.sa_handler = on_step};
	uint64_t state = 3;

	set_up();
	sigaction(SIGTRAP, &action, NULL);
	while (steps < STEPS_MAX / 4) {
		draw_chain(&state, SIMPLE_LINK_COUNT);
		chain.length %= 8;
		chain.is_stepped = true;
		SET_TRAP;
		go_on(1);
		call_libc(12);
		CLEAR_TRAP;
	}
	CHECK_LT(chain.cut_short, steps / 50);
}

/* ---- tasks that nobody announced ---- */

static volatile unsigned clone_frames;
static uintptr_t frames_of_clone[FRAMES_MAX];

static KEEP int take_in_clone(int value)
{
	clone_frames = unwind_capture(frames_of_clone, FRAMES_MAX, __builtin_frame_address(0));
	AFTER_CALL;
	return value + 1;
}

static int run_clone(void *argument)
{
	take_in_clone(1);
	AFTER_CALL;
	(void)argument;
	return 0;
}

TEST(a_cloned_task_has_a_stack_that_ends)
{
	char *stack = map_stack(STACK_BYTES);
	int status, task = clone(
			    run_clone, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	Dl_info info;

	CHECK_GT(task, 0);
	CHECK_EQ(waitpid(task, &status, 0), task);
	CHECK_EQ(status, 0);
	CHECK_GE(clone_frames, 1u);
	CHECK_LE(clone_frames, 3u);
	CHECK(frames_of_clone[0] > (uintptr_t)run_clone &&
		frames_of_clone[0] < (uintptr_t)run_clone + 64);
	if (clone_frames > 1) {
		CHECK_NE(dladdr((void *)frames_of_clone[1], &info), 0);
		CHECK_NOT_NULL(strstr(info.dli_fname, "libc.so"));
	}
}
