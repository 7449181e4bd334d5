/*
 * The live heap by allocation site (stack id), and how it went: counted in full cycles, among the blocks that were reached and have a stack. Where only samples
 * have one each stands for as many as its size makes likely (1 / (1 - exp(-size / mean)), as in tcmalloc and Go).
 *
 * The collector's: guard is the lock CYCLE.
 */
#pragma once

#include "core/base/trend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One site. blocks == 0: nothing of it lives. */
struct site {
	uint32_t stack;
	uint32_t history; // 1 + index of its history, 0: none
	double blocks, bytes;
	double variance; // of bytes, as an estimate
};

/* The next full cycle counts, whenever the last count was. */
void sites_demand(void);

/*
 * After a full verdict, with spans still MARKING: counts if somebody asked or the last count is long enough ago (a second, and twenty times what it took). Not in the pause.
 */
void sites_count(void);

/* Every site of which something lives, in no order; visit() returns false to end the walk. */
void sites_for_each(bool (*visit)(const struct site *site, void *argument), void *argument);

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
 * What sites_count() is made of: begin (false: no memory), a block of each site, of which a share is sampled (1: all), end. And the end of everything, for tests.
 */
bool sites_begin(void);
void sites_add(uint32_t stack, uint64_t bytes, double share);
void sites_end(uint64_t now_ns);
void sites_release(void);
