/*
 * Which blocks of a set of leaked ones go: the rules of growth, holders and order, and the going. When, and what may still speak for a block, probation.c
 * decides. Lock: CYCLE.
 */
#pragma once

#include "core/gc/leak_set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Rules of age, growth and holders, on all blocks: LEAKED_CONDEMNED, LEAKED_HELD, LEAKED_ROOT. is_old_enough() is the rule of age. False: none passes, or
 * nothing can be said.
 */
bool leak_choice_condemn(struct leak_set *set, bool (*is_old_enough)(const struct leaked *leaked));

/* Marks blocks LEAKED_CHOSEN, by the order of candidates, until `excess` bytes are. Returns their number. */
size_t leak_choice_choose(struct leak_set *set, uint64_t excess);

/*
 * Takes the chosen blocks back, span by span; note() is told each before it leaves the set's sum of bytes. One that cannot be had now (another thread sweeps
 * its span, or the program has freed it meanwhile) is not chosen any more: it stays, and so does what it holds.
 */
void leak_choice_take(struct leak_set *set, void (*note)(const struct leaked *leaked));

/* After taking: blocks that only those held that are gone now may go in the next cycle. */
void leak_choice_free_from_holders(struct leak_set *set);

/* What was taken leaves the set. */
void leak_choice_drop(struct leak_set *set);
