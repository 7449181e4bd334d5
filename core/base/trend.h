/*
 * Does a series of sizes rise? Theil-Sen: the slope is the median of those of all pairs of points, its interval of 95 % comes from Kendall's test (Sen 1968), so no
 * law of the noise is assumed, and a few wild points change nothing. Noise that clings from point to point makes the interval wider (Hamed and Rao 1998, by the
 * first lag alone).
 *
 * Pure arithmetic, deterministic, no libm: the process and the command both use it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TREND_POINTS_MAX = 64,
	TREND_POINTS_MIN = 8,
	TREND_SPAN_INTERVALS = 6,    // a shorter time says nothing: programs begin by growing
	TREND_WINDOW_INTERVALS = 30, // the shortest window: 10 minutes with looks each 20 s
	TREND_STEADY_INTERVALS = 15, // from when on a steady rise need not be of TREND_GROWN_MIN
};

#define TREND_GROWN_MIN ((uint64_t)1 << 20)
#define TREND_GROWN_MIN_STEADY ((uint64_t)256 << 10)

struct trend_point {
	uint64_t ms; // of any clock that does not go back
	uint64_t bytes;
};

/* Bytes per second. */
struct trend {
	double slope, low, high;
	uint64_t from_ms, to_ms; // first and last point
	uint64_t grown_bytes;    // between them; 0 when it shrank
};

struct trend_rules {
	uint64_t interval_ms; // how often is looked while growth is watched
	uint64_t window_ms;   // how far to look back; 0: by several windows, from the shortest on
	double error_bytes; // standard error of the last point's bytes, where only samples are known; that of the others follows from it
};

/* The slope of all points and its interval. False: there are too few. Points are in the order of time, no two of the same. */
bool trend_fit(const struct trend_point *points, size_t count, struct trend *ret_trend);

/*
 * True: the series rises, still does, and by more than noise, one step, or a level that was reached before would explain. *ret_trend is that of the longest window
 * for which it holds (untouched if none). The rules stand in trend.c.
 */
bool trend_rises(const struct trend_point *points, size_t count, const struct trend_rules *rules,
	struct trend *ret_trend);

/*
 * Which point of a full history is to go for the next one: old ones lie the farther apart, in proportion to their age, so that the same number of points spans minutes
 * and then weeks. Never the first or the last; whoever drops it keeps the larger of its bytes and those of the next in the next. count is 3 at least.
 */
size_t trend_dispensable(const uint64_t *ms, size_t count);

/* 1 - exp(-x), x >= 0: how likely a block of x times the mean distance of samples is sampled. */
double trend_sampled_share(double x);

/* A rise of `site` bytes per second accounts for one of `size`, the slope of all blocks of a size: they are alike. */
static inline bool trend_explains(double site, double size)
{
	return site > size / 2 && site < size * 2;
}

/* To a record's whole number; 0 for what is negative. */
static inline uint64_t trend_rounded(double value)
{
	return value > 0 ? (uint64_t)(value + 0.5) : 0;
}

/* The square root; 0 for what is negative. */
double trend_root(double value);
