/*
 * State groups: 64 state bytes and one word of marks each, handed out in runs to spans. Guard: PAGE_HEAP lock of the caller.
 */
#pragma once

#include "core/os/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Regions of the states and marks of a window of this size, to be initialised to grow down. No groups have been handed out. */
struct region *groups_states_region(size_t window_bytes);
struct region *groups_marks_region(size_t window_bytes);

/* Gives reserved address space back (lock PAGE_HEAP held, as for all of these). */
void groups_unreserve(void);

/* Groups handed out so far: they have the numbers -1 to -count. In a pause, or as a guess. */
uint32_t groups_count(void);

/* A run of `count` groups (1 to 64), from *ret_first (negative) upwards: states FREE, marks all set (a new span counts as visited). False without memory. */
bool groups_alloc(uint32_t count, int32_t *ret_first);

/* Takes a run back; its states are made FREE. */
void groups_free(int32_t first, uint32_t count);
