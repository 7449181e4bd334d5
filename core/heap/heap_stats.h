/*
 * Heap figures. Each counter is a relaxed atomic, added to in slow paths; sums are exact when nobody runs.
 */
#pragma once

#include <stdint.h>

struct heap_stats {
	uint64_t large_bytes;       // in large spans
	uint64_t reused_hint_count; // hinted slots made free by a verdict
	uint64_t reused_hint_bytes;
	uint64_t trusted_hint_bytes;    // hinted slots made free without one (no-verdict policy)
	uint64_t unreported_hint_bytes; // hinted by threads that ended; the pacer takes them over
	uint64_t double_free_count;     // misuse, counted and ignored
	uint64_t interior_free_count;
	uint64_t foreign_free_count; // not our address
	uint64_t unused_free_count;  // our window, but no block there
};

extern struct heap_stats heap_stats;
