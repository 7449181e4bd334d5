/* When a cycle is due: the arithmetic. */
#include "tests/harness/test.h"

#include "core/base/option.h"
#include "core/gc/pacer.h"

#define MIB (1ull << 20)

static struct pacer_input input(uint64_t heap_bytes, uint64_t memory_limit)
{
	return (struct pacer_input){
		.heap_bytes = heap_bytes,
		.growth_percent = 100,
		.quarantine_percent = 15,
		.quarantine_bytes = 32 * MIB,
		.memory_limit = memory_limit,
	};
}

TEST(a_small_heap_has_the_least_quarantine)
{
	struct pacer_input small = input(10 * MIB, 0);
	struct pacer_goal goal = pacer_compute(&small);

	CHECK_EQ(goal.hinted_bytes, 32 * MIB);
	CHECK_EQ(goal.hard_bytes, 64 * MIB);
	CHECK_GE(goal.heap_bytes, 20 * MIB - 100); // percents of whole hundreds of bytes
}

/* Where no option says otherwise the quarantine follows what is live. */
TEST(the_quarantine_is_as_large_as_what_is_live_within_bounds)
{
	struct pacer_input by_default = input(30 * MIB, 0);

	by_default.quarantine_bytes = OPTION_AUTO;
	by_default.live_bytes = MIB;
	CHECK_EQ(pacer_compute(&by_default).hinted_bytes, 12 * MIB);
	by_default.live_bytes = 20 * MIB;
	CHECK_EQ(pacer_compute(&by_default).hinted_bytes, 20 * MIB);
	by_default.live_bytes = 100 * MIB;
	CHECK_EQ(pacer_compute(&by_default).hinted_bytes, 32 * MIB);
	by_default.root_bytes = 100 * MIB;
	CHECK_EQ(pacer_compute(&by_default).hinted_bytes, 57 * MIB);
	by_default.root_bytes = 10000 * MIB;
	CHECK_EQ(pacer_compute(&by_default).hinted_bytes, 96 * MIB);
}

TEST(a_large_heap_has_a_share_of_itself)
{
	struct pacer_input large = input(10000 * MIB, 0);
	struct pacer_goal goal = pacer_compute(&large);

	CHECK_EQ(goal.hinted_bytes, 1500 * MIB);
	CHECK_EQ(goal.hard_bytes, 3000 * MIB);
	CHECK_EQ(goal.heap_bytes, 20000 * MIB);
}

TEST(near_a_limit_goals_shrink_but_never_below_the_heap)
{
	for (uint64_t heap = MIB; heap < 3000 * MIB; heap += 7 * MIB) {
		struct pacer_input limited = input(heap, 1000 * MIB), free = input(heap, 0);
		struct pacer_goal near = pacer_compute(&limited), far = pacer_compute(&free);

		CHECK_LE(near.hinted_bytes, far.hinted_bytes);
		CHECK_LE(near.heap_bytes, far.heap_bytes);
		CHECK_GT(near.heap_bytes, heap);
		CHECK_GE(near.hinted_bytes, 4 * MIB);
		CHECK_EQ(near.hard_bytes, 2 * near.hinted_bytes);
	}
}

TEST(goals_grow_with_the_heap)
{
	struct pacer_goal before = {0, 0, 0};

	for (uint64_t heap = 0; heap < 100000 * MIB; heap += 37 * MIB) {
		struct pacer_input next = input(heap, 0);
		struct pacer_goal goal = pacer_compute(&next);

		CHECK_GE(goal.hinted_bytes, before.hinted_bytes);
		CHECK_GE(goal.heap_bytes, before.heap_bytes);
		before = goal;
	}
}

/* The limit of the control groups counts where no option says otherwise, but for a tenth. */
TEST(what_the_process_may_use_is_a_limit)
{
	options_reset();
	pacer_set_allowed_bytes(1000 * MIB);
	pacer_set(850 * MIB, 0, 850 * MIB, 0);
	CHECK_EQ(pacer_goal()->heap_bytes, 900 * MIB);
	options.memory_limit = 2000 * MIB;
	pacer_set(850 * MIB, 0, 850 * MIB, 0);
	CHECK_GT(pacer_goal()->heap_bytes, 1600 * MIB);
	options.memory_limit = 0;
	pacer_set_allowed_bytes(0);
	pacer_set(850 * MIB, 0, 850 * MIB, 0);
	CHECK_GT(pacer_goal()->heap_bytes, 1600 * MIB);
}
