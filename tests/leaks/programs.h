/*
 * For the programs st, mt and so: work that leaks nothing, and stack that holds nothing afterwards.
 */
#pragma once

#include "tests/leaks/shape.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Pairs of malloc and free of changing sizes, from functions of several depths: some 60 ns each, which is the worst case for whoever looks at each. */
KEEP static void *churn_take(unsigned depth, size_t bytes)
{
	void *block;

	if (depth > 0) {
		block = churn_take(depth - 1, bytes);
		use(block);
		return block;
	}
	return malloc(bytes);
}

/* Writes the whole block and reads some of it, as who asks for a block does. */
KEEP static uint32_t churn_use(void *block, size_t bytes, uint32_t sum)
{
	unsigned char *text = memset(block, (int)sum & 0xff, bytes);

	for (size_t i = 0; i < bytes && i < 64; i++)
		sum = (sum ^ text[i]) * 16777619;
	return sum;
}

KEEP static __attribute__((unused)) void churn(unsigned long pairs)
{
	void *ring[16] = {NULL};
	uint32_t sum = 0;

	for (unsigned long i = 0; i < pairs; i++) {
		free(ring[i % 16]);
		ring[i % 16] = churn_take(i % 5, 16 + i % 31 * 8);
		sum = churn_use(ring[i % 16], 16 + i % 31 * 8, sum);
	}
	for (int i = 0; i < 16; i++) {
		free(ring[i]);
		ring[i] = NULL;
	}
	use(ring);
	use(&sum);
}

KEEP static void programs_wipe(void)
{
	WIPE_STACK(256 * 1024);
}

KEEP static void programs_run_below(void (*run)(void))
{
	char room[32 * 1024];

	use(room);
	run();
	use(room);
}

/* Runs the function far below the caller and wipes what it used. */
KEEP static __attribute__((unused)) void programs_run(void (*run)(void))
{
	programs_run_below(run);
	programs_wipe();
}
