/* The parser: every kind of value, every error, and mode before single keys. */
#include "tests/harness/test.h"

#include "core/base/option.h"

#include <stdio.h>
#include <string.h>

static char messages[4096];
static int message_count;

static void complain(const char *message)
{
	message_count++;
	strncat(messages, message, sizeof(messages) - strlen(messages) - 1);
	strncat(messages, "\n", sizeof(messages) - strlen(messages) - 1);
}

static int parse(const char *text)
{
	messages[0] = 0;
	message_count = 0;
	options_reset();
	options_parse(text, strlen(text), complain);
	return message_count;
}

TEST(defaults_are_mode_seal)
{
	CHECK_EQ(parse(""), 0);
	CHECK_EQ(options.mode, (uint64_t)MODE_SEAL);
	CHECK_EQ(options.free, (uint64_t)FREE_HINT);
	CHECK_EQ(options.leaks, (uint64_t)LEAKS_RECLAIM);
	CHECK_EQ(options.probation_cycles, 3u);
	CHECK_EQ(options.probation_bytes, OPTION_AUTO);
	CHECK_STR_EQ(options.report, "off");
}

TEST(modes_set_and_keys_override_in_any_order)
{
	CHECK_EQ(parse("mode=fast"), 0);
	CHECK_EQ(options.free, (uint64_t)FREE_TRUST);
	CHECK_EQ(options.collector, (uint64_t)COLLECTOR_OFF);
	CHECK_EQ(parse("free=hint:mode=fast"), 0);
	CHECK_EQ(options.free, (uint64_t)FREE_HINT);
	CHECK_EQ(options.collector, (uint64_t)COLLECTOR_OFF);
	CHECK_EQ(parse("mode=watch,leaks=off"), 0);
	CHECK_EQ(options.leaks, (uint64_t)LEAKS_OFF);
}

TEST(numbers_take_suffixes_and_keep_to_their_range)
{
	CHECK_EQ(parse("sample_bytes=4k:quarantine_bytes=2m:memory_limit=3G"), 0);
	CHECK_EQ(options.sample_bytes, 4096u);
	CHECK_EQ(options.quarantine_bytes, 2u << 20);
	CHECK_EQ(options.memory_limit, 3ull << 30);
	CHECK_EQ(parse("growth=0"), 1);
	CHECK_EQ(options.growth, 100u);
	CHECK_EQ(parse("growth=100001"), 1);
	CHECK_EQ(parse("growth=-1"), 1);
	CHECK_EQ(parse("growth=1x"), 1);
	CHECK_EQ(parse("growth=k"), 1);
	CHECK_EQ(parse("growth="), 1);
	CHECK_EQ(parse("growth"), 1);
	CHECK_EQ(parse("memory_limit=99999999999999999999"), 1);
	CHECK_EQ(parse("memory_limit=999999999999999999g"), 1);
	CHECK_EQ(options.memory_limit, 0u);
}

TEST(errors_name_what_is_wrong)
{
	CHECK_EQ(parse("fre=hint"), 1);
	CHECK_NOT_NULL(strstr(messages, "unknown option 'fre=hint'"));
	CHECK_EQ(parse("free=maybe"), 1);
	CHECK_NOT_NULL(strstr(messages, "bad value 'free=maybe'"));
	CHECK_EQ(parse("mode=slow"), 1);
	CHECK_EQ(options.mode, (uint64_t)MODE_SEAL);
	CHECK_EQ(parse("a:b:c=1:gctrace=1"), 3);
	CHECK_EQ(options.gctrace, 1u);
	CHECK_EQ(parse("=hint"), 1);
}

TEST(empty_pieces_are_nothing)
{
	CHECK_EQ(parse(":,::gctrace=1,,"), 0);
	CHECK_EQ(options.gctrace, 1u);
	CHECK_EQ(parse("free=hint="), 1);
}

TEST(long_texts_are_cut_or_refused)
{
	char text[3000] = "log=";

	memset(text + 4, 'x', OPTION_TEXT_BYTES - 1);
	CHECK_EQ(parse(text), 0);
	CHECK_EQ(strlen(options.log), OPTION_TEXT_BYTES - 1u);
	memset(text + 4, 'x', OPTION_TEXT_BYTES);
	CHECK_EQ(parse(text), 1);
	CHECK_STR_EQ(options.log, "");
	memset(text, 'y', sizeof(text) - 1);
	CHECK_EQ(parse(text), 1);
	CHECK_LT(strlen(messages), 600u);
}
