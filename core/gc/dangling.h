/*
 * Freed blocks to which something still refers, and what does. Only when somebody asks: the next full cycle then notes which blocks these are, and what refers to them is
 * looked for afterwards, while the program runs, so the pause is as ever. What is found is a hint: contents are those of the moment after; memory that is shared or not writable is
 * not looked at, and the look ends after a second. What only a register or the kernel held is found where possible leaks are looked for as well: in the copy of the
 * process that is made for these (possible.h), whose roots have it.
 *
 * Guard: the lock CYCLE, but for dangling_demand().
 */
#pragma once

#include "core/gc/leak_set.h"
#include "core/profile/findings.h"

#include <stdbool.h>

enum { DANGLING_HOLDERS_MAX = 8, DANGLING_GROUPS_MAX = 4096, DANGLING_NOTED_MAX = 256 };

struct root_scan;

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

/* In a copy of the process, for the sink of a pass: notes which of the words, if they are registers or the kernel has them, name one of the blocks. */
void dangling_note_roots(const struct root_scan *scan, const uintptr_t *words, size_t count);

/* What was noted, in the copy; and the same, handed to the process. */
const struct findings_holder *dangling_noted(size_t *ret_count);
void dangling_take_noted(const struct findings_holder *noted, size_t count);

/* Looks for holders of the blocks whose group is below `count`. */
void dangling_find_holders(struct dangling_group *groups, size_t count);

/* Nothing is noted any more. */
void dangling_end(void);
