/*
 * Sampled stacks: each block has one with the same chance, whatever is allocated and freed beside it. With free=trust the slots that were freed last are handed out
 * again by the fast path; nobody's share of the samples may go to somebody else by that.
 */
#include "tests/gc/hidden.h"

#include <math.h>
#include <pthread.h>

enum { MEAN = 2000, SIZE = 100, SLOT = 112, COUNT = 20000, BURST = 16 };

static void *blocks[COUNT];

static int samples_among(size_t from, size_t step)
{
	int count = 0;

	for (size_t i = from; i < COUNT; i += step)
		count += state_of(~(uintptr_t)blocks[i]) == KEPT_SAMPLED;
	return count;
}

/* So many as are expected of every step-th block, give or take five standard deviations. */
static void check_share(size_t from, size_t step)
{
	double share = 1 - exp(-(double)SLOT / MEAN), blocks_asked = COUNT / (double)step;
	double expected = share * blocks_asked, most = 5 * sqrt(expected * (1 - share));
	int found = samples_among(from, step);

	CHECK_MSG(fabs(found - expected) < most,
		"%d samples of %.0f blocks, from %zu on: expected %.0f, give or take %.0f", found,
		blocks_asked, from, expected, most);
}

static void *keep(size_t number)
{
	return blocks[number] = malloc(SIZE);
}

TEST(of_blocks_that_stay)
{
	for (size_t i = 0; i < COUNT; i++)
		keep(i);
	check_share(0, 1);
}

TEST(of_a_block_after_one_that_was_freed)
{
	for (size_t i = 0; i < COUNT; i++) {
		free(malloc(SIZE));
		keep(i);
	}
	check_share(0, 1);
}

TEST(of_a_block_before_one_that_is_freed)
{
	for (size_t i = 0; i < COUNT; i++) {
		void *other;

		keep(i);
		other = malloc(SIZE);
		free(other);
	}
	check_share(0, 1);
}

TEST(of_a_block_after_one_of_two_that_were_freed)
{
	for (size_t i = 0; i < COUNT; i++) {
		void *first = malloc(SIZE), *second = malloc(SIZE), *third;

		free(first);
		free(second);
		third = malloc(SIZE);
		keep(i);
		free(third);
	}
	check_share(0, 1);
}

/* As many as a LIFO holds are freed, and as many taken: each place in the burst has its share. */
static void take_bursts(size_t burst)
{
	void *freed[BURST];

	for (size_t i = 0; i < burst; i++)
		freed[i] = malloc(SIZE);
	for (size_t at = 0; at + burst <= COUNT; at += burst) {
		for (size_t i = 0; i < burst; i++)
			free(freed[i]);
		for (size_t i = 0; i < burst; i++)
			keep(at + i);
		for (size_t i = 0; i < burst; i++)
			freed[i] = malloc(SIZE);
	}
}

TEST(of_each_place_in_a_burst)
{
	take_bursts(4);
	for (size_t place = 0; place < 4; place++)
		check_share(place, 4);
}

TEST(of_each_place_in_a_long_burst)
{
	take_bursts(BURST);
	for (size_t place = 0; place < BURST; place++)
		check_share(place, BURST);
}

/* More is freed than was paid for: what is freed many times over must not be paid for as often. */
TEST(of_what_comes_after_a_thread_has_freed_much)
{
	enum { FREED = 5000 };
	static void *freed[FREED];

	for (size_t at = 0; at + FREED / 5 <= COUNT; at += FREED / 5) {
		for (size_t i = 0; i < FREED; i++)
			freed[i] = malloc(SIZE);
		for (size_t i = 0; i < FREED; i++)
			free(freed[i]);
		for (size_t i = 0; i < FREED / 5; i++)
			keep(at + i);
	}
	check_share(0, 1);
}

static void *free_all(void *argument)
{
	for (size_t i = 0; i < COUNT; i++)
		free(blocks[i]);
	return argument;
}

TEST(of_what_other_threads_have_freed)
{
	for (int round = 0; round < 3; round++) {
		pthread_t thread;

		for (size_t i = 0; i < COUNT; i++)
			keep(i);
		check_share(0, 1);
		CHECK_EQ(pthread_create(&thread, NULL, free_all, NULL), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
}

/* A large block of a length that is taken and freed all the time. */
TEST(of_large_blocks)
{
	enum { LARGE = 100000, LARGE_COUNT = 2000 };

	for (int i = 0; i < LARGE_COUNT; i++) {
		void *block = malloc(LARGE);

		CHECK_EQ(state_of(~(uintptr_t)block), KEPT_SAMPLED);
		free(block);
	}
}
