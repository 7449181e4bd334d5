/*
 * Which series rise. Points come as the process takes them: each 20 s, thinned by age once there are 64.
 */
#include "tests/harness/test.h"

#include "core/base/trend.h"

#include <math.h>
#include <string.h>

#define KIB 1024.0
#define MIB (1024.0 * KIB)

enum { INTERVAL_MS = 20000, HOUR = 180 /* looks */ };

static const struct trend_rules rules = {.interval_ms = INTERVAL_MS};

struct history {
	struct trend_point points[TREND_POINTS_MAX];
	size_t count;
};

static uint64_t random_state = 88172645463325252u;

/* 0 to 1. */
static double uniform(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (double)(random_state >> 11) / 9007199254740992.0;
}

/* Of variance 1. */
static double normal(void)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += uniform();
	return sum;
}

static void look(struct history *history, uint64_t ms, double bytes)
{
	uint64_t times[TREND_POINTS_MAX];
	struct trend_point *points = history->points;

	if (history->count == TREND_POINTS_MAX) {
		size_t gone;

		for (size_t i = 0; i < history->count; i++)
			times[i] = points[i].ms;
		gone = trend_dispensable(times, history->count);
		if (points[gone].bytes > points[gone + 1].bytes)
			points[gone + 1].bytes = points[gone].bytes;
		memmove(&points[gone], &points[gone + 1],
			(--history->count - gone) * sizeof(*points));
	}
	points[history->count++] =
		(struct trend_point){ms, bytes > 0 ? (uint64_t)(bytes + 0.5) : 0};
}

/* `looks` values of a function of the number of the look. */
static struct history watch(int looks, double (*value)(int look))
{
	struct history history = {.count = 0};

	for (int i = 0; i < looks; i++)
		look(&history, 1000 + (uint64_t)i * INTERVAL_MS, value(i));
	return history;
}

static bool rises(const struct history *history)
{
	struct trend trend;

	return trend_rises(history->points, history->count, &rules, &trend);
}

static struct trend trend_of(const struct history *history)
{
	struct trend trend = {0};

	CHECK(trend_rises(history->points, history->count, &rules, &trend));
	return trend;
}

/* ---- the estimate ---- */

static double a_line(int look)
{
	return 7 * MIB + look * 20 * 3 * KIB;
}

TEST(a_line_has_its_slope_and_no_doubt)
{
	struct history history = watch(40, a_line);
	struct trend trend;

	CHECK(trend_fit(history.points, history.count, &trend));
	CHECK(fabs(trend.slope - 3 * KIB) < 0.001);
	CHECK(fabs(trend.low - trend.slope) < 0.001 && fabs(trend.high - trend.slope) < 0.001);
	CHECK_EQ(trend.grown_bytes, (uint64_t)(39 * 20 * 3 * KIB));
	CHECK_EQ(trend.to_ms - trend.from_ms, 39u * INTERVAL_MS);
}

static double a_noisy_line(int look)
{
	return 50 * MIB + look * 20 * 10 * KIB + normal() * MIB;
}

TEST(the_interval_holds_the_true_slope_as_often_as_it_says)
{
	int hits = 0, wild = 0;

	for (int i = 0; i < 400; i++) {
		struct history history = watch(30, a_noisy_line);
		struct trend trend;

		CHECK(trend_fit(history.points, history.count, &trend));
		hits += trend.low <= 10 * KIB && trend.high >= 10 * KIB;
		history.points[7].bytes = 900 * (uint64_t)MIB;
		CHECK(trend_fit(history.points, history.count, &trend));
		wild += fabs(trend.slope - 10 * KIB) < 3 * KIB;
	}
	CHECK_GE(hits, 365);
	CHECK_GE(wild, 390);
}

TEST(three_points_are_a_line_and_two_are_none)
{
	struct history history = watch(3, a_line);
	struct trend trend;

	CHECK(trend_fit(history.points, 3, &trend));
	CHECK(!trend_fit(history.points, 2, &trend));
	CHECK(!trend_fit(history.points, 0, &trend));
}

/* ---- what rises ---- */

static double a_slow_leak(int look)
{
	return 300 * KIB + look * 20 * KIB;
}

TEST(one_kibibyte_a_second_is_reported_within_ten_minutes)
{
	struct history history = watch(30, a_slow_leak);
	struct trend trend = trend_of(&history);

	CHECK(fabs(trend.slope - KIB) < 1);
	history = watch(10, a_slow_leak);
	CHECK(!rises(&history));
}

static double a_slow_leak_beside_much(int look)
{
	return 100 * MIB + look * 20 * KIB + (look % 3) * 2 * KIB;
}

TEST(one_kibibyte_a_second_beside_100_mebibytes)
{
	struct history history = watch(30, a_slow_leak_beside_much);

	CHECK(rises(&history));
	history = watch(9 * HOUR, a_slow_leak_beside_much);
	CHECK(fabs(trend_of(&history).slope - KIB) < 20);
}

static double a_slow_leak_in_noise(int look)
{
	return 100 * MIB + look * 20 * KIB + normal() * MIB;
}

TEST(a_slow_leak_in_noise_is_found_once_it_stands_out)
{
	struct history history = watch(15, a_slow_leak_in_noise);

	CHECK(!rises(&history));
	history = watch(6 * HOUR, a_slow_leak_in_noise); // 21 MiB
	CHECK(rises(&history));
}

static double leaks_late(int look)
{
	return 20 * MIB + (look > 5000 ? (look - 5000) * 20 * 4 * KIB : 0) + (look % 2) * 30 * KIB;
}

TEST(a_leak_that_begins_after_a_day_is_found_within_minutes)
{
	struct history history = watch(5000 + 30, leaks_late);
	struct trend trend = trend_of(&history);

	CHECK_GE(trend.from_ms, 4990u * INTERVAL_MS);
	CHECK(fabs(trend.slope - 4 * KIB) < KIB);
	history = watch(5000, leaks_late);
	CHECK(!rises(&history));
}

static double in_bursts(int look)
{
	return 10 * MIB + look / 15 * 3 * MIB;
}

TEST(a_leak_that_comes_in_bursts_is_found)
{
	struct history history = watch(6 * HOUR, in_bursts);

	CHECK(rises(&history));
}

/* ---- what does not ---- */

static double cache_fill_looks = 20;

static double a_cache(int look)
{
	double full = 64 * MIB;

	return look < cache_fill_looks ? full * look / cache_fill_looks
				       : full - (look % 4) * 100 * KIB;
}

TEST(a_cache_is_not_reported_once_it_has_been_full_for_as_long_as_it_filled)
{
	for (cache_fill_looks = 10; cache_fill_looks < 400; cache_fill_looks *= 2) {
		struct history history = watch((int)cache_fill_looks, a_cache);

		CHECK_EQ(rises(&history), true);
		for (int looks = 2 * (int)cache_fill_looks; looks < 3000; looks += 1 + looks / 50) {
			history = watch(looks, a_cache);
			CHECK_MSG(!rises(&history), "filled in %d, reported at %d",
				(int)cache_fill_looks, looks);
		}
	}
}

static double approaches_its_limit(int look)
{
	return 64 * MIB * (1 - exp(-look / 30.0));
}

TEST(a_cache_that_fills_ever_more_slowly_ends_being_reported)
{
	struct history history = watch(300, approaches_its_limit);

	CHECK(!rises(&history));
	history = watch(1000, approaches_its_limit);
	CHECK(!rises(&history));
}

static int step_at;

static double a_step(int look)
{
	return (look < step_at ? 10 : 60) * MIB;
}

TEST(a_step_is_no_rise)
{
	for (step_at = 1; step_at < 300; step_at += 3) {
		struct history history = watch(300, a_step);

		CHECK_MSG(!rises(&history), "step at %d", step_at);
	}
}

static double saw_looks;

static double a_saw(int look)
{
	double phase = look / saw_looks;

	return 30 * MIB + 40 * MIB * (phase - floor(phase));
}

/* Seen before: that a period was there once is enough. */
TEST(what_rises_and_falls_again_and_again_is_not_reported)
{
	int alarms = 0, asked = 0;

	for (saw_looks = 4.3; saw_looks < 2000; saw_looks *= 2.1) {
		for (int i = 0; i < 40; i++) {
			struct history history =
				watch((int)(saw_looks * (2 + 3 * uniform())) + 8, a_saw);

			asked++;
			alarms += rises(&history);
		}
	}
	CHECK_MSG(alarms * 100 <= asked, "%d of %d", alarms, asked);
}

static double falls(int look)
{
	return 900 * MIB - look * 2 * MIB;
}

TEST(what_shrinks_or_stays_does_not_rise)
{
	struct history history = watch(300, falls);
	struct trend trend;

	CHECK(!rises(&history));
	for (size_t i = 0; i < history.count; i++)
		history.points[i].bytes = 5 << 20;
	CHECK(!rises(&history));
	CHECK(trend_fit(history.points, history.count, &trend));
	CHECK(trend.slope == 0 && trend.low == 0 && trend.high == 0);
}

/* ---- flat series of all kinds ---- */

static double level_of_flat, noise_of_flat, cling_of_flat, clung;

static double flat(int look)
{
	clung = look == 0 ? normal()
			  : cling_of_flat * clung +
				    sqrt(1 - cling_of_flat * cling_of_flat) * normal();
	return level_of_flat + noise_of_flat * clung;
}

static double flat_with_peaks(int look)
{
	return flat(look) + (uniform() < 0.1 ? uniform() * level_of_flat : 0);
}

static double switches(int look)
{
	clung = look == 0 || uniform() < 0.1 ? uniform() : clung;
	return level_of_flat + noise_of_flat * clung;
}

static int alarms_of(double (*value)(int look), double cling, int looks, int series)
{
	int alarms = 0;

	for (int i = 0; i < series; i++) {
		struct history history;

		level_of_flat = 200 * MIB * (0.1 + uniform());
		noise_of_flat = level_of_flat * (0.01 + 0.2 * uniform());
		cling_of_flat = cling;
		history = watch(looks, value);
		alarms += rises(&history);
	}
	return alarms;
}

TEST(of_random_flat_series_one_in_a_hundred_at_most_is_reported)
{
	static const struct {
		const char *name;
		double (*value)(int look);
		double cling;
	} kinds[] = {{"noise", flat, 0}, {"noise that clings a little", flat, 0.5},
		{"noise that clings", flat, 0.7}, {"peaks", flat_with_peaks, 0},
		{"levels", switches, 0}};
	static const int looks[] = {8, 12, 20, 30, 60, 200, 700};
	enum { SERIES = 400 };

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (size_t l = 0; l < sizeof(looks) / sizeof(looks[0]); l++) {
			int alarms = alarms_of(kinds[k].value, kinds[k].cling, looks[l], SERIES);

			CHECK_MSG(alarms * 100 <= SERIES, "%s, %d looks: %d of %d", kinds[k].name,
				looks[l], alarms, SERIES);
		}
	}
}

/* ---- samples ---- */

/* Of a flat heap whose blocks come and go, half a MiB of blocks to a sample: the number of samples is Poisson's, and changes slowly. */
TEST(the_noise_of_samples_is_no_growth)
{
	const double mean = 512 * KIB;
	int alarms = 0;

	for (int i = 0; i < 300; i++) {
		struct history history = {.count = 0};
		struct trend_rules sampled = rules;
		double samples = 40 * uniform(), kept = 0.9;
		struct trend trend;

		clung = normal();
		for (int look_index = 0; look_index < 60; look_index++) {
			clung = kept * clung + sqrt(1 - kept * kept) * normal();
			look(&history, 1 + (uint64_t)look_index * INTERVAL_MS,
				mean * fmax(0, samples + sqrt(samples) * clung));
		}
		sampled.error_bytes =
			mean * sqrt((double)history.points[history.count - 1].bytes / mean);
		alarms += trend_rises(history.points, history.count, &sampled, &trend);
	}
	CHECK_LE(alarms, 3);
}

TEST(sampled_growth_is_reported_after_sixteen_samples_or_some_more)
{
	const double mean = 512 * KIB;
	struct history history = {.count = 0};
	struct trend_rules sampled = rules;
	struct trend trend;
	int first = 0;

	for (int i = 1; i < 64 && !first; i++) {
		look(&history, (uint64_t)i * INTERVAL_MS, mean * i);
		sampled.error_bytes = mean * sqrt(i);
		if (trend_rises(history.points, history.count, &sampled, &trend))
			first = i;
	}
	CHECK_GE(first, 16);
	CHECK_LE(first, 26);
}

TEST(the_share_that_is_sampled_follows_the_law)
{
	for (double x = 1e-9; x < 100; x *= 1.7)
		CHECK_MSG(fabs(trend_sampled_share(x) - -expm1(-x)) <= 1e-12 * -expm1(-x),
			"x %g: %.17g, expected %.17g", x, trend_sampled_share(x), -expm1(-x));
	CHECK(trend_sampled_share(0) == 0);
	CHECK(fabs(trend_root(2) - sqrt(2)) < 1e-12 && trend_root(0) == 0 && trend_root(-1) == 0);
	CHECK(fabs(trend_root(1e-6) - 1e-3) < 1e-9 && fabs(trend_root(1e30) - 1e15) < 1);
}

/* ---- times ---- */

static double minutes(int look)
{
	return 5 * MIB + look * MIB;
}

/* A machine that slept, or stood for a minute. */
TEST(gaps_in_time_change_nothing_but_the_slope)
{
	struct history history = {.count = 0};
	uint64_t ms = 5;

	for (int i = 0; i < 60; i++) {
		ms += i == 30 ? 8 * 3600 * 1000u : INTERVAL_MS;
		look(&history, ms, minutes(i));
	}
	CHECK(rises(&history));
	for (size_t i = 0; i < history.count; i++)
		history.points[i].bytes = 7 << 20;
	CHECK(!rises(&history));
}

TEST(a_full_history_spans_minutes_and_weeks)
{
	struct history history = watch(30 * 24 * HOUR, a_line);
	uint64_t now = history.points[history.count - 1].ms;
	size_t young = 0, hour = 0;

	CHECK_EQ(history.count, (size_t)TREND_POINTS_MAX);
	CHECK_EQ(history.points[0].ms, 1000u);
	for (size_t i = 0; i < history.count; i++) {
		young += history.points[i].ms + 10 * 60 * 1000 >= now;
		hour += history.points[i].ms + 60 * 60 * 1000 >= now;
		if (i + 2 < history.count && history.points[i].ms > 1000)
			CHECK_LE((history.points[i + 1].ms - history.points[i].ms) * 2,
				now - history.points[i].ms + 2 * INTERVAL_MS);
	}
	CHECK_GE(young, 12u);
	CHECK_GE(hour, 22u);
	CHECK(fabs(trend_of(&history).slope - 3 * KIB) < 10);
}
