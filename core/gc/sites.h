/*
 * The live heap by allocation site (stack id), and how it went: counted in full cycles, among the blocks that were reached and have a stack. Where only samples
 * have one each stands for as many as its size makes likely (1 / (1 - exp(-size / mean)), as in tcmalloc and Go). Beside them all blocks are counted by size, which
 * needs no stacks and has no error: where a slow leak hides between the samples its size tells.
 *
 * The collector's: guard is the lock CYCLE.
 */
#pragma once

#include "core/base/trend.h"
#include "core/heap/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In place of a stack: all blocks of a class of sizes. Stack ids are smaller. */
#define SITE_OF_SIZE ((uint32_t)1 << 31)

/* One site. blocks == 0: nothing of it lives. */
struct site {
	uint32_t stack;   // or SITE_OF_SIZE and the class
	uint32_t history; // 1 + index of its history, 0: none
	double blocks, bytes;
	double variance; // of bytes, as an estimate
};

/* The next full cycle counts, whenever the last count was. */
void sites_demand(void);

/*
 * By a full verdict: is a count wanted (somebody asked, or the last one is long enough ago: a second, and twenty times what it took), then begun? The sampled slots of a group of 64 that
 * were reached, before what was not is marked; and the end.
 */
bool sites_begin_count(void);
void sites_count_group(struct span *span, uint32_t group, uint64_t sampled);
void sites_end_count(void);

/* Every site of which something lives, in no order, but those of sizes. */
void sites_for_each(void (*visit)(const struct site *site, void *argument), void *argument);

/* The same for those of sizes. */
void sites_for_each_size(void (*visit)(const struct site *site, void *argument), void *argument);

/* What blocks of that size occupy; of large ones the power of two that is not more. */
uint64_t site_slot_bytes(const struct site *site);

/* The verdict counts by size: from the start, and so many live blocks of a span. */
void sites_begin_sizes(void);
void sites_add_size(const struct span *span, uint64_t blocks, uint64_t bytes);

/* The history of a site up to the last count, in the order of time, at most TREND_POINTS_MAX points; their number. Times are milliseconds of the process. */
size_t site_history(const struct site *site, struct trend_point *ret_points);

/* The times of all histories' points. */
size_t sites_times(uint64_t *ret_ms);

/* When the last count was, 0: never. */
uint64_t sites_counted_ms(void);

/* Sites and histories that found no room so far. */
uint64_t sites_dropped(void);

/* Milliseconds since the process began to count time; clock_now_ns() is `now_ns`. */
uint64_t sites_ms(uint64_t now_ns);

/*
 * What a count is made of: begin (false: no memory), a block of each site, of which a share is sampled (1: all), end. And the end of everything, for tests.
 */
bool sites_begin(void);
void sites_add(uint32_t stack, uint64_t bytes, double share);
void sites_end(uint64_t now_ns);
void sites_release(void);
