/*
 * stacks=suspects: which classes are suspected and for how long, and how many stacks a thread may take.
 */
#include "core/base/option.h"
#include "core/gc/leak_suspects.h"
#include "core/os/clock.h"
#include "core/profile/suspects.h"
#include "tests/harness/test.h"

enum { MINUTE_MS = 60 * 1000, HOLD_MS = 10 * MINUTE_MS };

static void set_up(void)
{
	options_reset();
	options.stacks = STACKS_SUSPECTS;
	options.leaks = LEAKS_REPORT;
}

static bool is_suspected(size_t slot_bytes)
{
	return suspects_contain(block_class_of(slot_bytes));
}

TEST(a_class_of_which_something_leaked_is_suspected)
{
	set_up();
	leak_suspects_note(96);
	leak_suspects_note((uint64_t)5 << 20);
	leak_suspects_finish(1);
	CHECK(is_suspected(96));
	CHECK(is_suspected((size_t)4 << 20));
	CHECK(!is_suspected(112));
	CHECK(!is_suspected((size_t)8 << 20));
	CHECK_EQ(suspects.count, 2u);
}

TEST(nothing_is_suspected_unless_asked_for)
{
	set_up();
	options.stacks = STACKS_SAMPLED;
	leak_suspects_note(96);
	leak_suspects_finish(1);
	CHECK(!is_suspected(96));
	CHECK_EQ(leak_suspects_want_cycle_ns(), UINT64_MAX);
	options.stacks = STACKS_SUSPECTS;
	options.leaks = LEAKS_OFF;
	CHECK(!leak_suspects_want_collector(1 << 30));
	options.leaks = LEAKS_REPORT;
	CHECK(leak_suspects_want_collector(1 << 30));
}

TEST(a_suspect_that_leaks_no_more_is_dropped)
{
	set_up();
	leak_suspects_note(96);
	leak_suspects_finish(1000);
	leak_suspects_finish(1000 + HOLD_MS - 1);
	CHECK(is_suspected(96));
	leak_suspects_finish(1000 + HOLD_MS);
	CHECK(!is_suspected(96));
	CHECK_EQ(suspects.count, 0u);
}

TEST(one_that_leaks_now_and_then_is_kept_for_longer)
{
	set_up();
	leak_suspects_note(96);
	leak_suspects_finish(0);
	leak_suspects_finish(HOLD_MS);
	leak_suspects_note(96);
	leak_suspects_finish(2 * HOLD_MS);
	leak_suspects_finish(3 * HOLD_MS);
	CHECK(is_suspected(96));
	leak_suspects_note(96);
	leak_suspects_finish(4 * HOLD_MS);
	leak_suspects_finish(6 * HOLD_MS - 1);
	CHECK(is_suspected(96));
	leak_suspects_finish(6 * HOLD_MS);
	CHECK(!is_suspected(96));
}

TEST(looks_become_rarer_until_something_is_named)
{
	uint64_t last = 0;

	set_up();
	for (int i = 0; i < 5; i++) {
		uint64_t wait;

		leak_suspects_finish((uint64_t)i);
		wait = leak_suspects_want_cycle_ns() - clock_now_ns();
		CHECK_GT(wait, last);
		last = wait;
	}
	leak_suspects_note(96);
	leak_suspects_finish(10);
	CHECK_LT(leak_suspects_want_cycle_ns() - clock_now_ns(), last / 2);
}

/* A thread that does nothing but allocate: each stack takes 1 us, each other allocation 20 ns. */
static double part_spent(uint32_t suspects_count)
{
	struct suspect_pace pace = {.cost_ns = 1000};
	uint64_t now = NS_PER_S, spent = 0, start = now;

	for (int i = 0; i < 100000; i++) {
		suspect_pace_look(&pace, now, suspects_count);
		now += pace.left > 0 ? pace.left * (uint64_t)1000 : 32 * 20;
		spent += pace.left * (uint64_t)1000;
	}
	return (double)spent / (double)(now - start);
}

TEST(stacks_take_an_eighth_of_the_time_at_most)
{
	CHECK_MSG(part_spent(1) > 0.10 && part_spent(1) < 0.14, "%.3f", part_spent(1));
	CHECK_MSG(part_spent(4) > 0.02 && part_spent(4) < 0.04, "%.3f", part_spent(4));
}

TEST(who_allocates_seldom_has_a_stack_each_time)
{
	struct suspect_pace pace = {.cost_ns = 0};
	uint64_t now = NS_PER_S;

	for (int i = 0; i < 1000; i++) {
		if (pace.left == 0)
			suspect_pace_look(&pace, now, 8);
		CHECK_GT(pace.left, 0u);
		pace.left--;
		now += 100000;
	}
}
