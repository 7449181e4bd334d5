/*
 * The map of what is hinted against a plain array of bytes.
 */
#include "core/gc/hinted_map.h"
#include "core/heap/size_class.h"
#include "tests/harness/test.h"

#include <stdlib.h>
#include <string.h>

enum { BASE = 1 << 20, BYTES = UNIT_BYTES };

static uint8_t is_hinted[BYTES]; // each byte

static bool map_has(const struct hinted_map *map, uintptr_t address)
{
	return hinted_map_filter(map, &address, 1) == 1;
}

/* What is hinted is always found; what is not only if it shares a piece with something that is. */
static void check_map(const struct hinted_map *map)
{
	enum { PIECE = 1 << HINTED_MAP_SHIFT };

	for (size_t at = 0; at < BYTES; at++)
		CHECK_EQ(map_has(map, BASE + at),
			memchr(is_hinted + at / PIECE * PIECE, 1, PIECE) != 0);
}

static void add(struct hinted_map *map, size_t start, size_t bytes)
{
	hinted_map_add(map, BASE + start, bytes);
	memset(is_hinted + start, 1, bytes);
}

TEST(what_was_added_is_found)
{
	for (int round = 0; round < 50; round++) {
		struct hinted_map map;

		memset(is_hinted, 0, sizeof(is_hinted));
		hinted_map_make(&map, BASE, BYTES);
		CHECK(map.words);
		srand((unsigned)round);
		for (int i = 0; i < round % 10; i++) {
			size_t start = (size_t)(rand() % (BYTES / 16)) * 16;
			size_t most = round % 2 ? 64 : BYTES;

			most = most < BYTES - start ? most : BYTES - start;
			add(&map, start, (size_t)(rand() % (int)(most / 16) + 1) * 16);
		}
		check_map(&map);
		hinted_map_drop(&map);
		CHECK(!map.words);
	}
}

TEST(the_edges_are_in)
{
	struct hinted_map map;

	memset(is_hinted, 0, sizeof(is_hinted));
	hinted_map_make(&map, BASE, BYTES);
	add(&map, 0, 16);
	add(&map, BYTES - 16, 16);
	check_map(&map);
	add(&map, 0, BYTES);
	check_map(&map);
	hinted_map_drop(&map);
}

TEST(the_order_of_what_is_kept_stays)
{
	uintptr_t candidates[] = {BASE + 100, BASE + 4096, BASE + 110, BASE, BASE + 127};
	struct hinted_map map;

	hinted_map_make(&map, BASE, BYTES);
	hinted_map_add(&map, BASE + 96, 32);
	CHECK_EQ(hinted_map_filter(&map, candidates, 5), (size_t)3);
	CHECK_EQ(candidates[0], (uintptr_t)BASE + 100);
	CHECK_EQ(candidates[1], (uintptr_t)BASE + 110);
	CHECK_EQ(candidates[2], (uintptr_t)BASE + 127);
	hinted_map_drop(&map);
}
