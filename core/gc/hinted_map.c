#include "core/gc/hinted_map.h"

#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/os/memory.h"

#include <string.h>

static size_t map_bytes(const struct hinted_map *map)
{
	return map->bytes >> HINTED_MAP_SHIFT >> 3;
}

void hinted_map_make(struct hinted_map *map, uintptr_t base, size_t bytes)
{
	*map = (struct hinted_map){.base = base, .bytes = bytes};
	map->words = os_map(map_bytes(map));
}

/* The bits of every piece that the memory touches. */
void hinted_map_add(struct hinted_map *map, uintptr_t start, size_t bytes)
{
	size_t first = (start - map->base) >> HINTED_MAP_SHIFT,
	       last = (start + bytes - 1 - map->base) >> HINTED_MAP_SHIFT;
	uint64_t from_first = ~0ull << (first % 64), to_last = bits_below(last % 64 + 1);
	uint64_t *word = map->words + first / 64, *last_word = map->words + last / 64;

	check(bytes > 0 && last < map->bytes >> HINTED_MAP_SHIFT);
	if (word == last_word) {
		*word |= from_first & to_last;
		return;
	}
	*word++ |= from_first;
	memset(word, 0xff, (size_t)(last_word - word) * sizeof(*word));
	*last_word |= to_last;
}

void hinted_map_drop(struct hinted_map *map)
{
	uint64_t *words = map->words;

	map->words = 0; // a fork child must not unmap what may lie there by then
	if (words)
		os_unmap(words, map_bytes(map));
}
