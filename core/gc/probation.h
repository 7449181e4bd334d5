/*
 * What happens to blocks that were never freed and that a cycle did not reach ("leaked"): they wait on probation, and only what keeps growing
 * is taken back, after everything that could speak against it was asked. See probation.c for the rules.
 *
 * After each cycle with a full verdict on leaks (not after a verification of hints) the collector thread, which is the only caller unless said
 * otherwise, and holds the lock CYCLE, makes these calls after the world runs again:
 *
 *	probation_begin(cycle);
 *	for each slot in state ALLOCATED, SAMPLED or PROBATION whose mark is 0, in address order where that is easy:
 *		probation_block(slot);		// moves it to PROBATION by compare-and-swap and sets its mark
 *	for each slot in state PROBATION whose mark is 1:
 *		probation_revive(slot);		// moves it back to ALLOCATED or SAMPLED
 *	probation_finish();			// decides, looks a second time, takes back through slot_reclaim()
 */
#pragma once

#include "core/heap/heap.h"

#include <stdbool.h>
#include <stdint.h>

void probation_begin(uint64_t cycle);
void probation_block(struct slot slot);
void probation_revive(struct slot slot);
void probation_finish(void);

/*
 * The program frees, reallocates or asks the size of a block on probation: it hid a pointer. Called by core/alloc, any thread, before or after
 * it moves the block on by compare-and-swap. A few stores: no lock, no system call.
 */
void probation_evidence(struct slot slot);

/* When the next cycle would let blocks on probation mature (clock_now_ns() time), or UINT64_MAX: for the pacer. Any thread. */
uint64_t probation_wants_cycle_ns(void);

/* Totals, written by the collector thread, read anywhere. */
struct probation_totals {
	uint64_t leaked_blocks; // unreached in the last cycle and not taken back
	uint64_t leaked_bytes;
	uint64_t reclaimed_blocks; // taken back since the start
	uint64_t reclaimed_bytes;
	uint64_t revived_blocks; // reached again
	uint64_t evidence;       // times the program used a block on probation
	uint64_t
		second_look_hits; // blocks kept by the second look, changed contents, or the kernel
	uint64_t postponed;       // batches put off because pointers may be in flight
	bool stopped;             // nothing is taken back any more
};
void probation_read_totals(struct probation_totals *ret_totals);

/* The blocks that the last cycle with a verdict found leaked and that were not taken back. Lock CYCLE. */
struct leak_set;
struct leak_set *probation_leaks(void);

/* The time now on the clock of `first_ms` (leak_set.h): milliseconds since the first verdict was begun. */
uint32_t probation_clock_ms(void);

/* After fork, in the child: what was under way is dropped, ages start again. */
void probation_after_fork(void);
