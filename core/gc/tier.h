/*
 * Which way a cycle takes, by what the last ones took: the world is stopped where that is short, else the heap is marked beside the program, else in a copy; and
 * none of it where any pause would be longer than pause_max_ms. A tier that did not work is left alone for a while. By the CPU time of the collector: a busy
 * machine must not lock us out.
 *
 * The holder of the lock CYCLE calls.
 */
#pragma once

#include "core/gc/cycle.h"

#include <stdbool.h>
#include <stdint.h>

struct root_scan;

/*
 * For the cycle that begins. `is_awaited`: the program waits for its end, and does nothing else meanwhile. STATS_TIER_NONE: no pause of any tier would be short
 * enough.
 */
enum stats_tier tier_choose(bool is_quick, bool is_awaited);

/* A pass over the roots took so long. */
void tier_learn_roots(const struct root_scan *scan, uint64_t cpu_ns);

/* `bytes` of roots were read beside the program. */
void tier_learn_tracked_roots(uint64_t bytes, uint64_t cpu_ns);

/* A heap of `heap_bytes` was marked, completely. */
void tier_learn_mark(bool is_quick, uint64_t cpu_ns, uint64_t heap_bytes);

/* The process was copied, as large as it was when the tier was chosen. */
void tier_learn_clone(uint64_t cpu_ns);

/* The cycle is marked, or failed to. */
void tier_note_end(const struct cycle_result *result);

/* Of roots, read by the last pass over all. */
uint64_t tier_root_bytes(void);
