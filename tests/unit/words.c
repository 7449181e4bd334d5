/*
 * The candidate filter against the plain definition, word by word, with every kind of word near every edge.
 */
#include "core/gc/words.h"
#include "tests/harness/test.h"

#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252ull;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* The definition: the word as it is, or with its top 17 bits masked, lies in the window. */
static bool is_candidate(uintptr_t word, uintptr_t base, size_t used)
{
	uintptr_t masked = word & ((1ull << 47) - 1);

	return (word >= base && word < base + used) || (masked >= base && masked < base + used);
}

static uintptr_t choose_word(uintptr_t base, size_t used)
{
	uintptr_t edges[] = {0, base - 1, base, base + 1, base + used - 1, base + used,
		base + used + 1, UINTPTR_MAX};
	uintptr_t word = edges[next_random() % 8];

	switch (next_random() % 4) {
	case 0:
		return next_random();
	case 1:
		return base + next_random() % (used + 16);
	case 2:
		return word | next_random() << 47;
	default:
		return word;
	}
}

static void check_filter(uintptr_t base, size_t used, size_t count)
{
	uintptr_t words[WORDS_BLOCK], found[WORDS_BLOCK];
	size_t expected = 0, result;

	for (size_t i = 0; i < count; i++)
		words[i] = choose_word(base, used);
	result = words_filter(words, count, base, used, found);
	for (size_t i = 0; i < count; i++) {
		if (!is_candidate(words[i], base, used))
			continue;
		CHECK_LT(expected, result);
		CHECK_EQ(found[expected++], words[i] & ((1ull << 47) - 1));
	}
	CHECK_EQ(expected, result);
}

static void check_filters(void)
{
	for (int round = 0; round < 4000; round++) {
		uintptr_t base = (next_random() % (1ull << 46)) & ~0xffffull;
		size_t used = (next_random() % 1024 + 1) << 16;

		check_filter(base, used, next_random() % (WORDS_BLOCK + 1));
	}
}

TEST(filter_finds_exactly_the_candidates)
{
	words_choose(false);
	check_filters();
}

/* Where the CPU has wide instructions. */
TEST(so_does_the_wide_one)
{
	words_choose(true);
	if (!words_are_wide)
		test_skip("the CPU has no AVX2");
	check_filters();
}

TEST(empty_heap_has_no_candidates)
{
	uintptr_t words[4] = {0, 1, 1ull << 40, UINTPTR_MAX}, found[4];

	CHECK_EQ(words_filter(words, 4, 0, 0, found), (size_t)0);
}
