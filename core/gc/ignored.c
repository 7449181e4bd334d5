/*
 * There is no list of blocks. An ignored block is in state SAMPLED, and its record in the span's side array has the bit SLOT_IGNORED beside the stack's id, which may
 * be 0. So whatever forgets the one forgets the other: free (the state is no longer SAMPLED), the next owner (who has a record of its own, or is in state
 * ALLOCATED, where records do not count), and the end of the span. A fork child has all of it by the copy of its memory.
 *
 * A span that ever held an ignored block says so, and its descriptor is in a table: the pass over the roots, which runs in a pause, looks at those only. Where they
 * are more than the table holds it looks at all. A descriptor stays in the table when its span has ended; a later span there is a visit in vain. Slots of spans
 * made since the preset count as reached, and what was written to them is read.
 */
#include "core/gc/ignored.h"

#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/gc/mark.h"
#include "core/gc/probation.h"
#include "core/gc/world.h"
#include "core/heap/heap.h"
#include "core/heap/sweep.h"
#include "core/os/arch.h"
#include "core/os/lock.h"

enum { LISTED_MAX = 1024 };

/* Any thread. An entry is written before its span says that it holds ignored blocks, and that before a block becomes one. */
static struct {
	uint32_t
		count; // of entries taken, perhaps not written yet; beyond LISTED_MAX: spans that found no room. Atomic
	struct span *spans[LISTED_MAX]; // relaxed
} listed;

static uint32_t *records_of(struct span *span)
{
	uint32_t *ids = load_acquire(&span->stack_ids);
	struct signal_guard guard;

	if (ids)
		return ids;
	signals_block(&guard);
	ids = span_make_stack_ids(span);
	signals_restore(&guard);
	return ids;
}

/*
 * In state ALLOCATED the record may be a former owner's. A block on probation whose address the program still has hides pointers; it goes on living with its
 * record.
 */
static bool ignore_slot(struct slot slot, uint32_t *record)
{
	uint8_t state = load_relaxed(slot_state(slot));

	switch (state) {
	case SLOT_ALLOCATED:
		store_relaxed(record, SLOT_IGNORED);
		return cas_seq(slot_state(slot), state, (uint8_t)SLOT_SAMPLED);
	case SLOT_SAMPLED:
		or_relaxed(record, SLOT_IGNORED);
		return load_relaxed(slot_state(slot)) == state;
	case SLOT_PROBATION:
		probation_evidence(slot);
		or_relaxed(record, SLOT_IGNORED);
		return cas_seq(slot_state(slot), state, (uint8_t)SLOT_SAMPLED);
	default:
		return false;
	}
}

static bool is_listed(const struct span *span)
{
	uint32_t count = load_relaxed(&listed.count);

	for (uint32_t i = 0; i < count && i < LISTED_MAX; i++) {
		if (load_relaxed(&listed.spans[i]) == span)
			return true;
	}
	return false;
}

/* Two threads may list one span twice, which does no harm. */
static void list_span(struct span *span)
{
	if (load_acquire(&span->ignores))
		return;
	if (load_relaxed(&listed.count) <= LISTED_MAX && !is_listed(span)) {
		uint32_t at = add_relaxed(&listed.count, 1u);

		if (at < LISTED_MAX)
			store_relaxed(&listed.spans[at], span);
	}
	store_release(&span->ignores, (uint8_t)1);
}

bool ignored_add(const void *pointer)
{
	enum {
		TRIES = 4
	}; // the state changes under our hands at most twice, to probation and back
	struct slot slot;
	uint32_t *ids;
	bool done = false;

	if (options.collector == COLLECTOR_OFF || !heap_find_slot((uintptr_t)pointer, &slot))
		return false;
	ids = records_of(slot.span);
	if (!ids)
		return false;
	list_span(slot.span);
	for (int i = 0; i < TRIES && !done; i++)
		done = ignore_slot(slot, &ids[slot.index]);
	KEEP_ALIVE(pointer);
	return done;
}

void ignored_remove(const void *pointer)
{
	struct slot slot;
	uint32_t *ids;

	if (load_relaxed(&listed.count) == 0 || !heap_find_slot((uintptr_t)pointer, &slot))
		return;
	ids = load_acquire(&slot.span->stack_ids);
	if (ids && load_relaxed(slot_state(slot)) == SLOT_SAMPLED)
		and_seq(&ids[slot.index], ~SLOT_IGNORED);
	KEEP_ALIVE(pointer);
}

void ignored_for_each(
	struct span *span, void (*visit)(struct slot slot, void *argument), void *argument)
{
	const uint32_t *ids = load_acquire(&span->stack_ids);

	if (!load_relaxed(&span->ignores) || !ids)
		return;
	for (uint32_t group = 0; group < span_group_count(span); group++) {
		uint64_t sampled = bytes_equal_mask(span_states(span) + group * 64, SLOT_SAMPLED);

		for (; sampled != 0; sampled &= sampled - 1) {
			struct slot slot = {span, group * 64 + lowest_bit(sampled)};

			if (load_relaxed(&ids[slot.index]) & SLOT_IGNORED)
				visit(slot, argument);
		}
	}
}

static void mark_slot(struct slot slot, void *argument)
{
	uintptr_t word = slot_address(slot);

	mark_words(argument, &word, 1);
}

static void mark_in_span(struct span *span, void *argument)
{
	ignored_for_each(span, mark_slot, argument);
	world_beat();
}

/* An entry that is not written yet is of a block that is not ignored yet. */
void ignored_mark(struct marker *marking)
{
	uint32_t count = load_relaxed(&listed.count);

	if (count > LISTED_MAX) {
		mark_for_each_span(mark_in_span, marking);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct span *span = load_relaxed(&listed.spans[i]);

		if (span && load_acquire(&span->sweep) == SPAN_MARKING)
			mark_in_span(span, marking);
	}
}
