/* State groups: runs do not overlap, come back clean, and are used again. */
#include "tests/harness/test.h"

#include "core/heap/groups.h"
#include "core/heap/heap.h"

#include <string.h>

enum { RUNS = 3000, WINDOW = 1 << 30 };

static struct {
	uint32_t first, count;
} runs[RUNS];

static void check_fresh(uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count * 64; i++)
		CHECK_EQ(heap.states[(size_t)first * 64 + i], SLOT_FREE);
	for (uint32_t i = 0; i < count; i++)
		CHECK_EQ(heap.marks[first + i], UINT64_MAX);
}

TEST(runs_are_disjoint_fresh_and_reused)
{
	uint64_t random = 1;
	uint32_t highest = 0;

	CHECK(groups_init(WINDOW, true));
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < RUNS; i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			if (runs[i].count > 0 && (random >> 33) % 2) {
				for (uint32_t slot = 0; slot < runs[i].count * 64; slot++)
					CHECK_EQ(heap.states[(size_t)runs[i].first * 64 + slot],
						(uint8_t)(i % 5 + 1));
				groups_free(runs[i].first, runs[i].count);
				for (uint32_t slot = 0; slot < runs[i].count * 64; slot++)
					CHECK_EQ(heap.states[(size_t)runs[i].first * 64 + slot],
						SLOT_FREE);
				runs[i].count = 0;
			} else if (runs[i].count == 0) {
				runs[i].count = 1 + (uint32_t)(random >> 40) % 8;
				CHECK(groups_alloc(runs[i].count, &runs[i].first));
				CHECK_GT(runs[i].first, 0u);
				check_fresh(runs[i].first, runs[i].count);
				memset(heap.states + (size_t)runs[i].first * 64, i % 5 + 1,
					runs[i].count * 64);
				if (runs[i].first + runs[i].count > highest)
					highest = runs[i].first + runs[i].count;
			}
		}
	}
	CHECK_LT(highest, (uint32_t)RUNS * 8 * 2);
}
