/*
 * Between collector.c and the rooms beside it; for others there is cycle.h.
 */
#pragma once

#include <stdbool.h>

/*
 * Runs one cycle from start to end. The lock CYCLE is held, signals are blocked. `may_be_quick`: nobody wants to know of leaks. True: it gave a verdict.
 */
bool cycle_run_locked(bool may_be_quick);

/* Runs one cycle in the calling thread, which is the collector's (in a static test program, any), and wakes who waits for its end. True: it gave a verdict. */
bool collector_run_cycle(bool may_be_quick);

/* The program waits for a cycle to end: its only thread has reached the hard limit, and is not in a handler. Any thread. */
bool collector_is_awaited(void);

/* For the collector's thread while it waits for something else: runs a cycle if program threads want freed memory back and one is due. */
void collector_serve(void);
