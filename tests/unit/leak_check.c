/*
 * The look for leaks at the end of the process: it tries until a cycle judges leaks, and not for ever. Linked with --wrap=cycle_collect: cycles are played.
 */
#include "tests/harness/test.h"

#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/leak_check.h"

#include <unistd.h>

static struct {
	int collected;
	int failing;    // so many at first give no verdict
	int not_judged; // so many after them judge no leaks
	int milliseconds;
} played;

bool __wrap_cycle_collect(void);

bool __wrap_cycle_collect(void)
{
	int number = played.collected++;

	usleep((useconds_t)played.milliseconds * 1000);
	cycle_last.has_verdict = number >= played.failing;
	cycle_last.leaks_judged = number >= played.failing + played.not_judged;
	return cycle_last.has_verdict;
}

static bool is_complete_after(int failing, int not_judged)
{
	bool complete = false;

	options_reset();
	options_parse("report=stderr", 13, NULL);
	played.collected = 0;
	played.failing = failing;
	played.not_judged = not_judged;
	CHECK_EQ(leak_check_at_exit(&complete), 0u);
	return complete;
}

TEST(one_verdict_is_enough)
{
	CHECK(is_complete_after(0, 0));
	CHECK_EQ(played.collected, 1);
}

TEST(cycles_without_a_verdict_are_made_again)
{
	CHECK(is_complete_after(4, 0));
	CHECK_EQ(played.collected, 5);
}

TEST(cycles_that_judge_no_leaks_are_made_again)
{
	CHECK(is_complete_after(1, 2));
	CHECK_EQ(played.collected, 4);
}

TEST(it_gives_up)
{
	CHECK(!is_complete_after(1000, 0));
	CHECK_EQ(played.collected, 5);
}

/* A process that wants to end is not kept: no cycle begins later than after a second. */
TEST(it_gives_up_early_when_cycles_are_long)
{
	played.milliseconds = 600;
	CHECK(!is_complete_after(1000, 0));
	CHECK_LE(played.collected, 2);
}

TEST(nobody_who_did_not_ask_waits)
{
	options_reset();
	played.failing = 1000;
	CHECK_EQ(leak_check_at_exit(NULL), 0u);
	CHECK_EQ(played.collected, 0);
}
