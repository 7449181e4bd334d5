/* format_text() against snprintf() for everything it knows. */
#include "tests/harness/test.h"

#include "core/base/format.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define SAME(...) \
	do { \
		char ours[256], theirs[256]; \
		size_t length = format_text(ours, sizeof(ours), __VA_ARGS__); \
		snprintf(theirs, sizeof(theirs), __VA_ARGS__); \
		CHECK_STR_EQ(ours, theirs); \
		CHECK_EQ(length, strlen(theirs)); \
	} while (0)

TEST(formats_as_printf_does)
{
	SAME("nothing");
	SAME("100%%");
	SAME("%s|%s", "a", "");
	SAME("%c%c", 'x', 'y');
	SAME("%d %d %d", 0, INT_MAX, INT_MIN);
	SAME("%u %u", 0u, UINT_MAX);
	SAME("%x %x", 0u, 0xdeadbeefu);
	SAME("%ld %ld", LONG_MAX, LONG_MIN);
	SAME("%lu %lx", ULONG_MAX, ULONG_MAX);
	SAME("%llu %zu", ULLONG_MAX, SIZE_MAX);
	SAME("%5d|%-5d|%05d", 42, 42, 42);
	SAME("%8s|%-8s|", "abc", "abc");
	SAME("%3d|%-3d", 123456, 123456);
	SAME("%p", (void *)0x7fff12345678);
}

TEST(text_that_is_too_long_is_cut)
{
	char text[8];

	CHECK_EQ(format_text(text, sizeof(text), "%s", "0123456789"), 7u);
	CHECK_STR_EQ(text, "0123456");
	CHECK_EQ(format_text(text, 1, "%d", 12345), 0u);
	CHECK_STR_EQ(text, "");
	format_text(text, sizeof(text), "%d", 1234567890);
	CHECK_EQ(strlen(text), 7u);
}
