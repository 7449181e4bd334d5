/*
 * Between cycle.c and collector.c.
 */
#pragma once

#include <stdbool.h>

/* Runs one cycle from start to end. The lock CYCLE is held, signals are blocked. True: it gave a verdict. */
bool cycle_run_locked(void);
