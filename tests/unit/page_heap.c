/*
 * The page heap against a shadow of units: spans are aligned, disjoint and entered in the map; what is freed coalesces, so that after everything is
 * freed one run is left; pages given back read as zero; memory said to be fresh is.
 */
#include "tests/harness/test.h"

#include "core/base/arith.h"
#include "core/heap/heap.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/os/lock.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPANS = 200, LARGEST = 40 };

static struct span *spans[SPANS];
static uint64_t random_state = 88172645463325252ull;

static uint64_t random_below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

static void begin(struct signal_guard *guard)
{
	signals_block(guard);
	CHECK(heap_init(8));
}

static struct span *make(size_t units, size_t alignment)
{
	struct span *span = page_heap_alloc(SIZE_CLASS_LARGE, units, alignment);

	CHECK_NOT_NULL(span);
	CHECK_EQ(span->unit_count, units);
	CHECK_EQ(span_address(span) % (alignment << UNIT_SHIFT), 0u);
	CHECK_EQ(load_relaxed(&span->sweep), (uint32_t)SPAN_BUSY);
	CHECK_EQ(*span_marks(span), UINT64_MAX);
	for (size_t i = 0; span->fresh && i < units; i++)
		CHECK_EQ(*(uint64_t *)(span_address(span) + (i << UNIT_SHIFT)), 0u);
	store_relaxed(span_states(span), SLOT_ALLOCATED);
	span_end_busy(span);
	for (size_t i = 0; i < units; i++)
		*(uint64_t *)(span_address(span) + (i << UNIT_SHIFT)) = span_first_unit(span) + 1;
	return span;
}

static void check_span(const struct span *span)
{
	struct slot slot;

	for (size_t i = 0; i < span->unit_count; i++) {
		uintptr_t address = span_address(span) + (i << UNIT_SHIFT);

		CHECK_EQ(*(uint64_t *)address, span_first_unit(span) + 1u);
		CHECK(heap_find_slot(address + 12345, &slot));
		CHECK_EQ((const void *)slot.span, (const void *)span);
	}
}

static void release(struct span *span)
{
	check_span(span);
	CHECK(span_try_busy(span, SPAN_SWEPT));
	store_relaxed(span_states(span), SLOT_FREE);
	page_heap_free(span);
}

static size_t count_runs(void)
{
	size_t runs = 0;

	heap_for_each_span(span) runs += span->kind == SPAN_FREE_RUN;
	return runs;
}

TEST(spans_are_disjoint_and_coalesce)
{
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;

	begin(&guard);
	for (int step = 0; step < 20000; step++) {
		int i = (int)random_below(SPANS);

		if (spans[i]) {
			release(spans[i]);
			spans[i] = 0;
		} else {
			spans[i] = make(1 + random_below(LARGEST), (size_t)1 << random_below(5));
		}
		if (step % 1000 == 0) {
			heap_check();
			page_heap_purge(random_below(500));
		}
	}
	for (int i = 0; i < SPANS; i++) {
		if (spans[i])
			release(spans[i]);
	}
	CHECK_EQ(count_runs(), 1u);
	CHECK_EQ(stats->used_unit_count, 0u);
	CHECK_EQ(stats->dirty_unit_count + stats->clean_unit_count, heap_used_units());
	signals_restore(&guard);
}

TEST(purged_pages_are_zero_and_the_limit_is_kept)
{
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;
	struct span *span;

	begin(&guard);
	span = make(300, 1);
	release(span);
	CHECK_GE(stats->dirty_unit_count, 300u);
	page_heap_purge(100);
	CHECK_LE(stats->dirty_unit_count, 100u);
	page_heap_purge(0);
	CHECK_EQ(stats->dirty_unit_count, 0u);
	CHECK_GE(stats->purged_unit_count, 300u);
	span = page_heap_alloc(SIZE_CLASS_LARGE, 300, 1);
	CHECK(span && span->fresh);
	for (size_t i = 0; i < 300; i++)
		CHECK_EQ(*(uint64_t *)(span_address(span) + (i << UNIT_SHIFT)), 0u);
	signals_restore(&guard);
}

TEST(what_was_wanted_since_is_not_idle)
{
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;
	size_t dirty;

	begin(&guard);
	release(make(300, 1));
	dirty = stats->dirty_unit_count;
	CHECK_GE(dirty, 300u);
	page_heap_take_idle();
	CHECK_EQ(page_heap_take_idle(), dirty);
	release(make(100, 1));
	release(make(40, 1));
	CHECK_EQ(stats->dirty_unit_count, dirty);
	CHECK_EQ(page_heap_take_idle(), dirty - 100);
	CHECK_EQ(page_heap_take_idle(), dirty);
	page_heap_purge(10);
	CHECK_LE(page_heap_take_idle(), 10u);
	signals_restore(&guard);
}

/* A kernel before 5.18. */
static void refuse_to_discard_locked_memory(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 24, 0, 1), // MADV_DONTNEED_LOCKED
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
		test_skip("no seccomp filter");
}

static struct span *free_with_a_locked_unit(struct span **ret_other)
{
	struct span *span = make(20, 1), *behind = make(1, 1);

	*ret_other = make(8, 1);
	make(1, 1);
	CHECK_EQ(span_first_unit(behind), span_first_unit(span) + 20u);
	// by the raw call: sanitizers make nothing of libc's
	if (syscall(SYS_mlock, span_address(span) + 7 * UNIT_BYTES, 4096) != 0)
		test_skip("mlock is not permitted");
	release(span);
	release(*ret_other);
	return span;
}

TEST(locked_pages_keep_no_others_from_going_back)
{
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;
	struct span *span, *other;

	begin(&guard);
	refuse_to_discard_locked_memory();
	span = free_with_a_locked_unit(&other);
	CHECK_EQ(page_heap_purge(0), 27u);
	CHECK_EQ(stats->dirty_unit_count, 0u);
	CHECK_EQ(page_heap_purge(0), 0u);
	heap_check();
	// what is locked is not zero, what was given back is
	span = page_heap_alloc(SIZE_CLASS_LARGE, 20, 1);
	CHECK_NOT_NULL(span);
	CHECK(!span->fresh);
	CHECK_EQ(*(uint64_t *)(span_address(span) + 6 * UNIT_BYTES), 0u);
	CHECK_NE(*(uint64_t *)(span_address(span) + 7 * UNIT_BYTES), 0u);
	CHECK(page_heap_alloc(SIZE_CLASS_LARGE, 8, 1)->fresh);
	// and it counts again when it was used
	page_heap_free(span);
	CHECK_EQ(stats->dirty_unit_count, 20u);
	CHECK_EQ(page_heap_purge(0), 19u);
	heap_check();
	signals_restore(&guard);
}

TEST(locked_pages_go_back_where_the_kernel_knows_how)
{
	struct signal_guard guard;
	struct span *span, *other;

	begin(&guard);
	span = free_with_a_locked_unit(&other);
	if (madvise((void *)(span_address(span) + 7 * UNIT_BYTES), 4096, 24) != 0)
		test_skip("no MADV_DONTNEED_LOCKED");
	CHECK_EQ(page_heap_purge(0), 28u);
	span = page_heap_alloc(SIZE_CLASS_LARGE, 20, 1);
	CHECK(span && span->fresh);
	CHECK_EQ(*(uint64_t *)(span_address(span) + 7 * UNIT_BYTES), 0u);
	signals_restore(&guard);
}

TEST(a_long_run_is_given_back_in_time_proportional_to_its_length)
{
	enum { UNITS = 1 << 14 };
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;
	struct span *front, *span;
	uint64_t before;

	begin(&guard);
	front = make(1, 1);
	span = page_heap_alloc(SIZE_CLASS_LARGE, UNITS, 1);
	CHECK_NOT_NULL(span);
	page_heap_free(span);
	release(front);
	before = stats->examined_count;
	while (stats->dirty_unit_count > 0)
		page_heap_purge(stats->dirty_unit_count * 7 / 8);
	CHECK_LE(stats->examined_count - before, 4u * UNITS);
	heap_check();
	signals_restore(&guard);
}

/* As above, but every other unit is clean, so that bounds do not say how many are dirty. */
TEST(a_long_run_with_holes_is_given_back_in_time_proportional_to_its_length)
{
	enum { PIECES = 1 << 13 };
	static struct span *pieces[PIECES];
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;
	uint64_t before;

	begin(&guard);
	for (int i = 0; i < PIECES; i++)
		pieces[i] = page_heap_alloc(SIZE_CLASS_LARGE, 1, 1);
	for (int i = 0; i < PIECES; i += 2)
		page_heap_free(pieces[i]);
	page_heap_purge(0);
	for (int i = 1; i < PIECES; i += 2)
		page_heap_free(pieces[i]);
	CHECK_EQ(count_runs(), 1u);
	CHECK_EQ(stats->dirty_unit_count, PIECES / 2u);
	before = stats->examined_count;
	page_heap_purge(0);
	CHECK_LE(stats->examined_count - before, 4u * PIECES);
	CHECK_EQ(stats->dirty_unit_count, 0u);
	heap_check();
	signals_restore(&guard);
}

TEST(a_search_passes_few_runs_that_are_too_short)
{
	enum { RUNS = 2000, SEARCHES = 100 };
	static struct span *runs[RUNS];
	const struct page_heap_stats *stats = page_heap_stats();
	struct signal_guard guard;
	uint64_t before;

	begin(&guard);
	for (int i = 0; i < RUNS; i++) {
		runs[i] = page_heap_alloc(SIZE_CLASS_LARGE, 65, 1);
		make(1, 1);
	}
	for (int i = 0; i < RUNS; i++)
		page_heap_free(runs[i]);
	before = stats->examined_count;
	for (int i = 0; i < SEARCHES; i++)
		CHECK_NOT_NULL(page_heap_alloc(SIZE_CLASS_LARGE, i % 2 ? 70 : 100, 1));
	CHECK_LE(stats->examined_count - before, SEARCHES * 300u);
	signals_restore(&guard);
}

TEST(spans_grow_and_split_in_place)
{
	struct signal_guard guard;
	struct span *span, *tail, *behind;

	begin(&guard);
	span = make(10, 1);
	behind = make(5, 1);
	CHECK_EQ(span_first_unit(behind), span_first_unit(span) + 10u);
	CHECK(!page_heap_grow_in_place(span, 12));
	release(behind);
	CHECK(page_heap_grow_in_place(span, 12));
	CHECK_EQ(span->unit_count, 12u);
	heap_check();
	tail = page_heap_split(span, 4, SLOT_HINTED);
	CHECK_NOT_NULL(tail);
	CHECK_EQ(span->unit_count, 4u);
	CHECK_EQ(tail->unit_count, 8u);
	CHECK_EQ(load_relaxed(span_states(tail)), SLOT_HINTED);
	CHECK_EQ(load_relaxed(span_states(span)), SLOT_ALLOCATED);
	CHECK_EQ(load_relaxed(&tail->sweep), (uint32_t)SPAN_SWEPT);
	heap_check();
	CHECK(span_try_busy(tail, SPAN_SWEPT));
	page_heap_free(tail);
	CHECK(span_try_busy(span, SPAN_SWEPT));
	page_heap_free(span);
	CHECK_EQ(count_runs(), 1u);
	signals_restore(&guard);
}

TEST(more_than_the_window_is_refused)
{
	struct signal_guard guard;

	begin(&guard);
	CHECK_NULL(page_heap_alloc(SIZE_CLASS_LARGE, (size_t)1 << 30, 1));
	CHECK_NULL(page_heap_alloc(SIZE_CLASS_LARGE, 1, (size_t)1 << 40));
	CHECK_NOT_NULL(make(1, 1));
	signals_restore(&guard);
}
