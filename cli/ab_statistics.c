/*
 * Ratios are compared as logarithms, so that a/b and b/a are treated alike. The estimate is the
 * median of all means of two pairs (Walsh averages), and the interval is cut from the same sorted
 * means where the exact distribution of the signed-rank statistic has 2.5 % on either side: right
 * whatever the shape of the noise, as long as it is symmetric, and six pairs are the fewest that
 * allow 95 %.
 */
#include "cli/ab_statistics.h"

#include "cli/command.h"

#include <math.h>
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

/* Value at `share` (0 to 1) of sorted values, between neighbours by proportion. */
static double quantile(const double *sorted, size_t count, double share)
{
	double position = share * (double)(count - 1);
	size_t index = (size_t)position;

	if (index + 1 >= count)
		return sorted[count - 1];
	return sorted[index] + (position - (double)index) * (sorted[index + 1] - sorted[index]);
}

struct summary summarize(double *values, size_t count)
{
	struct summary summary;

	qsort(values, count, sizeof(*values), compare_doubles);
	summary.median = quantile(values, count, 0.5);
	summary.spread = (quantile(values, count, 0.75) - quantile(values, count, 0.25)) / 2;
	return summary;
}

/*
 * The largest c with P(W <= c) <= 2.5 %, W being the sum of a random subset of the ranks 1..count.
 * counts[s] / 2^count is the probability of the sum s; it is built rank by rank, halved each time
 * to stay in range.
 */
static size_t signed_rank_limit(size_t count)
{
	size_t most = count * (count + 1) / 2, limit = 0;
	double *probability = calloc(most + 1, sizeof(*probability)), sum = 0;

	if (!probability)
		fail(EXIT_FAILED, "no memory");
	probability[0] = 1;
	for (size_t rank = 1; rank <= count; rank++) {
		for (size_t s = most + 1; s-- > 0;)
			probability[s] =
				(probability[s] + (s >= rank ? probability[s - rank] : 0)) / 2;
	}
	for (size_t s = 0; s <= most && sum + probability[s] <= 0.025; s++) {
		sum += probability[s];
		limit = s;
	}
	free(probability);
	return limit;
}

struct ratio ratio_of_pairs(const double *values, const double *base, size_t count)
{
	size_t means = count * (count + 1) / 2, next = 0, limit;
	double logarithms[SAMPLES_MAX], *walsh = calloc(means, sizeof(*walsh));
	struct ratio ratio = {.is_known = true};

	if (!walsh)
		fail(EXIT_FAILED, "no memory");
	for (size_t i = 0; i < count; i++) {
		ratio.is_known &= values[i] > 0 && base[i] > 0;
		logarithms[i] = values[i] > 0 && base[i] > 0 ? log(values[i] / base[i]) : 0;
		for (size_t j = 0; j <= i; j++)
			walsh[next++] = (logarithms[i] + logarithms[j]) / 2;
	}
	qsort(walsh, means, sizeof(*walsh), compare_doubles);
	ratio.estimate = exp(quantile(walsh, means, 0.5));
	if (count >= SAMPLES_FOR_INTERVAL) {
		limit = signed_rank_limit(count);
		ratio.low = exp(walsh[limit]);
		ratio.high = exp(walsh[means - 1 - limit]);
		ratio.has_interval = true;
	}
	free(walsh);
	return ratio;
}
