/*
 * LeakSanitizer's interface and gasket.h's own: what they name is no leak, nor is what it holds. Blocks are hidden (tests/gc/hidden.h), so that each that is
 * not named counts as a leak.
 */
#include "tests/gc/hidden.h"

#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* The program is linked without a library that defines them, as one is that has them from LeakSanitizer's runtime. */
#pragma weak __lsan_disable
#pragma weak __lsan_enable
#pragma weak __lsan_ignore_object
#pragma weak __lsan_register_root_region
#pragma weak __lsan_unregister_root_region
#pragma weak __lsan_do_leak_check
#pragma weak __lsan_do_recoverable_leak_check

enum { SMALL = 96, LARGE = 200 * 1024, HUGE = 5 << 20, COUNT = 300 };

/* What the library asks the program; not exported, like most programs' functions. */
static struct {
	int turned_off;
	const char *options;
	int suppression_calls;
	pid_t caller;
} asked;

int __lsan_is_turned_off(void)
{
	return asked.turned_off;
}

const char *__lsan_default_options(void)
{
	return asked.options;
}

const char *__lsan_default_suppressions(void)
{
	asked.suppression_calls++;
	asked.caller = gettid();
	return "leak:nothing_of_this_name\n";
}

static size_t leaks(void)
{
	scrub();
	return gasket_leak_check();
}

TEST(a_hidden_block_is_a_leak)
{
	size_t before = leaks();

	hide_block(SMALL);
	CHECK_EQ(leaks(), before + 1);
}

/* ---- single blocks ---- */

NOINLINE static void ignore_hidden(uintptr_t hidden, size_t offset)
{
	__lsan_ignore_object((char *)reveal(hidden) + offset);
}

TEST(an_ignored_block_is_none_nor_is_what_it_holds)
{
	size_t before = leaks();
	uintptr_t holder = hide_block(SMALL), held = hide_block(SMALL), last = hide_block(LARGE);

	put_in_block(held, holder, 8);
	put_in_block(last, held, 16);
	CHECK_EQ(leaks(), before + 3);
	ignore_hidden(holder, 40);
	CHECK_EQ(leaks(), before);
	CHECK_EQ(state_of(holder), KEPT_SAMPLED);
}

TEST(a_large_block_can_be_ignored)
{
	size_t before = leaks();
	uintptr_t hidden = hide_block(HUGE);

	CHECK_EQ(leaks(), before + 1);
	ignore_hidden(hidden, HUGE - 1);
	CHECK_EQ(leaks(), before);
}

TEST(an_ignored_block_is_not_taken_back, .options = "leaks=reclaim:probation=off")
{
	uintptr_t hidden = hide_block(SMALL), other = hide_block(SMALL);

	ignore_hidden(hidden, 0);
	collect();
	collect();
	CHECK(is_kept(hidden));
	CHECK(!is_kept(other));
}

TEST(what_is_no_block_is_passed_over)
{
	char local;

	__lsan_ignore_object(NULL);
	__lsan_ignore_object(&local);
	__lsan_ignore_object((void *)0x123456);
	gasket_ignore(&asked);
}

NOINLINE static void free_all(uintptr_t *hidden, int count)
{
	for (int i = 0; i < count; i++)
		free_hidden(hidden[i]);
	scrub();
}

NOINLINE static void hide_many(uintptr_t *hidden, int count, size_t size)
{
	for (int i = 0; i < count; i++)
		hidden[i] = hide_block_dirty(size);
	scrub();
}

/* The table of spans with ignored blocks has 1024 places; each of these blocks has a span of its own. */
TEST(more_spans_than_the_table_holds_have_ignored_blocks)
{
	enum { SPANS = 1100, OWN_SPAN = 40000 };
	static uintptr_t hidden[SPANS];
	size_t before = leaks();

	hide_many(hidden, SPANS, OWN_SPAN);
	CHECK_EQ(leaks(), before + SPANS);
	for (int i = 0; i < SPANS; i++)
		ignore_hidden(hidden[i], 0);
	CHECK_EQ(leaks(), before);
}

/* The same slots have other owners then. */
TEST(it_is_forgotten_when_it_is_freed)
{
	static uintptr_t first[COUNT], second[COUNT];
	size_t before = leaks();

	hide_many(first, COUNT, SMALL);
	for (int i = 0; i < COUNT; i++)
		ignore_hidden(first[i], 0);
	CHECK_EQ(leaks(), before);
	free_all(first, COUNT);
	collect();
	hide_many(second, COUNT, SMALL);
	CHECK_EQ(leaks(), before + COUNT);
}

NOINLINE static uintptr_t resize(uintptr_t hidden, size_t size)
{
	void *block = realloc(reveal(hidden), size);

	CHECK_NOT_NULL(block);
	hidden = ~(uintptr_t)block;
	scrub();
	return hidden;
}

TEST(realloc_makes_an_ordinary_block_of_it)
{
	size_t before = leaks();
	uintptr_t moved = hide_block(SMALL), stays = hide_block(SMALL);

	ignore_hidden(moved, 0);
	ignore_hidden(stays, 0);
	CHECK_EQ(leaks(), before);
	resize(moved, LARGE);
	resize(stays, SMALL - 1);
	CHECK_EQ(leaks(), before + 2);
}

TEST(a_child_knows_the_ignored_blocks_of_its_parent)
{
	size_t before = leaks();
	uintptr_t hidden = hide_block(SMALL);
	pid_t child;

	ignore_hidden(hidden, 0);
	child = fork();
	if (child == 0) {
		CHECK_EQ(leaks(), before);
		CHECK(is_kept(hidden));
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	CHECK_EQ(leaks(), before);
}

/* ---- between disable and enable ---- */

NOINLINE static void leak_one_of_each(void)
{
	void *block;

	hide_block_dirty(1);
	hide_block_dirty(SMALL);
	hide_block_dirty(SMALL);
	hide_block_dirty(20 * 1024);
	hide_block_dirty(LARGE);
	hide_block_dirty(HUGE);
	block = calloc(1, SMALL);
	CHECK_NOT_NULL(block);
	block = aligned_alloc(256, 512);
	CHECK_NOT_NULL(block);
	block = realloc(malloc(24), 3000);
	CHECK_NOT_NULL(block);
	block = realloc(malloc(LARGE), HUGE);
	CHECK_NOT_NULL(block);
	block = strdup("a string");
	CHECK_NOT_NULL(block);
	__asm__ volatile("" : "+r"(block));
	scrub();
}

enum { OF_EACH = 11 };

/* Blocks of all the sizes have been freed before: where free=trust, they wait in the thread's cache. */
TEST(what_is_allocated_while_disabled_is_no_leak)
{
	static uintptr_t many[COUNT];
	size_t before;

	hide_many(many, COUNT, SMALL);
	free_all(many, COUNT);
	hide_many(many, 4, LARGE);
	free_all(many, 4);
	before = leaks();
	__lsan_disable();
	leak_one_of_each();
	hide_many(many, COUNT, SMALL);
	__lsan_enable();
	CHECK_EQ(leaks(), before);
	leak_one_of_each();
	CHECK_EQ(leaks(), before + OF_EACH);
}

TEST(it_holds_what_was_allocated_before_and_after)
{
	size_t before = leaks();
	uintptr_t early = hide_block(SMALL), late, holder;

	__lsan_disable();
	holder = hide_block(SMALL);
	__lsan_enable();
	late = hide_block(SMALL);
	put_in_block(early, holder, 0);
	put_in_block(late, early, 0);
	CHECK_EQ(leaks(), before);
}

TEST(disabling_nests)
{
	size_t before = leaks();

	__lsan_disable();
	__lsan_disable();
	hide_block(SMALL);
	__lsan_enable();
	hide_block(SMALL);
	__lsan_enable();
	CHECK_EQ(leaks(), before);
	hide_block(SMALL);
	CHECK_EQ(leaks(), before + 1);
	__lsan_enable(); // one too many
	hide_block(SMALL);
	CHECK_EQ(leaks(), before + 2);
}

static void *leak_in_thread(void *unused)
{
	(void)unused;
	hide_block(SMALL);
	hide_block(LARGE);
	return NULL;
}

TEST(disabling_is_a_matter_of_each_thread)
{
	size_t before = leaks();
	pthread_t thread;

	__lsan_disable();
	CHECK_EQ(pthread_create(&thread, NULL, leak_in_thread, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	__lsan_enable();
	CHECK_EQ(leaks(), before + 2);
}

TEST(what_is_freed_while_disabled_is_used_again)
{
	static uintptr_t many[COUNT];
	size_t before = leaks();

	for (int i = 0; i < 20; i++) {
		__lsan_disable();
		hide_many(many, COUNT, SMALL);
		free_all(many, COUNT);
		__lsan_enable();
	}
	collect();
	hide_many(many, COUNT, SMALL);
	CHECK_EQ(leaks(), before + COUNT);
}

TEST(stacks_are_kept_of_ignored_blocks_too, .options = "stacks=all")
{
	size_t before = leaks();

	__lsan_disable();
	leak_one_of_each();
	__lsan_enable();
	CHECK_EQ(leaks(), before);
	leak_one_of_each();
	CHECK_EQ(leaks(), before + OF_EACH);
}

/* ---- roots ---- */

NOINLINE static void change_root(
	void (*change)(const void *, size_t), uintptr_t hidden, size_t offset, size_t bytes)
{
	change((char *)reveal(hidden) + offset, bytes);
}

TEST(a_root_region_is_read_wherever_it_lies)
{
	size_t before = leaks();
	uintptr_t holder = hide_block(SMALL), held = hide_block(SMALL);

	put_in_block(held, holder, 16);
	CHECK_EQ(leaks(), before + 2);
	change_root(__lsan_register_root_region, holder, 16, 8);
	CHECK_EQ(leaks(), before + 1);
	change_root(__lsan_unregister_root_region, holder, 16, 8);
	CHECK_EQ(leaks(), before + 2);
}

TEST(a_root_region_ends_where_it_ends)
{
	size_t before = leaks();
	uintptr_t holder = hide_block(SMALL), held = hide_block(SMALL);

	put_in_block(held, holder, 16);
	change_root(__lsan_register_root_region, holder, 0, 16);
	change_root(__lsan_register_root_region, holder, 24, SMALL - 24);
	CHECK_EQ(leaks(), before + 2);
}

TEST(memory_that_cannot_be_read_is_passed_over_in_a_root_region)
{
	size_t before = leaks();
	size_t bytes = 64 * 4096;
	char *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t hidden;

	CHECK_NE((void *)memory, MAP_FAILED);
	CHECK_EQ(mprotect(memory + 4096, 4096, PROT_READ | PROT_WRITE), 0);
	__lsan_register_root_region(memory, 2 * bytes);
	hidden = hide_block(SMALL);
	put(hidden, memory + 4096);
	CHECK_EQ(leaks(), before);
	munmap(memory, bytes);
	CHECK_EQ(leaks(), before + 1);
}

TEST(many_root_regions_can_be_named)
{
	size_t before = leaks();
	uintptr_t holder = hide_block(COUNT * 8), held[COUNT];

	hide_many(held, COUNT, SMALL);
	for (int i = 0; i < COUNT; i++) {
		put_in_block(held[i], holder, (size_t)i * 8);
		change_root(__lsan_register_root_region, holder, (size_t)i * 8, 8);
	}
	CHECK_EQ(leaks(), before + 1);
	for (int i = 0; i < COUNT; i += 2)
		change_root(__lsan_unregister_root_region, holder, (size_t)i * 8, 8);
	CHECK_EQ(leaks(), before + 1 + COUNT / 2);
}

TEST(an_unknown_root_region_cannot_be_removed,
	.contains = "gasket: a root region of 8 byte(s) at 0x1000 that is not registered")
{
	__lsan_unregister_root_region((void *)0x1000, 8);
	CHECK_EQ(gasket_remove_root((void *)0x1000, 8), 0);
	CHECK_EQ(gasket_add_root((void *)0x1000, 8), 1);
	CHECK_EQ(gasket_remove_root((void *)0x1000, 8), 1);
}

/* ---- checks ---- */

TEST(a_recoverable_check_reports_and_can_be_repeated, .contains = "SUMMARY: Gasket: ")
{
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 0);
	hide_block(SMALL);
	scrub();
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 1);
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 1);
	CHECK_EQ(asked.suppression_calls, 3);
	CHECK_EQ(asked.caller, gettid());
	_exit(0);
}

NOINLINE static void check_with_a_leak(void)
{
	hide_block(SMALL);
	scrub();
	__lsan_do_leak_check();
}

TEST(a_check_ends_the_program, .options = "exitcode=31", .exit_code = 31, .contains = "SUMMARY: ")
{
	check_with_a_leak();
	_exit(1);
}

TEST(a_check_without_an_exitcode_returns, .contains = "SUMMARY: Gasket: ")
{
	check_with_a_leak();
}

/* The end of the process then looks for nothing. */
TEST(a_check_is_made_once, .options = "exitcode=31", .error = "")
{
	__lsan_do_leak_check();
	check_with_a_leak();
	exit(0);
}

TEST(a_program_can_turn_checks_off, .options = "exitcode=31", .error = "")
{
	asked.turned_off = 1;
	hide_block(SMALL);
	scrub();
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 0);
	__lsan_do_leak_check();
	CHECK_EQ(asked.suppression_calls, 0);
	exit(0);
}

TEST(options_of_the_program_can_turn_checks_off)
{
	hide_block(SMALL);
	scrub();
	asked.options = "max_leaks=3:detect_leaks=0";
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 0);
	asked.options = "detect_leaks=0:detect_leaks=1:nodetect_leaks=0";
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 1);
}

TEST(without_a_report_there_is_no_check, .options = "report=off", .error = "")
{
	hide_block(SMALL);
	scrub();
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 0);
	__lsan_do_leak_check();
	CHECK_EQ(asked.suppression_calls, 0);
	CHECK_GE(leaks(), (size_t)1);
}

/* ---- without a collector ---- */

TEST(in_a_plain_allocator_all_of_it_does_nothing,
	.options = "mode=fast:collector=off:leaks=off:report=off", .error = "")
{
	uintptr_t hidden = hide_block(SMALL);
	int state = state_of(hidden);

	__lsan_disable();
	__lsan_disable();
	leak_one_of_each();
	__lsan_enable();
	ignore_hidden(hidden, 0);
	CHECK_EQ(state_of(hidden), state);
	change_root(__lsan_register_root_region, hidden, 0, 8);
	change_root(__lsan_unregister_root_region, hidden, 0, 8);
	__lsan_do_leak_check();
	CHECK_EQ(__lsan_do_recoverable_leak_check(), 0);
	CHECK_EQ(gasket_leak_check(), (size_t)0);
	CHECK_EQ(gasket_add_root(&asked, 8), 0);
}
