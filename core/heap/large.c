/*
 * Large blocks. A span each, its one slot's state in a group of its own. Growing prefers the units behind the block, then moving pages by mremap
 * (which writes nothing and keeps contents out of the caches), then a copy (the caller's).
 *
 * Each entry finds out first whether this is a child that ran no fork handlers: the repair must not come between two locks.
 */
#include "core/heap/large.h"

#include "core/base/arith.h"
#include "core/base/attr.h"
#include "core/heap/central.h"
#include "core/heap/heap_stats.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/process.h"

enum {
	MOVED_SPANS_MAX =
		16384, // each costs up to two kernel mappings until its units are mapped afresh; max_map_count is 65530
	COPY_BYTES_MAX =
		4
		<< 20, // into pages that are there already a copy is cheaper: moving gives them up, and the old ones are missed later
	DROP_PIECE_BYTES = 8 << 20, // about a millisecond
	TAIL_SHARE = 4, // an unused end of at least this part of the block is worth a system call
	TAIL_REST_NS =
		1000000, // between two such calls where blocks are short-lived: the next owner misses the pages
	TAILS_COUNTED = 256,
};

/* Blocks with such an end, the last few hundred. Relaxed, any thread; what is lost between two of them does not matter. */
static struct {
	uint32_t made, freed;
	uint64_t next_ns; // call for short-lived ones
} tails;

static size_t units_of(size_t bytes)
{
	return (bytes + UNIT_BYTES - 1) >> UNIT_SHIFT;
}

/* `old_bytes` of them the program has already, and will have twice only for as long as a move takes. */
static struct span *span_alloc(size_t bytes, size_t alignment, size_t old_bytes)
{
	size_t alignment_units = alignment > UNIT_BYTES ? alignment >> UNIT_SHIFT : 1;
	struct span *span;

	if (bytes > BLOCK_BYTES_MAX - UNIT_BYTES || !os_would_commit(bytes - old_bytes))
		return 0;
	span = page_heap_alloc(SIZE_CLASS_LARGE, bytes ? units_of(bytes) : 1, alignment_units);
	if (span)
		add_relaxed(&heap_stats.large_bytes, span_bytes(span));
	return span;
}

static bool has_tail(const struct span *span, size_t tail_bytes)
{
	return tail_bytes >= span_bytes(span) / TAIL_SHARE;
}

/* More than half of them are freed by the program. */
static bool are_tails_short_lived(void)
{
	uint32_t made = load_relaxed(&tails.made), freed = load_relaxed(&tails.freed);

	if (made >= TAILS_COUNTED) {
		store_relaxed(&tails.made, made / 2);
		store_relaxed(&tails.freed, freed / 2);
	}
	return freed > made / 2;
}

/* 64 KiB and a pad take two units. What earlier blocks left in the second would stay for as long as the block lives. */
static void discard_tail(const struct span *span, size_t bytes)
{
	uintptr_t start = span_address(span), end = start + span_bytes(span);
	uintptr_t tail = align_up(start + bytes, OS_PAGE_BYTES);
	uint64_t now;

	if (!has_tail(span, end - tail))
		return;
	add_relaxed(&tails.made, 1u);
	if (span->fresh)
		return;
	if (are_tails_short_lived()) {
		now = clock_now_ns();
		if (now < load_relaxed(&tails.next_ns))
			return;
		store_relaxed(&tails.next_ns, now + TAIL_REST_NS);
	}
	os_discard((void *)tail, end - tail);
}

void large_note_freed(const struct span *span)
{
	if (has_tail(span, (size_t)load_relaxed(&span->tail_words) * sizeof(uintptr_t)))
		add_relaxed(&tails.freed, 1u);
}

static void set_tail(struct span *span, size_t bytes)
{
	size_t words = (span_bytes(span) - bytes) / sizeof(uintptr_t);

	store_relaxed(&span->tail_words, (uint16_t)min_u64(words, UINT16_MAX));
}

void *large_alloc(size_t bytes, size_t alignment, bool *ret_zero)
{
	struct signal_guard guard;
	struct span *span;
	void *address = 0;

	process_check();
	signals_block(&guard);
	span = span_alloc(bytes, alignment, 0);
	if (span) {
		address = (void *)span_address(span);
		*ret_zero = span->fresh;
		discard_tail(span, bytes);
		set_tail(span, bytes - heap.pad);
		store_relaxed(span_states(span), SLOT_ALLOCATED);
		page_heap_end_birth(span);
	}
	signals_restore(&guard);
	KEEP_ALIVE(address);
	return address;
}

void large_free_hinted(struct span *span)
{
	struct signal_guard guard;

	process_check();
	signals_block(&guard);
	if (span_try_busy(span, SPAN_SWEPT) || span_try_busy(span, SPAN_UNSWEPT)) {
		// the sweep may have been quicker, and the units somebody else's by now
		if (span->kind == SPAN_LARGE &&
			cas_seq(span_states(span), (uint8_t)SLOT_HINTED, (uint8_t)SLOT_FREE)) {
			sub_relaxed(&heap_stats.large_bytes, span_bytes(span));
			page_heap_free(span);
		} else {
			span_end_busy(span);
		}
	}
	signals_restore(&guard);
}

/* A piece of the block that its sweeper does not see; and not in a cycle, to whose end spans that are MARKING keep what they hold. */
static bool drop_piece(struct span *span, size_t offset, size_t *ret_end)
{
	bool is_dropped = false;

	if (!span_try_busy(span, SPAN_SWEPT))
		return false;
	*ret_end = span_bytes(span);
	if (span->kind == SPAN_LARGE && load_relaxed(span_states(span)) == SLOT_HINTED &&
		!load_relaxed(&span->odd) && offset < *ret_end)
		is_dropped = os_discard((void *)(span_address(span) + offset),
			min_u64(*ret_end - offset, DROP_PIECE_BYTES));
	if (is_dropped && offset + DROP_PIECE_BYTES >= *ret_end)
		page_heap_note_dropped(span);
	span_end_busy(span);
	return is_dropped;
}

bool large_drop(struct span *span)
{
	struct signal_guard guard;
	size_t offset = 0, end;
	bool is_dropped;

	// signals come through between the pieces: a thread may have to be stopped
	do {
		signals_block(&guard);
		is_dropped = drop_piece(span, offset, &end);
		signals_restore(&guard);
		offset += DROP_PIECE_BYTES;
	} while (is_dropped && offset < end);
	return is_dropped;
}

static bool shrink(struct span *span, size_t units, bool trust)
{
	struct span *tail = page_heap_split(span, units, SLOT_HINTED);

	if (tail && trust)
		large_free_hinted(tail);
	return tail != 0;
}

void large_tell_all(struct span *span)
{
	store_relaxed(&span->tail_words, (uint16_t)0);
}

bool large_resize(struct span *span, size_t bytes, bool trust)
{
	size_t units = units_of(bytes), old_units = span->unit_count;
	struct signal_guard guard;
	bool done = true;

	process_check();
	large_tell_all(span);
	signals_block(&guard);
	if (units < old_units) {
		done = shrink(span, units, trust);
	} else if (units > old_units) {
		done = os_would_commit((units - old_units) << UNIT_SHIFT) &&
		       page_heap_grow_in_place(span, units);
		if (done)
			add_relaxed(&heap_stats.large_bytes, (units - old_units) << UNIT_SHIFT);
	}
	signals_restore(&guard);
	return done;
}

static bool move_pages(struct span *span, struct span *target)
{
	bool is_moved;

	if (!page_heap_begin_move())
		return false;
	is_moved = os_move_pages(
		(void *)span_address(span), (void *)span_address(target), span_bytes(span));
	page_heap_end_move();
	if (!is_moved)
		return false;
	page_heap_note_moved(target);
	page_heap_note_moved(span);
	return true;
}

static bool is_better_copied(const struct span *span, const struct span *target)
{
	return (!target->fresh && span_bytes(span) <= COPY_BYTES_MAX) ||
	       load_relaxed(&page_heap_stats()->moved_span_count) >= MOVED_SPANS_MAX ||
	       load_relaxed(&span->odd);
}

void *large_move(struct span *span, size_t bytes, bool trust, bool *ret_moved)
{
	struct signal_guard guard;
	struct span *target;
	void *address = 0;

	process_check();
	signals_block(&guard);
	target = span_alloc(bytes, GRANULE_BYTES, span_bytes(span));
	if (target) {
		*ret_moved = !is_better_copied(span, target) && move_pages(span, target);
		address = (void *)span_address(target);
		store_relaxed(span_states(target), SLOT_ALLOCATED);
		page_heap_end_birth(target);
		if (*ret_moved) {
			store_relaxed(span_states(span), SLOT_HINTED);
			if (trust)
				large_free_hinted(span);
		}
	}
	signals_restore(&guard);
	KEEP_ALIVE(address);
	return address;
}
