/*
 * Bringing every other task of the process to a standstill: who is asked, how, and when all have answered. The collector's half of the protocol that
 * world.c tells; only world_stop() calls it, with signals blocked.
 */
#pragma once

#include "core/gc/world.h"

#include <stdbool.h>
#include <stdint.h>

/* Room for all records there are and as many new ones again. Before the stop. False: no memory. */
bool stop_tasks_reserve(void);

/* Stop `number` begins: nobody was asked yet. */
void stop_tasks_begin(uint32_t number);

/*
 * True: every task there is stands still, or has no user state; with may_count, if stop_tasks_were_all() confirms it. timeout_ns counts in the collector's own
 * wake-ups. False also when the stop was abandoned.
 */
bool stop_tasks_all(uint64_t timeout_ns, bool may_count);

/* After the stop is over, and before the next: it was true. */
bool stop_tasks_were_all(void);

/* Why not, in the stop that was begun last. */
enum world_failure stop_tasks_failure(void);

/* One of those who did not answer; false: all did. */
bool stop_tasks_find_silent(int32_t *ret_tid);
