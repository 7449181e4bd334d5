/* State groups: runs do not overlap, come back clean, and are used again. */
#include "tests/harness/test.h"

#include "core/heap/groups.h"
#include "core/heap/heap.h"

#include <string.h>

enum { RUNS = 3000 };

static struct {
	int32_t first;
	uint32_t count;
} runs[RUNS];

static uint8_t *states_of(int32_t first)
{
	return heap.states + (intptr_t)first * 64;
}

static void check_fresh(int32_t first, int32_t count)
{
	for (int32_t i = 0; i < count * 64; i++)
		CHECK_EQ(states_of(first)[i], SLOT_FREE);
	for (int32_t i = 0; i < count; i++)
		CHECK_EQ(heap.marks[first + i], UINT64_MAX);
}

TEST(runs_are_disjoint_fresh_and_reused)
{
	uint64_t random = 1;
	int32_t lowest = 0;

	CHECK(heap_init(0));
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < RUNS; i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			if (runs[i].count > 0 && (random >> 33) % 2) {
				for (uint32_t slot = 0; slot < runs[i].count * 64; slot++)
					CHECK_EQ(states_of(runs[i].first)[slot],
						(uint8_t)(i % 5 + 1));
				groups_free(runs[i].first, runs[i].count);
				for (uint32_t slot = 0; slot < runs[i].count * 64; slot++)
					CHECK_EQ(states_of(runs[i].first)[slot], SLOT_FREE);
				runs[i].count = 0;
			} else if (runs[i].count == 0) {
				runs[i].count = 1 + (uint32_t)(random >> 40) % 8;
				CHECK(groups_alloc(runs[i].count, &runs[i].first));
				CHECK_LT(runs[i].first, 0);
				check_fresh(runs[i].first, (int32_t)runs[i].count);
				memset(states_of(runs[i].first), i % 5 + 1, runs[i].count * 64);
				if (runs[i].first < lowest)
					lowest = runs[i].first;
			}
		}
	}
	CHECK_GT(lowest, -RUNS * 8 * 2);
}
