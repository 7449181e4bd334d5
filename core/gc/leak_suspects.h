/*
 * stacks=suspects: which classes of sizes leak, told by the verdicts. A class is named as soon as a verdict finds a block of it leaked that the one before did
 * not, and cleared when none was found for a while: ten minutes at first, and twice as long each time it is named again, for a slow leak is one, too.
 *
 * Collector side only; guard is the lock CYCLE. Nothing is done unless stacks=suspects.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A block that occupies so many bytes is leaked by this verdict and was not by the last. */
void leak_suspects_note(uint64_t slot_bytes);

/* All are noted, at this time of probation's clock. */
void leak_suspects_finish(uint64_t now_ms);

/* When the next look for leaks is wanted (clock_now_ns() time), or UINT64_MAX. Any thread. */
uint64_t leak_suspects_want_cycle_ns(void);

/* In a program thread's slow path: the heap is worth a first look, which nobody has asked for yet. */
bool leak_suspects_want_collector(uint64_t heap_bytes);
