/*
 * Two walks with one bit for each slot and walk. The first goes from the roots along exact words, and notes what other words name. What was noted and never reached begins the
 * second, which goes along all words: what it reaches is possible.
 *
 * A block that was freed is kept by whatever refers to it, and is told of as dangling: to the first walk all words to it are exact.
 *
 * A word's way to its bit is three misses of the cache long, and many are awaited at once: blocks pass through a ring and are prefetched on entry, candidates of a block
 * have their map entries prefetched, then their bits. The queue has room for every slot, so it cannot run full.
 */
#include "core/gc/possible_walk.h"

#include "core/base/arith.h"
#include "core/base/bits.h"
#include "core/gc/dangling.h"
#include "core/gc/exact_words.h"
#include "core/gc/ignored.h"
#include "core/gc/roots.h"
#include "core/gc/still_words.h"
#include "core/gc/words.h"
#include "core/heap/groups.h"
#include "core/heap/sweep.h"
#include "core/os/arch.h"
#include "core/os/memory.h"
#include "core/profile/module.h"

enum {
	RING = 32, // power of two
	PREFETCH_BLOCKS = 8,
};

/* The child's; one thread. The bitmaps are numbered as heap.marks, by groups, downwards from their ends. */
static struct {
	uint64_t *reached; // by the walk under way or an earlier one, or no block
	uint64_t *named;   // by words that are not exact, of the first walk
	uint64_t *first;   // what the first walk reached, and what is no block
	bool takes_all;    // the second walk
	bool has_failed;
	uintptr_t *queue; // reached, and not read yet
	size_t count;
	uintptr_t ring[RING];
	struct slot slots[WORDS_BLOCK];
	uintptr_t candidates[WORDS_BLOCK];
} walk;

static bool is_in_use(const struct span *span)
{
	return span->kind == SPAN_SMALL || span->kind == SPAN_LARGE;
}

static uint64_t *bitmap_of(size_t groups)
{
	uint64_t *bits = os_map(max_u64(groups, 1) * sizeof(*bits));

	return bits ? bits + groups : 0;
}

static bool begin(void)
{
	size_t groups = groups_count();

	walk.reached = bitmap_of(groups);
	walk.named = bitmap_of(groups);
	walk.first = bitmap_of(groups);
	walk.queue = os_map(max_u64(groups, 1) * 64 * sizeof(*walk.queue));
	if (!walk.reached || !walk.named || !walk.first || !walk.queue)
		return false;
	heap_for_each_span(span)
	{
		if (!is_in_use(span))
			continue;
		for (uint32_t i = 0; i < span_group_count(span); i++) {
			const uint8_t *states = span_states(span) + i * 64;

			walk.reached[span->group + (int32_t)i] =
				bytes_equal_mask(states, SLOT_FREE) |
				bytes_equal_mask(states, SLOT_CACHED) | ~span_group_mask(span, i);
		}
	}
	return true;
}

/* ---- words ---- */

static int32_t group_of(struct slot slot)
{
	return slot.span->group + (int32_t)(slot.index / 64);
}

static bool is_in_programs_hands(struct slot slot)
{
	return state_is_live(*slot_state(slot));
}

static void take_slot(struct slot slot, uintptr_t word)
{
	int32_t group = group_of(slot);
	uint64_t bit = 1ull << (slot.index % 64);

	if (walk.reached[group] & bit)
		return;
	if (!walk.takes_all && !exact_word(word, slot) && is_in_programs_hands(slot)) {
		walk.named[group] |= bit;
		return;
	}
	walk.reached[group] |= bit;
	walk.queue[walk.count++] = slot_address(slot);
}

/* At most WORDS_BLOCK of them. */
static void take_few(const uintptr_t *words, size_t count)
{
	size_t found = words_filter(words, count, heap.base, heap.used, walk.candidates), kept = 0;

	for (size_t i = 0; i < found; i++)
		__builtin_prefetch(&heap.map[(walk.candidates[i] - heap.base) >> UNIT_SHIFT]);
	for (size_t i = 0; i < found; i++) {
		if (!heap_find_slot(walk.candidates[i], &walk.slots[kept]))
			continue;
		__builtin_prefetch(&walk.reached[group_of(walk.slots[kept])]);
		walk.candidates[kept++] = walk.candidates[i];
	}
	for (size_t i = 0; i < kept; i++)
		take_slot(walk.slots[i], walk.candidates[i]);
}

static void take_words(void *nothing, uintptr_t address, const uintptr_t *words, size_t count)
{
	(void)nothing;
	(void)address;
	for (size_t i = 0; i < count; i += WORDS_BLOCK)
		take_few(words + i, min_u64(count - i, WORDS_BLOCK));
}

/* ---- blocks ---- */

static void read_block(uintptr_t address)
{
	struct slot slot;

	if (heap_find_slot(address, &slot) && !still_words_read(slot, take_words, 0))
		walk.has_failed = true;
}

/* Several at once: see mark.c. */
static uint64_t prefetch_blocks(uint64_t entered, uint64_t left)
{
	while (walk.count > 0 && entered - left < RING) {
		uintptr_t address = walk.queue[--walk.count];

		__builtin_prefetch((const void *)address);
		__builtin_prefetch((const void *)(address + 64));
		walk.ring[entered++ % RING] = address;
	}
	return entered;
}

static void read_queue(void)
{
	uint64_t entered = 0, left = 0;

	while (!walk.has_failed) {
		if (entered - left <= RING - PREFETCH_BLOCKS)
			entered = prefetch_blocks(entered, left);
		if (entered == left)
			return;
		read_block(walk.ring[left++ % RING]);
	}
}

/* ---- the walks ---- */

static void take_root_words(void *scan, const uintptr_t *words, size_t count)
{
	dangling_note_roots(scan, words, count);
	take_words(0, 0, words, count);
}

static void take_block(struct slot slot, void *nothing)
{
	(void)nothing;
	take_slot(slot, slot_address(slot));
}

/* False: a root could not be read, or not asked for. */
static bool walk_exactly(void)
{
	struct root_scan scan = {.sink = take_root_words};

	scan.sink_argument = &scan;
	modules_scan();
	if (!roots_scan(&scan) || scan.requests_in_flight)
		return false;
	heap_for_each_span(span)
	{
		if (is_in_use(span))
			ignored_for_each(span, take_block, 0);
	}
	read_queue();
	return !walk.has_failed;
}

static void for_each_bit(const uint64_t *bits, const uint64_t *without,
	void (*visit)(struct slot slot, void *argument), void *argument)
{
	heap_for_each_span(span)
	{
		if (!is_in_use(span))
			continue;
		for (uint32_t i = 0; i < span_group_count(span); i++) {
			int32_t group = span->group + (int32_t)i;
			uint64_t left = bits[group] & ~without[group];

			for (; left != 0; left &= left - 1)
				visit((struct slot){span, i * 64 + lowest_bit(left)}, argument);
		}
	}
}

static void walk_all(void)
{
	for (size_t i = 1; i <= groups_count(); i++)
		walk.first[-(intptr_t)i] = walk.reached[-(intptr_t)i];
	walk.takes_all = true;
	for_each_bit(walk.named, walk.first, take_block, 0);
	read_queue();
}

/* ---- the list ---- */

struct listing {
	struct leak_set *set;
	uint64_t dropped;
};

static void list(struct slot slot, void *argument)
{
	struct listing *listing = argument;
	struct leaked *block;

	if (!is_in_programs_hands(slot))
		return;
	block = listing->set->count < POSSIBLE_BLOCKS_MAX
			? leak_set_add(listing->set, slot_address(slot), slot_bytes(slot))
			: 0;
	if (block)
		block->stack = *slot_state(slot) == SLOT_SAMPLED ? slot_stack_id(slot) : 0;
	else
		listing->dropped++;
}

bool possible_walk(struct leak_set *set, uint64_t *ret_dropped)
{
	struct listing listing = {set, 0};

	if (!begin() || !walk_exactly())
		return false;
	walk_all();
	for_each_bit(walk.reached, walk.first, list, &listing);
	*ret_dropped = listing.dropped;
	return !walk.has_failed;
}
