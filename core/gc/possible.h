/*
 * The kind POSSIBLE: blocks that are reached, but only through words that point into the middle of a block or just behind it. Only when somebody asks: after the next full
 * cycle that judges leaks a child is made that is a copy of the process (copy.h), and finds out (possible_walk.h). So marking knows nothing of it, all ways to collect are
 * alike, and what is told is of one moment; the price is one more pause, as long as it takes to copy the page tables, and the child's time. Cycles go on meanwhile: nobody who waits for freed memory waits for this.
 *
 * Nothing but the report knows of these blocks: they are live.
 *
 * What the copy does not show (memory that the program keeps from its children: MADV_DONTFORK) is not seen: what is referred to from there alone is not reached, so it is
 * not possible, but what it names exactly may be told as possible where others name its middle.
 *
 * Guard: the lock CYCLE, but for possible_demand() and who waits.
 */
#pragma once

#include "core/gc/leak_set.h"
#include "core/profile/findings.h"

#include <stdbool.h>
#include <stdint.h>

enum { POSSIBLE_PATIENCE_MS = 30000 }; // if nothing presses

/* The next full cycle is followed by a look, which takes `patience_ns` at most. Any thread. */
void possible_demand(uint64_t patience_ns);

/* After a cycle: begins to look, if that is wanted and the cycle judged leaks. The collector's thread, signals blocked, protection keys open; lets forks go first. */
void possible_look(void);

/* Waits until the look has ended, if one is under way. `meanwhile`, if not NULL, is called all the time. Any thread, no lock held. */
void possible_await(void (*meanwhile)(void));

/* The collector's thread ends, and so does the look. No lock held. */
void possible_stop(void);

/* What was found, with references among the blocks; how many more there were, and whether anybody looked. */
struct leak_set *possible_blocks(void);
uint64_t possible_dropped(void);
enum findings_possible possible_outcome(void);

/* It was told: nothing is kept any more. */
void possible_end(void);

/* In a fork child: what the parent looked for is the parent's. */
void possible_fork_child(void);
