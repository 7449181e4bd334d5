/*
 * A window rises when all of this holds:
 *
 *	enough		it has 8 points, and spans 6 intervals
 *	significant	the interval of the slope lies above 0
 *	large		it grew by 1 MiB (by 256 KiB after 15 intervals, if the low end of the interval is half the slope: a steady rise), and by four times the error of
 *			the samples, and by four times what the points scatter about the line
 *	spread		no two points in turn make up half of that: a step is no rise
 *	goes on		the newer half of the window, and its newest third, rise at a third of the slope: a cache that is full is none
 *	unseen		it ends above all that was there before the window, by half of "large": what rises and falls again and again does not grow
 *
 * The last is not asked of a window that somebody has chosen.
 */
#include "core/base/trend.h"

enum { PAIRS_MAX = TREND_POINTS_MAX * (TREND_POINTS_MAX - 1) / 2, WINDOW_FACTOR = 4 };

double trend_root(double value)
{
	double root = value > 1 ? value : 1;

	if (value <= 0)
		return 0;
	for (;;) {
		double better = (root + value / root) / 2;

		if (better >= root)
			return root;
		root = better;
	}
}

static double magnitude(double value)
{
	return value < 0 ? -value : value;
}

/* Shell's sort, by Ciura's gaps. */
static void sort_numbers(double *numbers, size_t count)
{
	static const size_t gaps[] = {1750, 701, 301, 132, 57, 23, 10, 4, 1};

	for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
		for (size_t i = gaps[g]; i < count; i++) {
			double moving = numbers[i];
			size_t place = i;

			for (; place >= gaps[g] && numbers[place - gaps[g]] > moving;
				place -= gaps[g])
				numbers[place] = numbers[place - gaps[g]];
			numbers[place] = moving;
		}
	}
}

static double median(double *numbers, size_t count)
{
	sort_numbers(numbers, count);
	return count % 2 ? numbers[count / 2] : (numbers[count / 2 - 1] + numbers[count / 2]) / 2;
}

static double seconds_between(const struct trend_point *from, const struct trend_point *to)
{
	return (double)(to->ms - from->ms) / 1000;
}

static size_t slopes_of_pairs(const struct trend_point *points, size_t count, double *ret_slopes)
{
	size_t pairs = 0;

	for (size_t i = 0; i < count; i++) {
		for (size_t k = i + 1; k < count; k++)
			ret_slopes[pairs++] = ((double)points[k].bytes - (double)points[i].bytes) /
					      seconds_between(&points[i], &points[k]);
	}
	return pairs;
}

/* What is left of the points when a line of this slope through their middle is taken away. */
static void residuals_of(
	const struct trend_point *points, size_t count, double slope, double *ret_residuals)
{
	double sorted[TREND_POINTS_MAX], middle;

	for (size_t i = 0; i < count; i++)
		sorted[i] = ret_residuals[i] =
			(double)points[i].bytes - slope * seconds_between(&points[0], &points[i]);
	middle = median(sorted, count);
	for (size_t i = 0; i < count; i++)
		ret_residuals[i] -= middle;
}

/* By how much neighbours resemble each other: 0 (or less) to nearly 1. Few points show too little of it, which Kendall's correction makes up for. */
static double autocorrelation(const double *residuals, size_t count)
{
	double mean = 0, sum = 0, squares = 0;

	for (size_t i = 0; i < count; i++)
		mean += residuals[i] / (double)count;
	for (size_t i = 0; i < count; i++) {
		squares += (residuals[i] - mean) * (residuals[i] - mean);
		if (i > 0)
			sum += (residuals[i] - mean) * (residuals[i - 1] - mean);
	}
	if (squares <= 0)
		return 0;
	sum /= squares;
	sum += (1 + 4 * sum) / (double)count;
	return sum < 0.99 ? sum : 0.99;
}

bool trend_fit(const struct trend_point *points, size_t count, struct trend *ret_trend)
{
	double slopes[PAIRS_MAX], residuals[TREND_POINTS_MAX], n = (double)count, clinging, reach;
	size_t pairs, outside;
	struct trend trend;

	if (count < 3 || count > TREND_POINTS_MAX)
		return false;
	pairs = slopes_of_pairs(points, count, slopes);
	trend.slope = median(slopes, pairs);
	residuals_of(points, count, trend.slope, residuals);
	clinging = autocorrelation(residuals, count);
	reach = n * (n - 1) * (2 * n + 5) / 18; // variance of Kendall's statistic
	if (clinging > 0)
		reach *= (1 + clinging) / (1 - clinging);
	reach = 1.96 * trend_root(reach);
	outside = reach < (double)pairs ? (size_t)(((double)pairs - reach) / 2) : 0;
	trend.low = slopes[outside];
	trend.high = slopes[pairs - 1 - outside];
	trend.from_ms = points[0].ms;
	trend.to_ms = points[count - 1].ms;
	trend.grown_bytes = points[count - 1].bytes > points[0].bytes
				    ? points[count - 1].bytes - points[0].bytes
				    : 0;
	*ret_trend = trend;
	return true;
}

/* ---- the rules ---- */

/* One wild point at an end must not count. */
static double level(const struct trend_point *points)
{
	double three[3] = {
		(double)points[0].bytes, (double)points[1].bytes, (double)points[2].bytes};

	return median(three, 3);
}

/* Mean distance of the points from the line, as a standard deviation. */
static double scatter(const struct trend_point *points, size_t count, double slope)
{
	double residuals[TREND_POINTS_MAX], sum = 0;

	residuals_of(points, count, slope, residuals);
	for (size_t i = 0; i < count; i++)
		sum += magnitude(residuals[i]);
	return 1.25 * sum / (double)count;
}

/* The error of an estimate grows with the root of what is estimated. */
static double error_of_difference(const struct trend_rules *rules, double first, double last)
{
	double share = last > 0 ? first / last : 1;

	return rules->error_bytes * trend_root(1 + share);
}

static double grown_needed(const struct trend_point *points, size_t count,
	const struct trend *trend, const struct trend_rules *rules)
{
	bool is_steady =
		trend->low >= trend->slope / 2 &&
		trend->to_ms - trend->from_ms >= TREND_STEADY_INTERVALS * rules->interval_ms;
	double needed = (double)(is_steady ? TREND_GROWN_MIN_STEADY : TREND_GROWN_MIN);
	double error = error_of_difference(rules, level(points), level(points + count - 3));
	double noise = scatter(points, count, trend->slope);

	needed = needed > 4 * error ? needed : 4 * error;
	return needed > 4 * noise ? needed : 4 * noise;
}

static double largest_step(const struct trend_point *points, size_t count)
{
	double largest = 0;

	for (size_t i = 1; i < count; i++) {
		double step = (double)points[i].bytes - (double)points[i - 1].bytes;

		largest = step > largest ? step : largest;
	}
	return largest;
}

/* The first point at this time or later. */
static size_t first_from(const struct trend_point *points, size_t count, uint64_t ms)
{
	size_t first = 0;

	while (first < count && points[first].ms < ms)
		first++;
	return first;
}

/* The last `numerator` of `denominator` parts of the time rise at a third of the slope, three points at least. */
static bool goes_on(const struct trend_point *points, size_t count, const struct trend *trend,
	uint64_t numerator, uint64_t denominator)
{
	size_t first = first_from(points, count,
		trend->to_ms - (trend->to_ms - trend->from_ms) / denominator * numerator);
	struct trend part;

	if (first + 3 > count)
		first = count - 3;
	return trend_fit(points + first, count - first, &part) && part.slope >= trend->slope / 3;
}

static double highest(const struct trend_point *points, size_t count)
{
	double most = 0;

	for (size_t i = 0; i < count; i++)
		most = (double)points[i].bytes > most ? (double)points[i].bytes : most;
	return most;
}

/* `first`: index of the window's first point; the window reaches to the last. */
static bool window_rises(const struct trend_point *points, size_t count, size_t first,
	const struct trend_rules *rules, struct trend *ret_trend)
{
	const struct trend_point *window = points + first;
	size_t length = count - first;
	double needed, end, grown;
	struct trend trend;

	if (length < TREND_POINTS_MIN || window[length - 1].bytes <= window[0].bytes)
		return false;
	if (window[length - 1].ms - window[0].ms < TREND_SPAN_INTERVALS * rules->interval_ms)
		return false;
	if (!trend_fit(window, length, &trend) || trend.low <= 0)
		return false;
	end = level(window + length - 3);
	grown = end - level(window);
	needed = grown_needed(window, length, &trend, rules);
	if (grown < needed || largest_step(window, length) > grown / 2)
		return false;
	if (!goes_on(window, length, &trend, 1, 2) || !goes_on(window, length, &trend, 1, 3))
		return false;
	if (rules->window_ms == 0 && end < highest(points, first) + needed / 2)
		return false;
	*ret_trend = trend;
	return true;
}

bool trend_rises(const struct trend_point *points, size_t count, const struct trend_rules *rules,
	struct trend *ret_trend)
{
	uint64_t window_ms =
		rules->window_ms ? rules->window_ms : TREND_WINDOW_INTERVALS * rules->interval_ms;
	bool rises = false;

	if (count < TREND_POINTS_MIN || count > TREND_POINTS_MAX)
		return false;
	for (;; window_ms *= WINDOW_FACTOR) {
		uint64_t now_ms = points[count - 1].ms;
		size_t first =
			first_from(points, count, now_ms > window_ms ? now_ms - window_ms : 0);

		rises |= window_rises(points, count, first, rules, ret_trend);
		if (first == 0 || rules->window_ms != 0)
			return rises;
	}
}

/* ---- a history of bounded length ---- */

size_t trend_dispensable(const uint64_t *ms, size_t count)
{
	double least = 0;
	size_t best = 0;

	for (size_t i = 1; i + 1 < count; i++) {
		double age = (double)(ms[count - 1] - ms[i]);
		double gap = (double)(ms[i + 1] - ms[i - 1]) / age;

		if (best == 0 || gap < least) {
			least = gap;
			best = i;
		}
	}
	return best;
}

double trend_sampled_share(double x)
{
	double share, power;
	unsigned halvings = 0;

	if (x > 64)
		return 1;
	for (; x > 0.5; x /= 2)
		halvings++;
	share = power = x;
	for (unsigned i = 2; i <= 12; i++) {
		power *= -x / i;
		share += power;
	}
	for (; halvings > 0; halvings--)
		share *= 2 - share;
	return share;
}
