/*
 * Sorting in place: no recursion, no memory, n log n at worst (heap sort). Not stable.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { SORT_ITEM_BYTES_MAX = 128 };

/* Orders `count` items of `bytes` bytes each (at most SORT_ITEM_BYTES_MAX), so that no item is less than the one before it. */
void sort_items(
	void *items, size_t count, size_t bytes, bool (*is_less)(const void *a, const void *b));
