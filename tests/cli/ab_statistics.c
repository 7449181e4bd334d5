/*
 * The statistics of `gasket ab` against values worked out by hand and by R's wilcox.test(conf.int =
 * TRUE).
 */
#include "cli/ab_statistics.h"

#include "cli/command.h"
#include "tests/harness/test.h"

#include <math.h>
#include <stdlib.h>

void fail(int status, const char *format, ...)
{
	(void)format;
	exit(status);
}

static bool near(double left, double right)
{
	return fabs(left - right) <= 1e-9 * fabs(right);
}

TEST(median_and_spread)
{
	double odd[] = {5, 1, 4, 2, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
	struct summary summary = summarize(odd, 5);

	CHECK(near(summary.median, 3));
	CHECK(near(summary.spread, 1)); // quartiles 2 and 4
	summary = summarize(even, 4);
	CHECK(near(summary.median, 2.5));
	CHECK(near(summary.spread, 0.75)); // quartiles 1.75 and 3.25
	summary = summarize(one, 1);
	CHECK(near(summary.median, 7));
	CHECK_EQ((int)summary.spread, 0);
}

TEST(six_pairs_give_the_extremes_as_interval)
{
	double base[] = {1, 1, 1, 1, 1, 1}, values[] = {2, 4, 8, 16, 32, 64};
	struct ratio ratio = ratio_of_pairs(values, base, 6);

	CHECK(ratio.is_known);
	CHECK(ratio.has_interval);
	CHECK(near(ratio.low, 2));
	CHECK(near(ratio.high, 64));
	CHECK(near(ratio.estimate, exp2(3.5)));
}

TEST(ten_pairs_cut_eight_means_on_either_side)
{
	// logarithms 1 .. 10: 55 means from 1 to 10 in halves; P(W <= 8) = 0.0244: the ninth from
	// either end
	double base[10], values[10];
	struct ratio ratio;

	for (int i = 0; i < 10; i++) {
		base[i] = 3;
		values[i] = 3 * exp2(i + 1);
	}
	ratio = ratio_of_pairs(values, base, 10);
	CHECK(near(log2(ratio.estimate), 5.5));
	CHECK(near(log2(ratio.low), 3));
	CHECK(near(log2(ratio.high), 8));
}

TEST(five_pairs_have_no_interval)
{
	double base[] = {1, 2, 3, 4, 5}, values[] = {2, 4, 6, 8, 10};
	struct ratio ratio = ratio_of_pairs(values, base, 5);

	CHECK(!ratio.has_interval);
	CHECK(near(ratio.estimate, 2));
}

TEST(one_slow_run_moves_nothing_much)
{
	double base[20], values[20];
	struct ratio ratio;

	for (int i = 0; i < 20; i++)
		base[i] = values[i] = 1 + i % 3;
	values[7] *= 100;
	ratio = ratio_of_pairs(values, base, 20);
	CHECK(near(ratio.estimate, 1));
	CHECK(near(ratio.low, 1));
	CHECK(near(ratio.high, 1));
}

TEST(a_zero_makes_the_ratio_unknown)
{
	double base[] = {1, 0}, values[] = {1, 1};

	CHECK(!ratio_of_pairs(values, base, 2).is_known);
}
