/*
 * Where the blocks lie that a quick cycle asks about: a bit for each 32 bytes of the heap window, set if some of them belong to a hinted block. In such a cycle nearly all
 * words name blocks that are marked from the start; the bit tells so without the map entry, the division and the mark. It stays set when the block is marked.
 *
 * Collector thread only.
 */
#pragma once

#include "core/base/arith.h"

#include <stddef.h>
#include <stdint.h>

enum { HINTED_MAP_SHIFT = 5 };

/* The map of [base, base + bytes); `words` NULL: there is none. */
struct hinted_map {
	uint64_t *words;
	uintptr_t base;
	size_t bytes;
};

/* Nothing is hinted yet. Without memory there is no map. `bytes` is a multiple of 64 KiB. */
void hinted_map_make(struct hinted_map *map, uintptr_t base, size_t bytes);

/* [start, start + bytes), not empty and within the map, belongs to hinted blocks. */
void hinted_map_add(struct hinted_map *map, uintptr_t start, size_t bytes);

void hinted_map_drop(struct hinted_map *map);

/* Keeps of `candidates`, all within the map, those that may lie in hinted blocks; returns how many. */
static inline size_t hinted_map_filter(
	const struct hinted_map *map, uintptr_t *candidates, size_t count)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		uintptr_t candidate = candidates[i];
		size_t bit = (candidate - map->base) >> HINTED_MAP_SHIFT;

		candidates[found] = candidate;
		found += map->words[bit / 64] >> (bit % 64) & 1;
	}
	return found;
}
