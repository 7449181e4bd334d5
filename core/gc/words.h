/*
 * The filter through which every word of a root or block goes: which of them may point into the heap window? One subtraction and one comparison
 * a word, no branch, no access to anything but the words.
 *
 * Tags: programs keep types in the top 17 bits of pointers (NaN boxes, tagged words). The window lies below 2^47, so masking those bits changes no
 * plain pointer, and one test serves both.
 */
#pragma once

#include "core/base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WORDS_BLOCK = 512,   // words of one call
	WORDS_WIDE_MIN = 16, // fewer are done before a call has returned
};

#define WORD_ADDRESS_MASK (((uintptr_t)1 << 47) - 1)

/* Chooses the way for this CPU; `wide` false: the plain one (tests). Until then the plain one is used. */
void words_choose(bool wide);

/*
 * Writes the candidates among words[0, count), masked, to `ret_candidates` (room for `count`; may not overlap) and returns how many there are.
 * A candidate is in [base, base + used).
 */
static inline size_t words_filter_plain(const uintptr_t *words, size_t count, uintptr_t base,
	size_t used, uintptr_t *ret_candidates)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		uintptr_t word = words[i] & WORD_ADDRESS_MASK;

		ret_candidates[found] = word;
		found += word - base < used;
	}
	return found;
}

/* The same for many words, by wide instructions; only if words_are_wide. */
size_t words_filter_wide(const uintptr_t *words, size_t count, uintptr_t base, size_t used,
	uintptr_t *ret_candidates);
extern bool words_are_wide HIDDEN;

/* The same, whichever is faster. */
static inline size_t words_filter(const uintptr_t *words, size_t count, uintptr_t base, size_t used,
	uintptr_t *ret_candidates)
{
	return count >= WORDS_WIDE_MIN && words_are_wide
		       ? words_filter_wide(words, count, base, used, ret_candidates)
		       : words_filter_plain(words, count, base, used, ret_candidates);
}
