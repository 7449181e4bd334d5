/*
 * Groups of leaked blocks with the same origin: the same stack when every stack is kept, else the same size class and age of span. Only a group that
 * keeps growing is ever taken back: what is hidden, a handle, an open file, is old and single; a leak grows.
 *
 * Growth is observed at most once per `interval_ms`, so that collections in quick succession do not hide it. What was taken back still counts.
 * Collector side only: guard is the lock CYCLE.
 */
#pragma once

#include "core/gc/leak_set.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	GROUP_BLOCKS_MIN = 64, // smaller groups stay, unless they have GROUP_BYTES_MIN
	GROUP_BYTES_MIN = 1 << 20,
	GROUP_GROWTHS_MIN = 3, // observations in a row in which it grew
	GROUP_NONE = UINT32_MAX,
};

struct leak_group {
	uint64_t key;     // see leak_group_key(); 0: free entry
	uint32_t parent;  // without stacks: the group of the whole size class; else GROUP_NONE
	uint32_t growths; // observations in a row in which it grew
	uint64_t blocks, bytes;           // unreached in this cycle
	uint64_t gone_blocks, gone_bytes; // taken back so far
	uint64_t observed_blocks,
		observed_bytes; // unreached and taken back at the last observation
	uint32_t sample;        // stack of one of its blocks, 0: none has one
	bool was_observed;
	bool is_proven;  // grew in GROUP_GROWTHS_MIN observations in a row at some time
	bool is_stopped; // evidence: its blocks are in use
	bool is_logged;  // its first reclaim was
};

/* The size class of a slot as groups count it: large blocks have one for each power of two. Below 256. */
unsigned leak_class_of(struct slot slot);

/* Start of a verdict: this cycle's counts are zero. */
void leak_groups_begin(void);

/* The group of a leaked block, counted in; GROUP_NONE without memory. `by_stack`: every stack is kept. */
uint32_t leak_groups_add(const struct leaked *leaked, struct slot slot, bool by_stack);

/* All blocks are counted: compares with the last observation if that was `interval_ms` ago. True if it was an observation. */
bool leak_groups_observe(uint64_t now_ms, uint64_t interval_ms);

/* The rules of size and growth. */
bool leak_group_is_growing(uint32_t index);

struct leak_group *leak_group_get(uint32_t index);

/* True if some group grew in the last observation. */
bool leak_groups_any_growth(void);

/* Evidence: nothing with this stack, or (0) nothing without a stack of this size class is taken back any more. `by_stack` as above. */
void leak_groups_stop(uint32_t stack, unsigned class, bool by_stack);

/* After fork, in the child: growth starts again; what was stopped stays so. */
void leak_groups_after_fork(void);
