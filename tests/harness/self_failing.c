/* Every way to fail that the runner must notice: tests/harness/check_failing runs this program and counts. */
#include "tests/harness/test.h"

#include <signal.h>
#include <unistd.h>

TEST(failed_check)
{
	CHECK_EQ(1, 2);
}

TEST(unexpected_signal)
{
	raise(SIGSEGV);
}

TEST(other_signal_than_expected, .signal = SIGABRT)
{
	raise(SIGTERM);
}

TEST(missing_signal, .signal = SIGABRT)
{
}

TEST(unexpected_status)
{
	_exit(1);
}

TEST(missing_status, .exit_code = 3)
{
}

TEST(other_error_text, .error = "expected\n")
{
	CHECK_EQ(write(STDERR_FILENO, "other\n", 6), 6);
}

TEST(error_text_where_none_is_expected, .error = "")
{
	CHECK_EQ(write(STDERR_FILENO, "other\n", 6), 6);
}

TEST(missing_error_text, .contains = "expected")
{
}

TEST(hangs, .limit_seconds = 1)
{
	pause();
}
