/*
 * Quick cycles: only freed blocks are judged. What a freed block can be reached from keeps it, whatever that is: a root, a block in use, a block that is leaked, or
 * another freed one that is reached. What nothing refers to is used again. And a quick cycle says nothing of leaks.
 *
 * The suite runs with quick_cycles=always:interval_ms=1, so the cycles that come by themselves are quick.
 */
#include "tests/gc/hidden.h"

#include <time.h>

enum { SMALL = 48, HOLDER_WORDS = 32, LARGE_WORDS = 1 << 18, BAITS = 20, WITHIN_MS = 20000 };

static uintptr_t *in_use;

static bool is_free(uintptr_t hidden)
{
	int state = state_of(hidden);

	return state != KEPT_HINTED && state != KEPT_ALLOCATED && state != KEPT_SAMPLED;
}

/* Returns when most of some freed blocks that nothing refers to have been made free, which one cycle does: twice, for the first may have begun before. */
static NOINLINE void await_cycles(void)
{
	for (int round = 0; round < 2; round++) {
		uintptr_t baits[BAITS];
		struct timespec nap = {0, 1000000};
		int waited = 0, gone = 0;

		for (int i = 0; i < BAITS; i++)
			baits[i] = hide_block(SMALL);
		for (int i = 0; i < BAITS; i++)
			free_hidden(baits[i]);
		while (gone < BAITS / 2) {
			CHECK_LT(waited++, WITHIN_MS);
			nanosleep(&nap, NULL);
			gone = 0;
			for (int i = 0; i < BAITS; i++)
				gone += is_free(baits[i]);
		}
	}
}

TEST(cycles_are_quick, .options = "gctrace=1", .contains = "-quick ")
{
	await_cycles();
}

/* ---- what stays ---- */

static NOINLINE void check_held_by(uintptr_t *holder, size_t at, size_t offset)
{
	uintptr_t hidden = hide_block_dirty(SMALL);

	put_tagged(hidden, &holder[at], offset, 0);
	free_hidden(hidden);
	scrub();
	await_cycles();
	CHECK_EQ(state_of(hidden), KEPT_HINTED);
	CHECK_EQ(((unsigned char *)reveal(hidden))[20], 0x55);
}

TEST(what_a_root_refers_to_stays)
{
	static uintptr_t place[1];

	check_held_by(place, 0, 0);
}

#define HELD_TEST(name, ...) \
	static void name##_body(void) __VA_ARGS__ TEST(name) \
	{ \
		name##_body(); \
	}

/* The pair: without the pass over all blocks in use they are lost. (In the other tiers pages written meanwhile are read, or all blocks are for another reason.) */
#if CHECKS
#define PASS_TEST(name, ...) \
	HELD_TEST(name, __VA_ARGS__) \
	TEST(name##_twin, .options = "scan_off=marked:collector=stw", .exit_code = TEST_FAILED) \
	{ \
		name##_body(); \
	}
#else
#define PASS_TEST HELD_TEST
#endif

PASS_TEST(what_a_block_in_use_refers_to_stays, {
	in_use = malloc(HOLDER_WORDS * sizeof(*in_use));
	check_held_by(in_use, HOLDER_WORDS - 1, 0);
})

PASS_TEST(what_a_block_in_use_points_into_stays, {
	in_use = malloc(HOLDER_WORDS * sizeof(*in_use));
	check_held_by(in_use, 3, SMALL - 1);
})

PASS_TEST(what_a_large_block_refers_to_stays, {
	in_use = calloc(LARGE_WORDS, sizeof(*in_use));
	check_held_by(in_use, LARGE_WORDS / 2, 0);
})

PASS_TEST(what_a_leaked_block_refers_to_stays, {
	uintptr_t leaked = hide_block(HOLDER_WORDS * sizeof(*in_use));

	check_held_by(reveal(leaked), 5, 0);
})

static NOINLINE void make_chain(uintptr_t *holder, uintptr_t *chain, size_t count)
{
	for (size_t i = 0; i < count; i++)
		chain[i] = hide_block_dirty(SMALL);
	for (size_t i = 0; i + 1 < count; i++)
		put(chain[i + 1], reveal(chain[i]));
	put(chain[0], holder);
	for (size_t i = 0; i < count; i++)
		free_hidden(chain[i]);
}

/* ... of which each but the first is reached from a freed one. */
PASS_TEST(a_chain_of_freed_blocks_stays, {
	uintptr_t chain[100];

	in_use = malloc(HOLDER_WORDS * sizeof(*in_use));
	make_chain(in_use, chain, 100);
	await_cycles();
	for (int i = 0; i < 100; i++)
		CHECK_EQ(state_of(chain[i]), KEPT_HINTED);
})

/* ---- what goes ---- */

TEST(a_chain_of_freed_blocks_goes_when_nothing_refers_to_it)
{
	uintptr_t chain[100];
	int gone = 0;

	in_use = malloc(HOLDER_WORDS * sizeof(*in_use));
	make_chain(in_use, chain, 100);
	await_cycles();
	in_use[0] = 0;
	scrub();
	await_cycles();
	for (int i = 0; i < 100; i++)
		gone += is_free(chain[i]);
	CHECK_GT(gone, 90);
}

TEST(a_leaked_block_is_left_alone)
{
	uintptr_t leaked[BAITS];
	int gone = 0;

	for (int i = 0; i < BAITS; i++)
		leaked[i] = hide_block(SMALL);
	await_cycles();
	for (int i = 0; i < BAITS; i++)
		CHECK_EQ(((unsigned char *)reveal(leaked[i]))[20], 0x55);
	collect(); // that is a full one
	for (int i = 0; i < BAITS; i++)
		gone += is_free(leaked[i]);
	CHECK_GT(gone, BAITS / 2);
}
