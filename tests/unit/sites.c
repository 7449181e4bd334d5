/* The table of sites and their histories: bounded, and counted when it is full. Blocks are made up here. */
#include "tests/harness/test.h"

#include "core/base/option.h"
#include "core/gc/sites.h"
#include "core/os/clock.h"

static uint64_t now_ns;

static void begin(void)
{
	options_reset();
	options.growth_interval_ms = 4;
	now_ns = 1000 * NS_PER_MS;
}

static void count(uint32_t stack, unsigned blocks, uint64_t bytes, double share)
{
	for (unsigned i = 0; i < blocks; i++)
		sites_add(stack, bytes, share);
}

static void end(void)
{
	now_ns += 4 * NS_PER_MS;
	sites_end(now_ns);
}

struct search {
	uint32_t stack;
	struct site site;
	size_t sites;
};

static void look_at(const struct site *site, void *argument)
{
	struct search *search = argument;

	search->sites++;
	if (site->stack == search->stack)
		search->site = *site;
}

static struct search find(uint32_t stack)
{
	struct search search = {.stack = stack};

	sites_for_each(look_at, &search);
	return search;
}

static size_t history_of(uint32_t stack, struct trend_point *ret_points)
{
	struct search search = find(stack);

	return site_history(&search.site, ret_points);
}

TEST(live_blocks_are_counted_by_stack)
{
	begin();
	CHECK(sites_begin());
	count(7, 10, 1000, 1);
	count(9, 1, 64, 1);
	count(7, 5, 200, 1);
	end();
	CHECK_EQ(find(7).sites, 2u);
	CHECK(find(7).site.blocks == 15 && find(7).site.bytes == 11000);
	CHECK(find(7).site.variance == 0);
	CHECK(sites_begin());
	count(9, 2, 64, 1);
	end();
	CHECK_EQ(find(7).sites, 1u);
	CHECK(find(9).site.bytes == 128);
	sites_release();
}

/* A sampled block stands for others: 1000 bytes of which one in 500 has a stack are half a million. */
TEST(a_sampled_block_stands_for_many)
{
	begin();
	CHECK(sites_begin());
	count(3, 4, 1000, 0.002);
	end();
	CHECK(find(3).site.blocks > 1999.9 && find(3).site.blocks < 2000.1);
	CHECK(find(3).site.bytes > 1999900 && find(3).site.bytes < 2000100);
	// 4 samples: an error of about half
	CHECK(trend_root(find(3).site.variance) > 990000 &&
		trend_root(find(3).site.variance) < 1010000);
	sites_release();
}

TEST(a_site_has_a_history_once_it_is_large)
{
	struct trend_point points[TREND_POINTS_MAX];
	size_t length;

	begin();
	for (unsigned i = 1; i <= 10; i++) {
		CHECK(sites_begin());
		count(5, i, 100 << 10, 1);
		count(6, i, 1000, 1);
		if (i > 5)
			count(8, 1, 1 << 20, 1);
		end();
	}
	length = history_of(5, points);
	CHECK_EQ(length, 10u);
	for (size_t i = 0; i < length; i++)
		CHECK_EQ(points[i].bytes, (i + 1) * (100 << 10));
	CHECK_EQ(points[9].ms - points[0].ms, 36u);
	CHECK_EQ(history_of(6, points), 0u);
	CHECK_EQ(history_of(8, points), 10u);
	CHECK_EQ(points[4].bytes, 64u << 10); // not known: it had less
	CHECK_EQ(points[5].bytes, 1u << 20);
	sites_release();
}

TEST(a_site_that_is_gone_has_nothing_and_comes_back_with_its_history)
{
	struct trend_point points[TREND_POINTS_MAX];

	begin();
	for (unsigned i = 0; i < 3; i++) {
		CHECK(sites_begin());
		if (i != 1)
			count(5, 1, 1 << 20, 1);
		end();
	}
	CHECK_EQ(history_of(5, points), 3u);
	CHECK_EQ(points[1].bytes, 0u);
	CHECK_EQ(points[2].bytes, 1u << 20);
	sites_release();
}

TEST(points_that_come_too_soon_are_left_out)
{
	struct trend_point points[TREND_POINTS_MAX];

	begin();
	options.growth_interval_ms = 4000;
	for (unsigned i = 0; i < 1000; i++) {
		CHECK(sites_begin());
		count(5, 1 + i, 100 << 10, 1);
		end(); // 4 ms later
	}
	CHECK_EQ(history_of(5, points), 4u);
	CHECK(find(5).site.bytes == 1000.0 * (100 << 10));
	sites_release();
}

TEST(a_full_history_loses_points_and_no_peak)
{
	struct trend_point points[TREND_POINTS_MAX];
	uint64_t highest = 0;
	size_t length;

	begin();
	for (unsigned i = 0; i < 3000; i++) {
		CHECK(sites_begin());
		count(5, 1, i == 100 ? 9 << 20 : 1 << 20, 1);
		end();
	}
	length = history_of(5, points);
	CHECK_EQ(length, (size_t)TREND_POINTS_MAX);
	for (size_t i = 0; i < length; i++) {
		CHECK(i == 0 || points[i].ms > points[i - 1].ms);
		highest = points[i].bytes > highest ? points[i].bytes : highest;
	}
	CHECK_EQ(highest, 9u << 20);
	sites_release();
}

TEST(more_sites_than_there_is_room_for_are_counted)
{
	begin();
	CHECK(sites_begin());
	for (uint32_t stack = 1; stack <= 100000; stack++)
		sites_add(stack, 16, 1);
	end();
	CHECK_EQ(find(1).sites, 65536u);
	CHECK_EQ(sites_dropped(), 100000u - 65536u);
	// the next count begins with an empty table
	CHECK(sites_begin());
	end();
	CHECK(sites_begin());
	sites_add(99999, 16, 1);
	end();
	CHECK_EQ(find(99999).sites, 1u);
	sites_release();
}

TEST(small_histories_give_way_to_larger_ones)
{
	struct trend_point points[TREND_POINTS_MAX];

	begin();
	for (int round = 0; round < 2; round++) {
		CHECK(sites_begin());
		for (uint32_t stack = 1; stack <= 2100; stack++)
			sites_add(stack, 100000, 1);
		if (round == 1)
			sites_add(5000, 10 << 20, 1);
		end();
	}
	CHECK_GE(sites_dropped(), 52u);
	CHECK_EQ(history_of(5000, points), 2u);
	CHECK_EQ(points[0].bytes, 10u << 20); // what it was is not known: no growth
	sites_release();
}
