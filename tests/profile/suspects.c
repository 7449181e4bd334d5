/*
 * stacks=suspects, as a program meets it: from the first verdict that finds a block of a size leaked, blocks of that size have stacks, in every thread, and no
 * others have.
 */
#include "tests/gc/hidden.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { SIZE = 472, OTHER_SIZE = 872, LARGE = 3 << 20, BLOCKS = 40 };

static NOINLINE int state_of_new(size_t size)
{
	return state_of(hide_block(size));
}

/* The first allocation of a thread is sampled. */
static NOINLINE void take_first_sample(void)
{
	free(malloc(16));
}

static NOINLINE void leak(size_t size)
{
	for (volatile int i = 0; i < BLOCKS; i++)
		hide_block(size);
	scrub();
}

static NOINLINE int states(size_t size, int state)
{
	int count = 0;

	for (volatile int i = 0; i < BLOCKS; i++)
		count += state_of_new(size) == state;
	return count;
}

TEST(blocks_of_a_size_that_leaks_have_stacks_from_then_on)
{
	take_first_sample();
	CHECK_EQ(states(SIZE, KEPT_ALLOCATED), BLOCKS);
	collect();
	CHECK_EQ(states(SIZE, KEPT_SAMPLED), BLOCKS);
	CHECK_EQ(states(OTHER_SIZE, KEPT_ALLOCATED), BLOCKS);
}

TEST(large_ones_too)
{
	take_first_sample();
	CHECK_EQ(state_of_new(LARGE), KEPT_ALLOCATED);
	collect();
	CHECK_EQ(state_of_new(LARGE), KEPT_SAMPLED);
	CHECK_EQ(state_of_new(4 * LARGE), KEPT_ALLOCATED);
}

TEST(nothing_is_suspected_where_nothing_leaks)
{
	void *blocks[BLOCKS];

	take_first_sample();
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = malloc(SIZE);
	for (volatile int i = 0; i < 3; i++)
		collect();
	CHECK_EQ(states(SIZE, KEPT_ALLOCATED), BLOCKS);
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

TEST(sampled_stacks_do_not_suspect, .options = "stacks=sampled")
{
	take_first_sample();
	leak(SIZE);
	collect();
	CHECK_EQ(states(SIZE, KEPT_ALLOCATED), BLOCKS);
}

/* A thread that has slots of the size at hand when its class is suspected. */
static struct {
	int wake[2], done[2];
	bool is_busy;
	volatile bool may_go_on;
	int state;
} other;

static void *allocate_later(void *argument)
{
	char byte;

	take_first_sample();
	free(malloc(SIZE));
	CHECK_EQ(write(other.done[1], "", 1), 1);
	if (other.is_busy) {
		while (!other.may_go_on)
			free(malloc(64));
		// two words' worth
		for (volatile int i = 0; i < 128; i++)
			free(malloc(64));
	} else {
		CHECK_EQ(read(other.wake[0], &byte, 1), 1);
	}
	other.state = state_of_new(SIZE);
	return argument;
}

static int state_in_other_thread(bool is_busy)
{
	pthread_t thread;
	char byte;

	other.is_busy = is_busy;
	CHECK_EQ(pipe(other.wake), 0);
	CHECK_EQ(pipe(other.done), 0);
	CHECK_EQ(pthread_create(&thread, NULL, allocate_later, NULL), 0);
	CHECK_EQ(read(other.done[0], &byte, 1), 1);
	leak(SIZE);
	collect();
	other.may_go_on = true;
	CHECK_EQ(write(other.wake[1], "", 1), 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return other.state;
}

TEST(a_thread_that_slept_meanwhile_takes_a_stack_at_once)
{
	CHECK_EQ(state_in_other_thread(false), KEPT_SAMPLED);
}

TEST(a_thread_that_worked_meanwhile_does_soon)
{
	CHECK_EQ(state_in_other_thread(true), KEPT_SAMPLED);
}

TEST(a_suspected_size_is_allocated_and_freed_as_ever)
{
	enum { LIVE = 500, ROUNDS = 400000 };
	static unsigned char *live[LIVE];

	leak(SIZE);
	collect();
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned char **place = &live[i * 2654435761u % LIVE];

		if (*place) {
			CHECK_EQ((*place)[0], (unsigned char)(uintptr_t)place);
			CHECK_EQ((*place)[SIZE - 1], (*place)[0]);
			free(*place);
		}
		*place = malloc(SIZE);
		(*place)[0] = (*place)[SIZE - 1] = (unsigned char)(uintptr_t)place;
	}
}
