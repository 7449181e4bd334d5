/*
 * The statistics of `gasket ab`: medians, and the ratio of paired runs with a 95 % interval that
 * one slow run cannot move.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { SAMPLES_MAX = 200, SAMPLES_FOR_INTERVAL = 6 };

struct summary {
	double median;
	double spread; // half the distance between the quartiles
};

struct ratio {
	double estimate; // Hodges-Lehmann: median of the pairwise means, of the logarithms
	double low;      // 95 % interval of the signed-rank test
	double high;
	bool has_interval; // false below SAMPLES_FOR_INTERVAL pairs
	bool is_known;     // false when a value was 0
};

/* Sorts `values`; count is at least 1. */
struct summary summarize(double *values, size_t count);

/* values[i] / base[i] are the pairs; count is from 1 to SAMPLES_MAX. */
struct ratio ratio_of_pairs(const double *values, const double *base, size_t count);
