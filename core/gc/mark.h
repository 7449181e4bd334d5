/*
 * Marking: words become slots, slots become work. Any address inside an occupied slot keeps it; a word that merely looks like a pointer costs
 * memory, never safety. Collector thread only.
 */
#pragma once

#include "core/heap/heap.h"

struct marker;

/* The one marker of the process. */
extern struct marker marker;

/*
 * Tries each word as it is and, if its top 17 bits are in use, with them masked (tags, NaN boxes); marks and queues what it names. Words are the
 * caller's copy. Work queued is done by mark_drain().
 */
void mark_words(struct marker *marker, const uintptr_t *words, size_t count);

/* Memory for the queue, mapped before the pause. False: no memory, no cycle. */
bool mark_prepare(struct marker *marker);

/* Sets the mark of every slot that is free, clears all others; spans become MARKING and are listed. In the pause (stop-the-world tier).
 * False: more spans than there was room for. */
bool mark_preset(void);

/* The spans listed by mark_preset(). Until mark_set_spans() moves them on none of them is released. */
void mark_for_each_span(void (*visit)(struct span *span, void *argument), void *argument);

/* MARKING -> UNSWEPT (a verdict) or SWEPT (none). */
void mark_set_spans(enum sweep_state state);

/* Reads marked blocks until the queue is empty. Running out of queue is repaired by walking the heap. False when a block could not be read. */
bool mark_drain(struct marker *marker);

/* Gives the queue's pages back. */
void mark_finish(struct marker *marker);

struct mark_stats {
	uint64_t marked_count;
	uint64_t marked_bytes;
	uint64_t overflow_count; // walks of the heap after a full queue
	uint64_t unreadable_count;
};
extern struct mark_stats mark_stats;
