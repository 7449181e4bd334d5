/*
 * Freed blocks to which something still refers, and what does. Only when somebody asks: the next full cycle then notes which blocks these are, and what refers to them is
 * looked for afterwards, while the program runs, so the pause is as ever. What is found is a hint: contents are those of the moment after; what only a register
 * held is not found; memory that is shared or not writable is not looked at, and the look ends after a second.
 *
 * Guard: the lock CYCLE, but for dangling_demand().
 */
#pragma once

#include "core/gc/leak_set.h"
#include "core/profile/findings.h"

#include <stdbool.h>

enum { DANGLING_HOLDERS_MAX = 8, DANGLING_GROUPS_MAX = 4096 };

/* The next full cycle notes them. */
void dangling_demand(void);

/* For the verdict: begins anew; true if they are to be noted. */
bool dangling_begin(void);
void dangling_block(struct slot slot);

/* What was noted, sorted. */
struct leak_set *dangling_blocks(void);

/* Holders of a group, which is the `group` of its blocks; with targets. */
struct dangling_group {
	uint32_t count;
	struct findings_holder holders[DANGLING_HOLDERS_MAX]; // `finding` and `name` are not set
};

/* Looks for holders of the blocks whose group is below `count`. */
void dangling_find_holders(struct dangling_group *groups, size_t count);

/* Nothing is noted any more. */
void dangling_end(void);
