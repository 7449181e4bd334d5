/* The harness tested by itself: what it must report as passed. What it must report as failed: self_failing.c. */
#include "tests/harness/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(empty_test_passes)
{
}

TEST(checks_hold)
{
	int one = 1;

	CHECK(one);
	CHECK_EQ(one, 1);
	CHECK_NE(one, 2);
	CHECK_LT(one, 2);
	CHECK_GE(one, 1);
	CHECK_NULL(NULL);
	CHECK_NOT_NULL(&one);
	CHECK_STR_EQ("abc", "abc");
	CHECK_MEM_EQ("abc", "abd", 2);
}

TEST(arguments_are_evaluated_once)
{
	int count = 0;

	CHECK_EQ(++count, 1);
	CHECK_EQ(count, 1);
}

TEST(expected_signal_passes, .signal = SIGABRT)
{
	abort();
}

TEST(expected_status_and_error_pass, .exit_code = 3, .error = "exactly this\n")
{
	CHECK_EQ(write(STDERR_FILENO, "exactly this\n", 13), 13);
	_exit(3);
}

TEST(failed_check_names_both_values, .exit_code = TEST_FAILED,
	.contains = "CHECK(two == 3) does not hold: 2 (0x2) and 3 (0x3)")
{
	int two = 2;

	CHECK_EQ(two, 3);
}

TEST(failed_string_check_names_both, .exit_code = TEST_FAILED,
	.contains = "  left:  ab\n  right: cd\n")
{
	CHECK_STR_EQ("ab", "cd");
}

TEST(failure_in_a_child_fails_the_parent, .exit_code = TEST_FAILED,
	.contains = "the child ended with status 99")
{
	pid_t child = fork();

	if (child == 0)
		CHECK(!"reached");
	CHECK_CHILD_PASSES(child);
}
