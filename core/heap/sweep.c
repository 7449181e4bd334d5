/*
 * Sweep of one span. State bytes are read 64 at a time and written one by one, so that a neighbour's store is never undone.
 */
#include "core/heap/sweep.h"

#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/os/arch.h"

enum { SCRIBBLE = 0xd5 }; // not an address, not zero, odd

uint32_t span_count_free(const struct span *span)
{
	const uint8_t *states = span_states(span);
	uint32_t count = 0;

	for (uint32_t group = 0; group < span_group_count(span); group++)
		count += count_bits(bytes_equal_mask(states + group * 64, SLOT_FREE) &
				    span_group_mask(span, group));
	return count;
}

bool span_has_hints(const struct span *span)
{
	const uint8_t *states = span_states(span);

	for (uint32_t group = 0; group < span_group_count(span); group++) {
		if (bytes_equal_mask(states + group * 64, SLOT_HINTED))
			return true;
	}
	return false;
}

/* What happens to a slot's contents and side records before it becomes FREE. */
static void clear_slot(struct slot slot)
{
	uint32_t *ids = load_acquire(&slot.span->stack_ids);

	if (ids)
		store_relaxed(&ids[slot.index], 0);
	if (UNLIKELY(options.scribble))
		__builtin_memset((void *)slot_address(slot), SCRIBBLE, slot_bytes(slot));
}

uint32_t span_sweep(struct span *span, bool trust)
{
	uint8_t *states = span_states(span);
	uint64_t *marks = span_marks(span);
	uint32_t count = 0;

	for (uint32_t group = 0; group < span_group_count(span); group++) {
		uint64_t garbage = bytes_equal_mask(states + group * 64, SLOT_HINTED);

		if (!trust)
			garbage &= ~load_relaxed(&marks[group]);
		if (!garbage)
			continue;
		store_relaxed(&marks[group], load_relaxed(&marks[group]) | garbage);
		count += count_bits(garbage);
		for (; garbage; garbage &= garbage - 1) {
			uint32_t index = group * 64 + lowest_bit(garbage);

			clear_slot((struct slot){span, index});
			store_release(&states[index], SLOT_FREE);
		}
	}
	return count;
}

bool slot_reclaim(struct slot slot)
{
	slot_test_and_set_mark(slot);
	// whoever frees it from here on finds FREE, and is counted as a double free
	if (options.scribble && load_relaxed(slot_state(slot)) == SLOT_PROBATION)
		clear_slot(slot);
	if (!cas_seq(slot_state(slot), (uint8_t)SLOT_PROBATION, (uint8_t)SLOT_FREE))
		return false;
	if (!options.scribble) {
		uint32_t *ids = load_acquire(&slot.span->stack_ids);

		if (ids)
			store_relaxed(&ids[slot.index], 0);
	}
	return true;
}
