/*
 * The distances must be exponential, not merely have the right mean: shares below some quantiles are compared with the law.
 */
#include "core/base/option.h"
#include "core/profile/sampler.h"
#include "tests/harness/test.h"

enum { DRAWS = 1000000 };

TEST(distances_are_exponential_with_the_mean_asked_for)
{
	// P(x < q * mean) = 1 - exp(-q), in parts of a million
	static const struct {
		double quantile;
		double share;
	} law[] = {
		{0.01, 9950}, {0.1, 95163}, {0.5, 393469}, {1, 632121}, {2, 864665}, {4, 981684}};
	unsigned below[6] = {0};
	uint64_t state = 1;
	double sum = 0;

	options_reset();
	for (int i = 0; i < DRAWS; i++) {
		double value = (double)sampler_next(&state);

		sum += value;
		for (int k = 0; k < 6; k++)
			below[k] += value < law[k].quantile * (double)options.sample_bytes;
	}
	CHECK_GT(sum / DRAWS, 0.99 * (double)options.sample_bytes);
	CHECK_LT(sum / DRAWS, 1.01 * (double)options.sample_bytes);
	for (int k = 0; k < 6; k++)
		CHECK_MSG(below[k] > law[k].share - 3000 && below[k] < law[k].share + 3000,
			"below %.2f means: %u, expected %.0f", law[k].quantile, below[k],
			law[k].share);
}

TEST(every_block_or_none_by_option)
{
	uint64_t state = 1;

	options_reset();
	options.stacks = STACKS_ALL;
	CHECK_EQ(sampler_next(&state), 0u);
	options.stacks = STACKS_OFF;
	CHECK_EQ(sampler_next(&state), SAMPLER_NEVER);
	options.stacks = STACKS_SAMPLED;
	options.sample_bytes = OPTION_AUTO;
	CHECK_GT(sampler_next(&state), 1000000u);
}
