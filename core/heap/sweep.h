/*
 * What can be done to one span by whoever holds its BUSY (and, for a small span, its class lock). No lists, no locks here.
 */
#pragma once

#include "core/heap/heap.h"

/* Bits of the slots that exist in group `group` of a span. */
static inline uint64_t span_group_mask(const struct span *span, uint32_t group)
{
	uint32_t left = span->slot_count - group * 64;

	return left >= 64 ? UINT64_MAX : (1ull << left) - 1;
}

static inline uint32_t span_group_count(const struct span *span)
{
	return (span->slot_count + 63u) / 64;
}

/* Number of FREE slots, counted from the bytes. */
uint32_t span_count_free(const struct span *span);

/* True when some slot is HINTED. */
bool span_has_hints(const struct span *span);

/* UNSWEPT -> BUSY (or SWEPT -> BUSY with `from`). False: somebody else has it, or a cycle is under way. */
static inline bool span_try_busy(struct span *span, enum sweep_state from)
{
	return load_relaxed(&span->sweep) == (uint32_t)from &&
	       cas_seq(&span->sweep, (uint32_t)from, (uint32_t)SPAN_BUSY);
}

static inline void span_end_busy(struct span *span)
{
	store_release(&span->sweep, SPAN_SWEPT);
}

/*
 * HINTED slots become FREE: those not marked, or, with `trust`, all. The mark is set before the byte becomes FREE (a cycle that begins
 * later must count the slot as visited). Returns the number of slots freed.
 */
uint32_t span_sweep(struct span *span, bool trust);

/* One slot that a verdict condemned (PROBATION): its mark is set, then PROBATION -> FREE by compare-and-swap. False: it was freed meanwhile. The holder
 * of BUSY. */
bool slot_reclaim(struct slot slot);
