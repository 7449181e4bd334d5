/*
 * Time. Monotonic, by raw system call, so that a preload that fakes the clock does not move ours.
 */
#pragma once

#include <stdint.h>

#define NS_PER_US ((uint64_t)1000)
#define NS_PER_MS ((uint64_t)1000000)
#define NS_PER_S ((uint64_t)1000000000)

/* Nanoseconds since an arbitrary start. Never fails, async-signal-safe. */
uint64_t clock_now_ns(void);

/* CPU time used by the calling thread, nanoseconds. */
uint64_t clock_thread_cpu_ns(void);

/* That of all threads together. */
uint64_t clock_process_cpu_ns(void);
