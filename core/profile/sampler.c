/*
 * -ln(u) * mean for u uniform in (0, 1], without libm: u is 53 random bits, its logarithm comes from the exponent and a short series for the
 * mantissa (error below 1e-7, far below what a sample can notice).
 */
#include "core/profile/sampler.h"

#include "core/base/bits.h"
#include "core/base/option.h"

enum { RANDOM_BITS = 53 };

/* splitmix64, public domain (S. Vigna): any state is a good one. */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* ln(value) for value from 1 to 2^53. */
static double natural_log(uint64_t value)
{
	const double ln2 = 0.69314718055994530942;
	unsigned exponent = highest_bit(value);
	double mantissa = (double)value / (double)(1ull << exponent); // [1, 2)
	double s = (mantissa - 1) / (mantissa + 1); // ln(m) = 2 artanh(s), s <= 1/3
	double square = s * s;
	double series =
		1 +
		square *
			(1.0 / 3 +
				square *
					(1.0 / 5 +
						square *
							(1.0 / 7 +
								square *
									(1.0 / 9 +
										square *
											(1.0 / 11 +
												square /
													13)))));

	return exponent * ln2 + 2 * s * series;
}

unsigned sampler_random(uint64_t *random_state, unsigned bound)
{
	return (unsigned)((random_next(random_state) >> 32) * bound >> 32);
}

uint64_t sampler_next(uint64_t *random_state)
{
	uint64_t uniform;
	double distance;

	if (options.stacks == STACKS_OFF)
		return SAMPLER_NEVER;
	if (options.stacks == STACKS_ALL || options.sample_bytes <= 1)
		return 0;
	uniform = (random_next(random_state) >> (64 - RANDOM_BITS)) + 1;
	distance = (RANDOM_BITS * 0.69314718055994530942 - natural_log(uniform)) *
		   (double)options.sample_bytes;
	return distance < (double)(UINT64_MAX / 4) ? (uint64_t)distance + 1 : UINT64_MAX / 4;
}
