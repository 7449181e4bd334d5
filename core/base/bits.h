/*
 * Bit counting on machine words.
 */
#pragma once

#include <stdint.h>

/* Index of the lowest set bit; `word` is not 0. */
static inline unsigned lowest_bit(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

/* Index of the highest set bit; `word` is not 0. */
static inline unsigned highest_bit(uint64_t word)
{
	return 63u - (unsigned)__builtin_clzll(word);
}

static inline unsigned count_bits(uint64_t word)
{
	return (unsigned)__builtin_popcountll(word);
}

/* Set bits from the lowest one on, which is set. */
static inline unsigned run_of_bits(uint64_t word)
{
	return ~word ? lowest_bit(~word) : 64;
}

/* The lowest `count` bits, up to 64. */
static inline uint64_t bits_below(unsigned count)
{
	return count < 64 ? ~(~0ull << count) : ~0ull;
}
