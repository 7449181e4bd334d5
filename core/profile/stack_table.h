/*
 * Call stacks, each kept once and named by a 32-bit id. An id stays valid for the life of the process: nothing is ever removed, so a report
 * made hours later, or after the code was unloaded, still has its addresses.
 *
 * Lookups take no lock; a stack not seen before is added under the lock PROFILE. Memory is a region of its own (core/os/memory.h).
 */
#pragma once

#include "core/os/lock.h"

#include <stdint.h>

enum { STACK_DEPTH_MAX = 48 };

/* One call stack. Constant once published. */
struct stack {
	uint32_t next; // id of the next stack in the same bucket, 0: none
	uint32_t hash; // of depth, epoch and addresses
	uint32_t
		epoch; // module_epoch() when it was taken: which of several modules that lived at one address is meant
	uint32_t depth;     // number of addresses, 1 to STACK_DEPTH_MAX
	uintptr_t frames[]; // return addresses, innermost first
};

/*
 * Takes the calling thread's stack and returns its id; 0 when there is none: stacks are off, the thread is already taking one (the unwinder
 * itself allocated), no memory. Frames of this library are left out, and so are those whose stack lies below `skip_below` (tests; else NULL).
 * No lock of ours may be held. errno is left alone. Async-signal-safe.
 */
uint32_t stack_capture(const void *skip_below);

/* The id of a stack with these addresses; 0 when there is no memory for a new one. depth is 1 to STACK_DEPTH_MAX. */
uint32_t stack_table_add(const uintptr_t *frames, unsigned depth, uint32_t epoch);

/*
 * The same for who knows the sum of the addresses already: that of a stack, and of a frame further in. Linear: what is left of a stack that lost its outer frames is told by a
 * subtraction.
 */
#define STACK_SUM_FACTOR 0xd1342543de82ef95ull
static inline uint64_t stack_sum(uint64_t outer_sum, uintptr_t frame)
{
	return outer_sum * STACK_SUM_FACTOR + frame;
}
uint32_t stack_table_add_summed(
	const uintptr_t *frames, unsigned depth, uint32_t epoch, uint64_t sum);

/* The stack of an id, or NULL for 0 and for what was never an id. */
const struct stack *stack_table_get(uint32_t id);

/* The id of the stack added after that of `id` (0: of the first); 0 when there is none. */
uint32_t stack_table_next(uint32_t id);

/* Number of stacks. */
uint32_t stack_table_count(void);

/* How often a new stack was not kept for want of memory: blocks then have none. */
uint64_t stack_table_dropped(void);

/* For fork. */
struct lock *stack_table_lock(void);

/* Gives reserved address space back: the process limits it. Signals are blocked. */
void stack_table_unreserve(void);
