/*
 * Central lists, thread caches and the sweep: a slot is handed out once; HINTED and unmarked becomes FREE, nothing else; empty spans go back.
 */
#include "tests/harness/test.h"

#include "core/heap/central.h"
#include "core/heap/large.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/heap/thread_cache.h"
#include "core/os/lock.h"
#include "core/os/process.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLASS = 5, SLOTS = 5000 };

static struct slot slots[SLOTS];

static void fill(unsigned class)
{
	for (int i = 0; i < SLOTS; i++) {
		char *block = central_alloc_slot(class, SLOT_ALLOCATED);

		CHECK_NOT_NULL(block);
		CHECK_EQ(*(int *)block, 0); // fresh memory, each slot once
		*(int *)block = i + 1;
		CHECK(heap_find_block((uintptr_t)block, &slots[i]));
	}
}

/* As a cycle does it: these marks, then UNSWEPT. */
static void give_verdict(bool (*is_marked)(int))
{
	heap_for_each_span(span)
	{
		if (span->kind != SPAN_SMALL)
			continue;
		store_relaxed(&span->sweep, (uint32_t)SPAN_MARKING);
		memset(span_marks(span), 0, span_group_count(span) * sizeof(uint64_t));
	}
	for (int i = 0; i < SLOTS; i++) {
		if (is_marked(i))
			slot_test_and_set_mark(slots[i]);
	}
	heap_for_each_span(span)
	{
		if (span->kind == SPAN_SMALL)
			store_relaxed(&span->sweep, (uint32_t)SPAN_UNSWEPT);
	}
	central_offer_sweep();
}

static void sweep_all(void)
{
	for (uint32_t unit = 0; heap_span_at(unit);) {
		struct span *span = heap_span_at(unit);
		bool released;

		unit += span->unit_count;
		if (span->kind == SPAN_SMALL)
			central_sweep_span(span, &released);
	}
}

static bool even(int i)
{
	return i % 2 == 0;
}

static bool none(int i)
{
	(void)i;
	return false;
}

TEST(only_hinted_and_unmarked_slots_are_swept)
{
	static const enum slot_state states[] = {
		SLOT_ALLOCATED, SLOT_HINTED, SLOT_PROBATION, SLOT_SAMPLED, SLOT_CACHED};
	struct signal_guard guard;

	signals_block(&guard);
	CHECK(heap_init(8));
	fill(CLASS);
	for (int i = 0; i < SLOTS; i++)
		store_relaxed(slot_state(slots[i]), (uint8_t)states[i / 2 % 5]);
	give_verdict(even);
	sweep_all();
	for (int i = 0; i < SLOTS; i++) {
		bool is_garbage = i % 2 == 1 && states[i / 2 % 5] == SLOT_HINTED;

		CHECK_EQ(*slot_state(slots[i]), is_garbage ? SLOT_FREE : states[i / 2 % 5]);
		CHECK(!is_garbage ||
			slot_is_marked(
				slots[i])); // or the next cycle would not count it as visited
	}
	heap_check();
	signals_restore(&guard);
}

TEST(empty_spans_go_back_to_the_page_heap)
{
	struct signal_guard guard;

	signals_block(&guard);
	CHECK(heap_init(8));
	fill(CLASS);
	CHECK_GT(page_heap_stats()->used_unit_count, 0u);
	for (int i = 0; i < SLOTS; i++)
		store_relaxed(slot_state(slots[i]), SLOT_HINTED);
	give_verdict(none);
	sweep_all();
	CHECK_EQ(page_heap_stats()->used_unit_count, 0u);
	signals_restore(&guard);
}

TEST(refills_sweep_their_class_first)
{
	struct signal_guard guard;
	size_t units;

	signals_block(&guard);
	CHECK(heap_init(8));
	fill(CLASS);
	units = page_heap_stats()->used_unit_count;
	for (int i = 0; i < SLOTS; i += 2)
		store_relaxed(slot_state(slots[i]), SLOT_HINTED);
	give_verdict(none);
	for (int i = 0; i < SLOTS / 2; i++)
		CHECK_NOT_NULL(central_alloc_slot(CLASS, SLOT_ALLOCATED));
	CHECK_EQ(page_heap_stats()->used_unit_count, units);
	signals_restore(&guard);
}

TEST(a_flushed_cache_gives_everything_back)
{
	struct signal_guard guard;
	struct thread_cache *cache;

	signals_block(&guard);
	CHECK(heap_init(8));
	cache = thread_cache_create();
	CHECK_NOT_NULL(cache);
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		CHECK(thread_cache_refill(cache, class));
		CHECK_NE(cache->bins[class].word, 0u);
	}
	CHECK_GT(page_heap_stats()->used_unit_count, 0u);
	thread_cache_destroy(cache);
	CHECK_EQ(page_heap_stats()->used_unit_count, 0u);
	CHECK_EQ((void *)thread_cache_create(), (void *)cache);
	signals_restore(&guard);
}

static int repairs;
static bool lock_was_held;

static void note_repair(void)
{
	repairs++;
	lock_was_held |= lock_is_held(page_heap_lock());
}

/* Runs in a child made by a system call, as which no fork handler ran. */
static void in_unknown_child(void (*run)(struct thread_cache *cache), struct thread_cache *cache)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		run(cache);
		_exit(repairs == 1 && !lock_was_held ? 0 : TEST_FAILED);
	}
	CHECK_CHILD_PASSES(child);
}

static void spill(struct thread_cache *cache)
{
	thread_cache_spill(cache, CLASS);
}

static void allocate_large(struct thread_cache *cache)
{
	bool is_zero;

	(void)cache;
	large_alloc(100000, GRANULE_BYTES, &is_zero);
}

TEST(a_child_without_fork_handlers_is_repaired_before_the_first_lock)
{
	struct signal_guard guard;
	struct thread_cache *cache;

	process_note();
	if (process_mark == NULL || *process_mark != 1)
		test_skip("no MADV_WIPEONFORK");
	process_child_hook = note_repair;
	signals_block(&guard);
	CHECK(heap_init(8));
	cache = thread_cache_create();
	CHECK_NOT_NULL(cache);
	in_unknown_child(spill, cache);
	in_unknown_child(allocate_large, cache);
	signals_restore(&guard);
}

TEST(trusted_hints_become_free_without_a_verdict)
{
	struct signal_guard guard;
	size_t bytes = 0;

	signals_block(&guard);
	CHECK(heap_init(8));
	fill(CLASS);
	for (int i = 0; i < SLOTS; i += 2)
		store_relaxed(slot_state(slots[i]), SLOT_HINTED);
	heap_for_each_span(span)
	{
		bool released;

		if (span->kind == SPAN_SMALL)
			bytes += central_trust_span(span, &released);
	}
	CHECK_EQ(bytes, SLOTS / 2 * (size_t)size_classes[CLASS].slot_bytes);
	for (int i = 0; i < SLOTS; i++)
		CHECK_EQ(*slot_state(slots[i]), i % 2 ? SLOT_ALLOCATED : SLOT_FREE);
	signals_restore(&guard);
}
