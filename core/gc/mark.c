/*
 * Marking. A block that is reached for the first time goes on the queue (a stack in memory mapped before the pause); blocks taken from it pass
 * through a ring of 16, prefetched on entry, so that the cache misses of several blocks overlap.
 * A full queue loses nothing: the block is marked, so a walk over all marked blocks finds what was not read.
 *
 * Preset makes the list of spans that this cycle judges: only they are MARKING, so they can not be released before the verdict.
 */
#include "core/gc/mark.h"

#include "core/base/bits.h"
#include "core/gc/words.h"
#include "core/gc/world.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/os/arch.h"
#include "core/os/memory.h"
#include "core/os/pages.h"
#include "core/os/peek.h"

enum {
	RING = 16, // power of two
	QUEUE_MIN = 1 << 12,
	QUEUE_MAX = 1 << 27,
	BEAT_BLOCKS = 1 << 12, // blocks between two signs of life
	BEAT_SPANS = 1 << 8,
	SPARSE_BYTES_MIN = 1 << 20, // larger blocks are read by present pages only
};

/* All fields: the thread that runs the cycle. */
struct marker {
	uintptr_t *queue; // addresses of blocks marked and not read
	size_t capacity;
	size_t count;
	bool overflowed;
	bool failed;
	struct span **spans; // those this cycle judges
	size_t span_capacity;
	size_t span_count;
	uintptr_t ring[RING];
	uintptr_t copy[WORDS_BLOCK]; // of memory that may not be read directly
};

struct marker marker;
struct mark_stats mark_stats;

static void *map_at_most(size_t *entries, size_t least, size_t entry_bytes)
{
	void *memory = os_map(*entries * entry_bytes);

	while (!memory && *entries > least) {
		*entries /= 2;
		memory = os_map(*entries * entry_bytes);
	}
	return memory;
}

void mark_finish(struct marker *marking)
{
	if (marking->queue)
		os_unmap(marking->queue, marking->capacity * sizeof(*marking->queue));
	if (marking->spans)
		os_unmap(marking->spans, marking->span_capacity * sizeof(*marking->spans));
	marking->queue = 0;
	marking->spans = 0;
	marking->span_count = 0;
}

bool mark_prepare(struct marker *marking)
{
	size_t units = heap_used_units();

	mark_finish(marking);
	mark_stats = (struct mark_stats){0};
	marking->count = 0;
	marking->overflowed = false;
	marking->failed = false;
	marking->capacity = min_u64(max_u64(units * (UNIT_BYTES / 128), QUEUE_MIN), QUEUE_MAX);
	marking->queue = map_at_most(&marking->capacity, QUEUE_MIN, sizeof(*marking->queue));
	// spans may be made until the world stands: leave room for them
	marking->span_capacity = units + units / 4 + 1024;
	marking->spans = os_map(marking->span_capacity * sizeof(*marking->spans));
	if (marking->queue && marking->spans)
		return true;
	mark_finish(marking);
	return false;
}

static void preset_span(struct span *span)
{
	const uint8_t *states = span_states(span);
	uint64_t *marks = span_marks(span);

	for (uint32_t group = 0; group < span_group_count(span); group++)
		marks[group] = bytes_equal_mask(states + group * 64, SLOT_FREE) |
			       bytes_equal_mask(states + group * 64, SLOT_CACHED);
}

/* The lock is free in a pause, for its holder would run. It is needed if the pause is abandoned: then runs are split and merged, and spans swept. */
static bool preset_all(void)
{
	heap_for_each_span(span)
	{
		if (span->kind != SPAN_SMALL && span->kind != SPAN_LARGE)
			continue;
		if (marker.span_count == marker.span_capacity ||
			!cas_seq(&span->sweep, (uint32_t)SPAN_SWEPT, (uint32_t)SPAN_MARKING))
			return false;
		preset_span(span);
		marker.spans[marker.span_count++] = span;
		if (marker.span_count % BEAT_SPANS == 0) {
			world_beat();
			if (world_is_abandoned())
				return false;
		}
	}
	return true;
}

bool mark_preset(void)
{
	bool complete;

	lock_acquire(page_heap_lock());
	complete = preset_all();
	lock_release(page_heap_lock());
	return complete;
}

void mark_for_each_span(void (*visit)(struct span *span, void *argument), void *argument)
{
	for (size_t i = 0; i < marker.span_count; i++)
		visit(marker.spans[i], argument);
}

void mark_set_spans(enum sweep_state state)
{
	for (size_t i = 0; i < marker.span_count; i++)
		store_release(&marker.spans[i]->sweep, (uint32_t)state);
}

/* ---- words to blocks ---- */

static inline void mark_candidate(struct marker *marking, uintptr_t word)
{
	struct slot slot;

	if (!heap_find_slot(word, &slot) || slot_test_and_set_mark(slot))
		return;
	mark_stats.marked_count++;
	mark_stats.marked_bytes += slot_bytes(slot);
	if (UNLIKELY(marking->count == marking->capacity))
		marking->overflowed = true;
	else
		marking->queue[marking->count++] = slot_address(slot);
}

void mark_words(struct marker *marking, const uintptr_t *words, size_t count)
{
	uintptr_t candidates[WORDS_BLOCK];

	while (count > 0) {
		size_t piece = min_u64(count, WORDS_BLOCK);
		size_t found = words_filter(words, piece, heap.base, heap.used, candidates);

		for (size_t i = 0; i < found; i++)
			__builtin_prefetch(&heap.map[(candidates[i] - heap.base) >> UNIT_SHIFT]);
		for (size_t i = 0; i < found; i++)
			mark_candidate(marking, candidates[i]);
		words += piece;
		count -= piece;
	}
}

/* ---- blocks to words ---- */

/* A sign of life. False: the pause is over, nothing may be read any more. */
static bool may_go_on(struct marker *marking)
{
	world_beat();
	if (world_is_abandoned())
		marking->failed = true;
	return !marking->failed;
}

/* Memory whose protection the program may have changed: a copy is read. */
static bool read_carefully(uintptr_t start, uintptr_t end, void *argument)
{
	struct marker *marking = argument;

	for (uintptr_t address = start; address < end; address += sizeof(marking->copy)) {
		size_t bytes = min_u64(sizeof(marking->copy), end - address);

		if (!memory_read(marking->copy, address, bytes)) {
			mark_stats.unreadable_count++;
			marking->failed = true;
			return false;
		}
		mark_words(marking, marking->copy, bytes / sizeof(uintptr_t));
		if (!may_go_on(marking))
			return false;
	}
	return true;
}

static bool read_directly(uintptr_t start, uintptr_t end, void *argument)
{
	for (uintptr_t address = start; address < end; address += UNIT_BYTES) {
		size_t bytes = min_u64(UNIT_BYTES, end - address);

		mark_words(argument, (const uintptr_t *)address, bytes / sizeof(uintptr_t));
		if (!may_go_on(argument))
			return false;
	}
	return true;
}

static void read_block(struct marker *marking, uintptr_t address)
{
	bool odd;
	struct slot slot;
	size_t bytes;

	if (!heap_find_slot(address, &slot))
		return;
	bytes = slot_bytes(slot);
	odd = load_relaxed(&slot.span->odd);
	if (LIKELY(bytes < SPARSE_BYTES_MIN && !odd))
		mark_words(marking, (const uintptr_t *)address, bytes / sizeof(uintptr_t));
	else if (!odd &&
		 !pages_for_each(address, address + bytes, PAGES_PRESENT, read_directly, marking) &&
		 !marking->failed)
		read_directly(address, address + bytes, marking);
	else if (odd &&
		 !pages_for_each(address, address + bytes, PAGES_PRESENT, read_carefully, marking))
		marking->failed = true;
}

static void drain_queue(struct marker *marking)
{
	uint64_t entered = 0, left = 0;

	while (!marking->failed && (left % BEAT_BLOCKS != 0 || may_go_on(marking))) {
		while (marking->count > 0 && entered - left < RING) {
			uintptr_t address = marking->queue[--marking->count];

			__builtin_prefetch((const void *)address);
			__builtin_prefetch((const void *)(address + 64));
			marking->ring[entered++ % RING] = address;
		}
		if (entered == left)
			return;
		read_block(marking, marking->ring[left++ % RING]);
	}
}

/* The queue was full: every marked block is read again. Repeats until nothing is lost. */
static void repair_overflow(struct marker *marking)
{
	while (marking->overflowed && !marking->failed) {
		marking->overflowed = false;
		mark_stats.overflow_count++;
		for (size_t i = 0; i < marking->span_count; i++) {
			struct span *span = marking->spans[i];

			for (uint32_t group = 0; group < span_group_count(span); group++) {
				const uint8_t *states = span_states(span) + group * 64;
				uint64_t unused = bytes_equal_mask(states, SLOT_FREE) |
						  bytes_equal_mask(states, SLOT_CACHED);
				uint64_t marked = span_marks(span)[group] & ~unused &
						  span_group_mask(span, group);

				for (; marked; marked &= marked - 1) {
					struct slot slot = {span, group * 64 + lowest_bit(marked)};

					read_block(marking, slot_address(slot));
					drain_queue(marking);
				}
			}
		}
	}
}

bool mark_drain(struct marker *marking)
{
	drain_queue(marking);
	repair_overflow(marking);
	return !marking->failed;
}
