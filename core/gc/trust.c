/*
 * Making freed memory free that no cycle has proved to be unreachable, because none can: as any other allocator does, but the oldest first.
 *
 * A span has an age as soon as it has hints: the number of the round in which that was first seen. Each round gives ages to those that have none, and
 * takes all spans of the oldest age there is; rounds go on until enough is free. The oldest hints are those that a program is least likely to use still.
 *
 * Spans are found by the map, one at a time, under the lock PAGE_HEAP; between two of them they come and go. Lock: CYCLE, so that no cycle and no fork is under
 * way. What was counted as hinted and is not found is forgotten, or everybody would come here for ever.
 */
#include "core/gc/trust.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/gc/cycle.h"
#include "core/gc/pacer.h"
#include "core/heap/central.h"
#include "core/heap/sweep.h"
#include "core/os/log.h"
#include "core/profile/stats_page.h"

enum { TRUST_ROUNDS = 64 };

/* Gives spans with hints and no age the present age; returns the oldest age there is (UINT32_MAX: no hints). */
static uint32_t stamp_hints(uint32_t age)
{
	uint32_t oldest = UINT32_MAX, unit = 0;
	struct span *span;

	while ((span = heap_next_used_span(&unit))) {
		uint32_t stamp = load_relaxed(&span->first_hint_cycle);

		if (stamp == 0 && span_has_hints(span))
			store_relaxed(&span->first_hint_cycle, stamp = age);
		if (stamp != 0 && stamp < oldest)
			oldest = stamp;
	}
	return oldest;
}

static uint64_t trust_age(uint32_t age, uint64_t wanted)
{
	uint64_t bytes = 0;
	uint32_t unit = 0;
	struct span *span;

	while (bytes < wanted && (span = heap_next_used_span(&unit))) {
		bool released;

		if (load_relaxed(&span->first_hint_cycle) == age)
			bytes += central_trust_span(span, &released);
	}
	return bytes;
}

void trust_oldest_locked(void)
{
	static uint32_t age; // lock CYCLE
	uint64_t goal = load_relaxed(&pacer_goal()->hinted_bytes);
	uint64_t bytes = 0, hinted = pacer_hinted_bytes();
	uint64_t wanted = hinted > goal / 2 ? hinted - goal / 2 : 0;

	// first, so that it is said before anything may come of it
	if (!stats_get(trusting)) {
		stats_set(trusting, 1);
		log_line(
			"no cycle gives a verdict: freed memory is used again unproved, oldest first");
	}
	age++;
	for (int round = 0; round < TRUST_ROUNDS && bytes < wanted; round++) {
		uint32_t oldest = stamp_hints(age);

		if (oldest == UINT32_MAX)
			break;
		bytes += trust_age(oldest, wanted - bytes);
	}
	// what is counted and no longer there (large tails, races of counters) must not keep everybody here
	pacer_forget_hinted(bytes > 0 ? bytes : hinted);
	stats_add(trusted_bytes, bytes);
}

void cycle_trust_all(void)
{
	struct signal_guard guard;
	uint32_t unit = 0;
	struct span *span;
	uint64_t bytes = 0;

	signals_block(&guard);
	lock_acquire(cycle_lock());
	while ((span = heap_next_used_span(&unit))) {
		bool released;

		bytes += central_trust_span(span, &released);
	}
	pacer_forget_hinted(UINT64_MAX);
	stats_add(trusted_bytes, bytes);
	lock_release(cycle_lock());
	signals_restore(&guard);
}
