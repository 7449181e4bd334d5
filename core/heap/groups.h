/*
 * State groups: 64 state bytes and one word of marks each, handed out in runs to spans. Guard: PAGE_HEAP lock of the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prepares room for all spans of a window of this size; sets heap.states and heap.marks. */
bool groups_init(size_t window_bytes, bool reserve);

/* Gives reserved address space back (lock PAGE_HEAP held, as for all of these). */
void groups_unreserve(void);

/* A run of `count` groups (1 to 64): states FREE, marks all set (a new span counts as visited). False without memory. */
bool groups_alloc(uint32_t count, uint32_t *ret_first);

/* Takes a run back; its states are made FREE. */
void groups_free(uint32_t first, uint32_t count);
