/*
 * Which parts of the heap the program wrote lately, in chunks of 2 MiB: these a pause looks at, all others are looked at after it (SOUNDNESS of that:
 * concurrent.h). Collector thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Memory for a window of that many bytes. False: none; then all of it is hot. */
bool hot_ranges_prepare(uint64_t window_bytes);

/* Nothing is hot, unless all is, which stays so until hot_ranges_prepare(). */
void hot_ranges_clear(void);
void hot_ranges_add_all(void);

/* Every chunk that [start, end) touches is hot: offsets from the window's start. */
void hot_ranges_add(uint64_t start, uint64_t end);

/*
 * Calls visit(start, end, argument) for each longest run of chunks of [0, end) that are hot (is_hot), or that are not; the last run ends at `end`. A false from
 * visit ends it, and is returned.
 */
bool hot_ranges_for_each(bool is_hot, uint64_t end,
	bool (*visit)(uint64_t start, uint64_t end, void *argument), void *argument);
