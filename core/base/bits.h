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
