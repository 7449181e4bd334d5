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

/*
 * Memory for the queue, mapped before the pause. False: no memory, no cycle. `is_quick`: the mark answers for hinted blocks only. All others are marked from the
 * start, and read in the order of their addresses instead of as they are found: what a hinted block is reached from is that, or another hinted one.
 */
bool mark_prepare(struct marker *marker, bool is_quick);

/* Sets the mark of every slot that is free (quick: not hinted), clears all others; spans become MARKING and are listed. In the pause (stop-the-world tier).
 * False: more spans than there was room for. */
bool mark_preset(void);

/*
 * The same beside the program, span by span, after page_heap_set_marking(true): whoever holds a span BUSY is waited for, `patience_ns` in all. False also when
 * the mark may not go on. Signals blocked.
 */
bool mark_preset_beside(uint64_t patience_ns);

/* Lists every span that is MARKING anew, those born meanwhile included. After page_heap_set_marking(false). False: no memory. */
bool mark_list_spans(void);

/* MARKING -> SWEPT for all spans, listed or not: no verdict. After page_heap_set_marking(false). */
void mark_drop_spans(void);

/*
 * From now on blocks are read while the program runs; may_go_on is asked all the time, and ends the mark by returning false. NULL: no longer, or in a pause.
 */
void mark_set_beside(struct marker *marker, bool (*may_go_on)(void));

/* While `pace` is set it is called some thousand times a second of marking, and may sleep. NULL: no longer. Not in a pause. */
void mark_set_pace(struct marker *marker, void (*pace)(void));

/* Reads again what of [start, end), part of the heap window, lies in slots that are marked and in use. False: a piece could not be read, or the mark may not go
 * on. */
bool mark_reread(struct marker *marker, uintptr_t start, uintptr_t end);

/* A thread of the program is about to take pages of the heap away: they are not read by plain loads from now on. Any thread, no lock held; waits for the time
 * of a few blocks. */
void mark_keep_off(uintptr_t address, size_t bytes);

/* Calls of mark_keep_off() so far. */
uint32_t mark_kept_off_count(void);

/* In a fork child: no mark is under way. */
void mark_fork_child(void);

/*
 * Checking builds, in a pause, after a complete mark: whatever a marked block in use refers to is marked. Ends the process if not. Only with scribble=1: a block
 * born into the mark is not read until it is written, and its former contents, which the program cannot ask for, would count.
 */
void mark_check_closed(void);

/* Checking builds, in a pause: no word that was tried since the mark was complete has named anything new. Ends the process if not. */
void mark_check_done(struct marker *marker);

/* The spans listed by mark_preset(). Until mark_set_spans() moves them on none of them is released. */
void mark_for_each_span(void (*visit)(struct span *span, void *argument), void *argument);

/* MARKING -> UNSWEPT (a verdict) or SWEPT (none). */
void mark_set_spans(enum sweep_state state);

/* Reads marked blocks until the queue is empty. Running out of queue is repaired by walking the heap. False when a block could not be read. */
bool mark_drain(struct marker *marker);

/* Before a snapshot: all that was named so far is marked, not only noted to be. */
void mark_flush(struct marker *marker);

/* In the child that is a snapshot: all spans that are MARKING are listed, every marked slot that is in use is read, and what it reaches. False as above, or no memory. */
bool mark_all_again(struct marker *marker);

/* Sets the marks that are set in `marks`, which are numbered as heap.marks, for the spans listed by mark_preset_beside(): nobody else changes those. */
void mark_add(const uint64_t *marks);

/* Something could not be read, or the mark was told to end. */
bool mark_has_failed(const struct marker *marker);

/* Gives the queue's pages back. */
void mark_finish(struct marker *marker);

struct mark_stats {
	uint64_t overflow_count; // walks of the heap after a full queue
	uint64_t unreadable_count;
};
extern struct mark_stats mark_stats;
