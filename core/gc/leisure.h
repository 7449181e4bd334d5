/*
 * How a cycle goes about its work beside the program. Never longer than a quarter of a millisecond without a nap (a whole one where it waits for the processor so
 * long that its share would be missed): a thread of the program that wants the
 * processor we are on gets it then, not when the scheduler's slice is over (which is 4 ms), and what little we do fits between what others do.
 *
 * A cycle that nobody waits for (the clock asked for it: interval_ms, leaks) takes no more than cpu_percent of the CPUs, and rests between (100: never). Who frees memory or
 * lets the heap grow is served with naps. As soon as somebody waits or soon will (too much was freed, a command, a fork, the end), it goes on at full speed.
 *
 * The share is kept by the CPU time of the calling thread. One cycle at a time; the caller holds the lock CYCLE.
 */
#pragma once

#include <stdint.h>

enum leisure {
	LEISURE_NONE, // full speed
	LEISURE_NAPS,
	LEISURE_FULL, // no more than the share
};

/* CPUs the process may use, of which cpu_percent is a share. */
void leisure_set_cpus(unsigned count);

/* A cycle begins. */
void leisure_begin(enum leisure level);

/* No more leisure than `most` from now on, until the next leisure_begin(). Returns what there is. */
enum leisure leisure_hurry(enum leisure most);

/* Nanoseconds that the calling thread, which has worked since the last call, is to rest now; 0: goes on. The rest counts as begun. */
uint64_t leisure_due_ns(void);
