/*
 * Which tier a cycle gets. Estimates are told, not measured.
 */
#include "core/base/option.h"
#include "core/gc/roots.h"
#include "core/gc/tier.h"
#include "core/os/clock.h"
#include "core/os/proc.h"
#include "tests/harness/test.h"

/* The next pause of a stopped world is thought to take so long. Nearly all of it can be done beside the program. */
static void expect_pause_of(uint64_t ms)
{
	struct root_scan scan = {.bytes_read = 64 << 20, .trackable_bytes = 64 << 20};

	CHECK(proc_is_open() || proc_open());
	options_reset();
	options.collector = COLLECTOR_AUTO;
	tier_learn_roots(&scan, ms * NS_PER_MS);
}

TEST(short_pauses_stop_the_world)
{
	expect_pause_of(2);
	CHECK_EQ((int)tier_choose(false, false), (int)STATS_TIER_STW);
	CHECK_EQ((int)tier_choose(true, false), (int)STATS_TIER_STW);
}

TEST(a_program_that_waits_for_the_cycle_may_stand_still_longer)
{
	int beside;

	expect_pause_of(30);
	beside = (int)tier_choose(false, false);
	CHECK_EQ((int)tier_choose(false, true), (int)STATS_TIER_STW);
	if (beside == (int)STATS_TIER_STW)
		test_skip("neither userfaultfd nor a copy of the process: there is only one tier");
	expect_pause_of(80);
	CHECK_NE((int)tier_choose(false, true), (int)STATS_TIER_STW);
}

TEST(whoever_waits_no_pause_is_longer_than_allowed)
{
	expect_pause_of(30);
	options.pause_max_ms = 20;
	CHECK_NE((int)tier_choose(false, true), (int)STATS_TIER_STW);
}
