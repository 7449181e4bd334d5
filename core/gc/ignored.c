/*
 * There is no list. An ignored block is in state SAMPLED, and its record in the span's side array has the bit SLOT_IGNORED beside the stack's id, which may
 * be 0. So whatever forgets the one forgets the other: free (the state is no longer SAMPLED), the next owner (who has a record of its own, or is in state
 * ALLOCATED, where records do not count), and the end of the span. A fork child has all of it by the copy of its memory.
 *
 * A span that ever held an ignored block says so; the pass over the roots visits those spans only. Spans made since the preset are not listed: their slots
 * count as reached, and what was written to them is read.
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

/* Some span has said so. Set before the span does, any thread, relaxed. */
static bool is_used;

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
	store_relaxed(&is_used, true);
	store_relaxed(&slot.span->ignores, (uint8_t)1);
	for (int i = 0; i < TRIES && !done; i++)
		done = ignore_slot(slot, &ids[slot.index]);
	KEEP_ALIVE(pointer);
	return done;
}

void ignored_remove(const void *pointer)
{
	struct slot slot;
	uint32_t *ids;

	if (!load_relaxed(&is_used) || !heap_find_slot((uintptr_t)pointer, &slot))
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

void ignored_mark(struct marker *marking)
{
	if (load_relaxed(&is_used))
		mark_for_each_span(mark_in_span, marking);
}
