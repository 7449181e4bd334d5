/*
 * The heap window and its metadata.
 *
 *	heap window   [ unit 0 | unit 1 | unit 2 | ... )            64 KiB units, one flat range of addresses, handed out from the bottom
 *	map           8 bytes per unit: class, flags, offset in its span, index of the first state group (head unit for a large block)
 *	spans         one descriptor per unit, used at the first unit of a span (and at both ends of a free run): slow paths only
 *	states        one byte per slot, in groups of 64; marks: one bit per slot, same index. Both grow down: groups have negative numbers
 *
 * All metadata lies in mappings of its own, so an overflow of a block cannot reach it. One dependent load leads from a word to state byte and
 * mark bit: word -> map entry -> (group, slot index by one multiplication).
 *
 * State bytes: who may change what (single-byte stores only, never a wider store)
 *	FREE -> ALLOCATED	the thread whose cache holds the slot
 *	ALLOCATED -> HINTED	anybody who frees
 *	HINTED -> FREE		the one sweeper of the span (holder of sweep word BUSY)
 *	in and out of PROBATION	by compare-and-swap
 *	ALLOCATED -> CACHED -> ALLOCATED / FREE	trust mode: the freeing thread's LIFO
 *	FREE -> CACHED		trust mode: the holder of the class's lock, in a span that is nobody's current
 */
#pragma once

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/check.h"
#include "core/base/list.h"
#include "core/heap/size_class.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum slot_state {
	SLOT_FREE = 0,      // nobody's, or held by a thread cache's word
	SLOT_ALLOCATED = 1, // the program's
	SLOT_HINTED = 2,    // freed by the program, waits for proof
	SLOT_PROBATION = 3, // never freed and not reached
	SLOT_SAMPLED =
		4, // as ALLOCATED, and has a record in the span's stack_ids: who allocated it, and whether it is ignored
	SLOT_CACHED = 5, // free=trust: freed, in the LIFO of a thread cache
	SLOT_STATE_COUNT
};

/* Of a block's record, beside the stack's id: a root, whoever refers to it (core/gc/ignored.h). */
#define SLOT_IGNORED (1u << 31)
/* The same: this block has a stack because its class was suspected of leaking. It must not be counted where sampled blocks stand for others. */
#define STACK_ID_SUSPECTED (1u << 30)

/* Sweep words of a span, changed by compare-and-swap only. */
enum sweep_state {
	SPAN_SWEPT,   // nothing to do
	SPAN_UNSWEPT, // marks and verdict of the last cycle wait to be applied
	SPAN_BUSY,    // one thread applies them
	SPAN_MARKING, // a cycle is under way
};

enum span_kind {
	SPAN_UNUSED = 0, // not the first unit of anything
	SPAN_FREE_RUN,   // free units, in the page heap
	SPAN_SMALL,
	SPAN_LARGE,
	SPAN_LOST, // freed, and unfit to be used again
};

/* Where a small span is; guard: lock of its class in central. */
enum span_place {
	SPAN_LOOSE,   // in no list; had no free slot when last looked at
	SPAN_PARTIAL, // in its class's list of spans with free slots
	SPAN_CURRENT, // some thread cache takes slots from it
};

/* Descriptor of a span or free run, indexed by its first unit. Lives for ever; reset when the units change hands (guard: page heap lock). */
struct span {
	struct list_link link; // partial list (central lock) or list of free runs (page heap lock)
	struct list_link class_link; // all spans of the class (central lock)
	uint32_t
		unit_count; // constant while in use; of the whole run, also kept at a free run's last unit
	int32_t group; // index of the first state group, negative
	uint16_t slot_count;
	uint16_t
		tail_words; // large: at its end, which the program has not asked for and not been told of; relaxed, its owner
	uint8_t class; // SIZE_CLASS_LARGE for a large block
	uint8_t kind;  // enum span_kind
	uint8_t place; // enum span_place
	uint8_t odd; // the program changed protection or mapping: read with care, never reused (set once, relaxed)
	uint8_t moved;   // pages were moved by mremap: map afresh before the units are used again
	uint8_t dropped; // freed, and its pages were given back at once (guard: page heap lock)
	uint8_t fresh; // no slot was ever used before this life of the span: contents are zero (large blocks)
	uint8_t ignores; // some slot has or had SLOT_IGNORED (set once a life, relaxed, any thread)
	uint32_t sweep;  // enum sweep_state, compare-and-swap
	uint32_t free_hint; // at least the number of FREE slots while not current (central lock)
	uint32_t dirty_unit_count;      // free run: units that may hold pages
	uint32_t dirty_low, dirty_high; // free run: all of them lie in [low, high)
	uint32_t stuck_unit_count;      // free run: units with pages that the kernel did not take
	uint32_t
		first_hint_cycle; // cycle count at the first hint since the last sweep, for "oldest first"; relaxed, any thread
	uint32_t birth_cycle; // cycle count when the span was made
	uint32_t *stack_ids;  // side array, one id per slot, or NULL; set once per life
	void *side; // side table of probation for this span (its owner: core/gc/probation), or NULL
} ALIGNED(128);

/* The heap. Constant after heap_init() but for `used`, which only grows (release store by the page heap; relaxed loads are enough: a thread
 * that owns a block has seen its span). */
struct heap {
	uintptr_t base;  // address of unit 0
	size_t used;     // bytes from base that were ever handed out; 0 before heap_init()
	uint64_t *map;   // span map
	uint8_t *states; // end of both: group -1 is the last one
	uint64_t *marks;
	struct span *spans;
	size_t pad; // bytes kept free at the end of each block, so that one past its end is still inside
	uint32_t has_odd; // some span is or was odd; set before the span is, any thread, relaxed
};

extern struct heap heap HIDDEN;

/* A slot: its span and its number there. */
struct slot {
	struct span *span;
	uint32_t index;
};

/*
 * Reserves the window and its metadata (1 TiB, or less under limits). Call once, before anything else here; `pad` as in struct heap.
 * False: not even a small window could be found; no allocation will succeed.
 */
bool heap_init(size_t pad);

/* ---- span map entries ---- */

#define MAP_ENTRY(class, offset, index) \
	((uint64_t)(class) | (uint64_t)(offset) << 16 | (uint64_t)(uint32_t)(index) << 32)

static inline unsigned map_entry_class(uint64_t entry)
{
	return entry & 0xff;
}

/* Units from the first unit of the span; 0 for large blocks. */
static inline unsigned map_entry_offset(uint64_t entry)
{
	return (unsigned)(entry >> 16) & 0xffff;
}

/* Small: the first state group. */
static inline intptr_t map_entry_group(uint64_t entry)
{
	return (intptr_t)entry >> 32;
}

/* Large: the first unit. */
static inline uint32_t map_entry_unit(uint64_t entry)
{
	return (uint32_t)(entry >> 32);
}

/* A candidate: one subtraction, one comparison. */
static inline bool heap_contains(uintptr_t word)
{
	return word - heap.base < load_relaxed(&heap.used);
}

static inline uint64_t heap_map_entry(uintptr_t word)
{
	return load_relaxed(&heap.map[(word - heap.base) >> UNIT_SHIFT]);
}

static inline uint32_t span_first_unit(const struct span *span)
{
	return (uint32_t)(span - heap.spans);
}

static inline uintptr_t span_address(const struct span *span)
{
	return heap.base + ((uintptr_t)span_first_unit(span) << UNIT_SHIFT);
}

static inline size_t span_bytes(const struct span *span)
{
	return (size_t)span->unit_count << UNIT_SHIFT;
}

/* Bytes of one slot of the span. */
static inline size_t span_slot_bytes(const struct span *span)
{
	return span->kind == SPAN_LARGE ? span_bytes(span) : size_classes[span->class].slot_bytes;
}

static inline uint8_t *span_states(const struct span *span)
{
	return heap.states + (intptr_t)span->group * 64;
}

static inline uint64_t *span_marks(const struct span *span)
{
	return heap.marks + span->group;
}

/* ---- slots ---- */

/* Offset of an address in its small span divided by the slot size: 32.32 fixed point. The high half is the slot; the address is the slot's first
 * byte exactly if the low half is below the class's magic and the address a multiple of 8. */
static inline uint64_t span_quotient(uintptr_t word, uint64_t entry, unsigned class)
{
	uint32_t offset = ((uint32_t)entry & 0xffff0000u) |
			  (uint32_t)(word & (UNIT_BYTES - 1)); // the base is a multiple of a unit

	return (uint64_t)(offset >> DIVISION_SHIFT) * size_classes[class].magic;
}

/* Of a slot, what the program may have written to: of the tail of a large block nobody knows but us. */
static inline size_t slot_written_bytes(struct slot slot)
{
	return slot.span->kind == SPAN_LARGE
		       ? span_bytes(slot.span) -
				 (size_t)load_relaxed(&slot.span->tail_words) * sizeof(uintptr_t)
		       : size_classes[slot.span->class].slot_bytes;
}

static inline uintptr_t slot_address(struct slot slot)
{
	return span_address(slot.span) + slot.index * span_slot_bytes(slot.span);
}

static inline size_t slot_bytes(struct slot slot)
{
	return span_slot_bytes(slot.span);
}

static inline uint8_t *slot_state(struct slot slot)
{
	return span_states(slot.span) + slot.index;
}

static inline bool state_is_live(unsigned state)
{
	return state == SLOT_ALLOCATED || state == SLOT_SAMPLED;
}

static inline bool slot_is_marked(struct slot slot)
{
	return load_relaxed(&span_marks(slot.span)[slot.index / 64]) >> (slot.index % 64) & 1;
}

/* Sets the mark; true when it was set before. By the collector, or by the holder of the span's BUSY. */
static inline bool slot_test_and_set_mark(struct slot slot)
{
	uint64_t *word = &span_marks(slot.span)[slot.index / 64];
	uint64_t bit = 1ull << (slot.index % 64);
	uint64_t old = load_relaxed(word);

	if (old & bit)
		return true;
	store_relaxed(word, old | bit);
	return false;
}

/* Finds the slot that a candidate points into (any address of it). False when no span is there, or past its last slot. */
static inline bool heap_find_slot(uintptr_t word, struct slot *ret_slot)
{
	uint64_t entry;
	unsigned class;
	uint32_t unit, index;

	if (!heap_contains(word))
		return false;
	entry = heap_map_entry(word);
	class = map_entry_class(entry);
	if (class == 0)
		return false;
	if (class == SIZE_CLASS_LARGE) {
		*ret_slot = (struct slot){&heap.spans[map_entry_unit(entry)], 0};
		return true;
	}
	unit = (uint32_t)((word - heap.base) >> UNIT_SHIFT) - map_entry_offset(entry);
	index = (uint32_t)(span_quotient(word, entry, class) >> 32);
	if (index >= size_classes[class].slot_count)
		return false;
	*ret_slot = (struct slot){&heap.spans[unit], index};
	return true;
}

/* As heap_find_slot(), but only for the address of a slot's first byte. */
static inline bool heap_find_block(uintptr_t word, struct slot *ret_slot)
{
	struct slot slot;

	if (!heap_find_slot(word, &slot) || slot_address(slot) != word)
		return false;
	*ret_slot = slot;
	return true;
}

/* ---- walks (collector, or a stopped world) ---- */

/* The first span or free run at or after `unit`, or NULL at the end of the used window. Step on by its unit_count. Stable only while nobody
 * splits or merges runs: in a pause, or under the page heap lock; outside, entries found must be checked again under their own lock. */
struct span *heap_span_at(uint32_t unit);

static inline uint32_t heap_used_units(void)
{
	return (uint32_t)(load_acquire(&heap.used) >> UNIT_SHIFT);
}

#define heap_for_each_span(span) \
	for (struct span *span = heap_span_at(0); span; \
		span = heap_span_at(span_first_unit(span) + span->unit_count))

/*
 * The span in use at or after *unit, which moves behind it; *unit moves on in any case. NULL: none within a few thousand units. Lock PAGE_HEAP held. The map is
 * asked, not the descriptors: between two calls spans come and go, and *unit may lie inside one by now.
 */
struct span *heap_used_span_from(uint32_t *unit);

/* The same, taking the lock and going on to the end (NULL): what is found may change hands at once. */
struct span *heap_next_used_span(uint32_t *unit);

/* The side array of stack ids, made on demand (NULL without memory). Signals blocked. */
uint32_t *span_make_stack_ids(struct span *span);

/* All that is recorded of a slot, 0: nothing. */
static inline uint32_t slot_record(struct slot slot)
{
	uint32_t *ids = load_acquire(&slot.span->stack_ids);

	return ids ? load_relaxed(&ids[slot.index]) : 0;
}

/* Stack id of a slot, 0 when none was recorded. */
static inline uint32_t slot_stack_id(struct slot slot)
{
	return slot_record(slot) & ~(SLOT_IGNORED | STACK_ID_SUSPECTED);
}

/* Of a slot with a stack: it was drawn by the sampler (or every block has one). */
static inline bool slot_was_drawn(struct slot slot)
{
	return !(slot_record(slot) & STACK_ID_SUSPECTED);
}

/* The program changed protection or mapping of part of the window: every span there becomes odd. Any thread. */
void heap_make_odd(uintptr_t address, size_t bytes);

/* In a fork child: whatever cycle or sweep was under way in the parent is over; all spans are SWEPT. No other thread exists. */
void heap_fork_child(void);

/* Checking builds: walks every structure and ends the process at the first contradiction. In a pause. */
void heap_check(void);
