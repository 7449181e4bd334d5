/*
 * A bit for each chunk, in a mapping as large as the window needs: 1 MiB for 16 TiB, of which pages are touched as far as the heap reaches.
 */
#include "core/gc/hot_ranges.h"

#include "core/base/arith.h"
#include "core/base/bits.h"
#include "core/os/memory.h"

#include <string.h>

#define CHUNK_BYTES (2ull << 20)

static struct {
	uint64_t *words;
	uint64_t chunk_count;
	uint64_t used; // chunks beyond are not hot
	bool all;
} hot;

bool hot_ranges_prepare(uint64_t window_bytes)
{
	uint64_t chunk_count = align_up(window_bytes, 64 * CHUNK_BYTES) / CHUNK_BYTES;

	if (chunk_count > hot.chunk_count) {
		if (hot.words)
			os_unmap(hot.words, hot.chunk_count / 8);
		hot.words = os_map(chunk_count / 8);
		hot.chunk_count = hot.words ? chunk_count : 0;
		hot.used = 0;
	}
	hot_ranges_clear();
	hot.all = !hot.words;
	return !hot.all;
}

void hot_ranges_clear(void)
{
	if (hot.used > 0)
		memset(hot.words, 0, align_up(hot.used, 64) / 8);
	hot.used = 0;
}

void hot_ranges_add_all(void)
{
	hot.all = true;
}

void hot_ranges_add(uint64_t start, uint64_t end)
{
	uint64_t last = align_up(end, CHUNK_BYTES) / CHUNK_BYTES;

	for (uint64_t chunk = start / CHUNK_BYTES; chunk < last && chunk < hot.chunk_count; chunk++)
		hot.words[chunk / 64] |= 1ull << (chunk % 64);
	hot.used = max_u64(hot.used, min_u64(last, hot.chunk_count));
}

static bool chunk_is_hot(uint64_t chunk)
{
	return hot.all || (chunk < hot.used && (hot.words[chunk / 64] >> (chunk % 64) & 1));
}

bool hot_ranges_for_each(bool is_hot, uint64_t end,
	bool (*visit)(uint64_t start, uint64_t end, void *argument), void *argument)
{
	uint64_t count = align_up(end, CHUNK_BYTES) / CHUNK_BYTES, first = 0;

	while (first < count) {
		uint64_t next = first;

		while (next < count && chunk_is_hot(next) == is_hot)
			next++;
		if (next > first &&
			!visit(first * CHUNK_BYTES, min_u64(next * CHUNK_BYTES, end), argument))
			return false;
		first = max_u64(next, first + 1);
	}
	return true;
}
