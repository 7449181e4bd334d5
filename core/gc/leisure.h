/*
 * A cycle that nobody waits for (the clock asked for it: interval_ms, leaks) goes about its work at leisure: where it marks beside the program it takes no more than
 * cpu_percent of the CPUs, and rests between. As soon as somebody wants it (freed memory is needed again, a command, a fork, the end), it goes on at
 * full speed.
 *
 * The share is kept by the CPU time of the calling thread in slices of some milliseconds. One cycle at a time; the caller holds the lock CYCLE.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* CPUs the process may use, of which cpu_percent is a share. */
void leisure_set_cpus(unsigned count);

/* A cycle begins. */
void leisure_begin(bool is_at_leisure);

/* From now on at full speed, until the next leisure_begin(). */
void leisure_end(void);

bool is_at_leisure(void);

/* Nanoseconds that the calling thread, which has worked since the last call, is to rest now; 0: goes on. The rest counts as begun. */
uint64_t leisure_due_ns(void);
