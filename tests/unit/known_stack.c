/*
 * A stack told by the one before is the stack that a walk finds: after other callers, in deep recursion, after modules went, beside a use that was interrupted. That what is
 * known is used at all shows where a frame of it was changed by hand. (unwind_chains.c compares the two for every kind of frame.)
 */
#include "core/base/option.h"
#include "core/profile/known_stack.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/unwind.h"
#include "tests/harness/test.h"

#include <alloca.h>
#include <dlfcn.h>
#include <stdlib.h>

#ifdef __clang__
#define KEEP __attribute__((noinline))
#else
#define KEEP __attribute__((noinline, noclone))
#endif
#define AFTER_CALL __asm__ volatile("" : : : "memory") /* no tail call */

enum { WRONG = 12345 };

static struct known_stack known;
static uint32_t id;
static unsigned compared;

/* Takes the stack both ways, and compares. */
static KEEP void take(void)
{
	uintptr_t frames[STACK_DEPTH_MAX];
	unsigned count = unwind_capture(frames, STACK_DEPTH_MAX, __builtin_frame_address(0));
	const struct stack *stack;

	id = known_stack_capture(&known, __builtin_frame_address(0));
	stack = stack_table_get(id);
	CHECK(stack);
	CHECK_EQ(stack->depth, count);
	CHECK_MEM_EQ(stack->frames, frames, count * sizeof(frames[0]));
	compared++;
	AFTER_CALL;
}

/* Only by what is known; the innermost address that differs from a walk's is returned, 0: none does. */
static KEEP uintptr_t take_and_look(void)
{
	uintptr_t frames[STACK_DEPTH_MAX], found = 0;
	unsigned count = unwind_capture(frames, STACK_DEPTH_MAX, __builtin_frame_address(0));
	const struct stack *stack =
		stack_table_get(known_stack_capture(&known, __builtin_frame_address(0)));

	for (unsigned i = count; i-- > 0;) {
		if (stack->frames[i] != frames[i])
			found = stack->frames[i];
	}
	AFTER_CALL;
	return found;
}

static void start(void)
{
	options_reset();
	options.stacks = STACKS_ALL;
	known = (struct known_stack){0};
	compared = 0;
}

/* The outermost frame that is kept becomes another one, and the stacks asked for so far are forgotten. */
static void spoil(void)
{
	known.frames[KNOWN_MAX - 1] = WRONG;
	for (unsigned i = 0; i < KNOWN_MAX; i++)
		known.id[i] = 0;
}

static KEEP void leaf(void)
{
	take();
	AFTER_CALL;
}

static KEEP void one(void)
{
	leaf();
	AFTER_CALL;
}

static KEEP void other(void)
{
	leaf();
	AFTER_CALL;
}

/* The same frames at the same addresses, but for one return address further out. */
TEST(callers_that_differ_further_out)
{
	uint32_t first;

	start();
	one();
	first = id;
	for (volatile int round = 0; round < 100; round++) {
		other();
		CHECK_NE(id, first);
		one();
		AFTER_CALL;
	}
	CHECK_EQ(compared, 201u);
}

/* rbp is saved here, and is another value further in. */
static KEEP void saver(void)
{
	__asm__ volatile("xor %%ebp, %%ebp" : : : "rbp", "cc");
	leaf();
	__asm__ volatile("" : : : "rbp");
}

static KEEP void spacious(size_t bytes, bool is_saved)
{
	char *volatile room = alloca(bytes);

	room[0] = 1;
	if (is_saved)
		saver();
	else
		one();
	AFTER_CALL;
}

static KEEP void narrow(bool is_saved)
{
	char *volatile room = alloca(512);

	room[0] = 1;
	spacious(4096, is_saved);
	AFTER_CALL;
}

static KEEP void wide(bool is_saved)
{
	char *volatile room = alloca(2048);

	room[0] = 1;
	spacious(4096 - (2048 - 512), is_saved);
	AFTER_CALL;
}

/* Frames of the same addresses further in, and between them a frame that ends elsewhere, which only rbp tells: where it ended before, its return address is still there. */
TEST(frames_that_end_elsewhere)
{
	static void (*const volatile ways[])(bool) = {narrow, wide};
	uint32_t ids[2];

	start();
	for (volatile unsigned round = 0; round < 400; round++) {
		ways[round % 2](round / 2 % 2);
		ids[round % 2] = id;
		if (round % 2)
			CHECK_NE(ids[0], ids[1]);
	}
}

TEST(what_is_known_is_used)
{
	start();
	for (volatile int round = 0; round < 2; round++) {
		if (round == 1)
			spoil();
		CHECK_EQ(take_and_look(), round == 0 ? 0u : (uintptr_t)WRONG);
	}
}

TEST(nothing_is_known_after_a_module_went)
{
	start();
	for (volatile int round = 0; round < 2; round++) {
		void *handle = dlopen(UNWIND_MODULE, RTLD_NOW);

		CHECK_MSG(handle, "%s", dlerror());
		CHECK(modules_scan());
		if (round == 1)
			spoil();
		dlclose(handle);
		CHECK(modules_scan());
		CHECK_EQ(take_and_look(), 0u);
	}
}

static unsigned depth;

static KEEP void recurse(unsigned left)
{
	depth++;
	if (left > 0)
		recurse(left - 1);
	take();
	if (left % 7 == 3)
		one();
	depth--;
	AFTER_CALL;
}

/* Up and down, below and beyond what is kept. */
TEST(deep_recursion)
{
	start();
	for (volatile unsigned round = 0; round < 40; round++) {
		recurse(round * 37 % 300);
		AFTER_CALL;
	}
	CHECK_GE(compared, 5000u);
	CHECK_EQ(depth, 0u);
}

/* A use further out has not ended: nothing is read or changed. One further in was left for good: it is over. */
TEST(beside_a_use_that_was_interrupted)
{
	char here;

	start();
	take();
	spoil();
	known.user = (uintptr_t)&here + 64;
	CHECK_EQ(take_and_look(), 0u);
	known.user = (uintptr_t)&here - 65536;
	CHECK_EQ(take_and_look(), (uintptr_t)WRONG);
	CHECK_EQ(known.user, 0u);
}
