/*
 * Large roots that need not be read while the program stands still: private memory that lies nowhere in the heap (a virtual machine's own heap, an arena from mmap). The kernel tells
 * which of its pages are written, as it does for the heap (os/tracking.h). For the concurrent tier; one cycle:
 *
 *	first pause	the pass over the roots leaves such memory out, and notes it			ROOT_TRACKING_NOTE
 *	beside		each range is watched and protected, then read but for blank pages (blank_pages.h); what was written is read again
 *	last pause	of what was noted only pages are read that were written since, or are not watched	ROOT_TRACKING_USE
 *
 * Nothing depends on what is noted: what cannot be watched, or became something else meanwhile, is read whole in the last pause. A page is protected before it is
 * read, and WRITTEN stays until it is protected anew, which is followed by a read: so at the last pause an unwritten page holds what was read.
 *
 * Collector thread only, but for what says so.
 */
#pragma once

#include "core/gc/roots.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The program is about to watch memory itself, and would be refused what we watch: no more of it outside the heap from the next cycle on. True: there may be some
 * until that has begun. Any thread.
 */
bool tracked_roots_give_way(void);

/* Before a cycle: true if that is still to be done, with the list of mappings as it is. */
bool tracked_roots_must_go(void);
void tracked_roots_let_go(const struct maps *maps);

/* A pass over the roots begins. */
void tracked_roots_begin(enum root_tracking tracking);

/* In that pass: reads [start, end) of the mapping, which no other scanner claims, or what of it is to be read now. False: failure (set). */
bool tracked_roots_read(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end);

/* Between the pauses: watches what was noted, and marks what it refers to. False: told to end by `may_go_on`, which is asked now and then. */
bool tracked_roots_mark(struct marker *marker, bool (*may_go_on)(void));

/* Between the pauses: marks what those pages refer to that were written since they were last asked for. Returns their size in bytes. */
uint64_t tracked_roots_mark_written(struct marker *marker);

/* Bytes that the last tracked_roots_mark() was about, and those of them that it had to read. */
uint64_t tracked_roots_bytes(void);
uint64_t tracked_roots_bytes_read(void);

/* What was noted, in the order of addresses; NULL when `index` is past the last. */
const struct root_range *tracked_roots_range(size_t index);
