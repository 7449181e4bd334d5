/*
 * Page heap: runs of free units. Best fit by size bins, runs that may still hold pages first; neighbours coalesce through boundary tags in the
 * span descriptors. Pages go back to the kernel on a decay (page_heap_purge), never the addresses.
 * Lock: PAGE_HEAP, inside. All functions: signals blocked by the caller.
 */
#pragma once

#include "core/heap/heap.h"
#include "core/os/memory.h"

/* Figures, read without a lock (each is written under the lock, relaxed). */
struct page_heap_stats {
	size_t used_unit_count;    // in spans
	size_t dropped_unit_count; // of these, without pages: page_heap_note_dropped()
	size_t dirty_unit_count;   // free, may hold pages
	size_t clean_unit_count;   // free, known to hold none
	size_t moved_span_count; // spans whose pages mremap has moved, each up to two kernel mappings of its own; by atomic addition
	uint64_t purged_unit_count;
	uint64_t
		examined_count; // runs and units looked at one by one: what the lock's holder spends its time on
};

/* Finds room for a window of this size and everything that describes it, `meta` included: where it lies is decided here. */
bool page_heap_init(size_t window_bytes, struct region *meta, bool reserve);

/*
 * A span of `unit_count` units, address a multiple of alignment_units units (a power of two), entered in the map. Its states are FREE, its marks
 * set (a cycle under way counts it as visited), place SPAN_CURRENT, sweep SWEPT, or MARKING while a cycle marks beside the program (a large span: BUSY, until
 * the caller has stored its state and calls page_heap_end_birth()). span->fresh tells whether its memory is known to be zero. NULL: out of memory.
 */
struct span *page_heap_alloc(unsigned class, size_t unit_count, size_t alignment_units);
void page_heap_end_birth(struct span *span);

/*
 * Around the moving of pages by mremap. False: not while the window is watched (see page_heap_end_moves). Any thread; it is short.
 */
bool page_heap_begin_move(void);
void page_heap_end_move(void);

/*
 * The window is going to be watched by userfaultfd: no pages are moved from now on. mremap over several of the kernel's mappings moves the first and refuses
 * the second then (Linux 6.17), and nobody can tell how far it came. Waits for moves under way; false: one takes longer than `patience_ns`.
 */
bool page_heap_end_moves(uint64_t patience_ns);

/* The window is not watched (any more). */
void page_heap_allow_moves(void);

/* In a fork child, where no other thread moves. */
void page_heap_forget_moves(void);

/* From now on, or no longer, a cycle marks beside the program: spans are born MARKING, and no block gives pages to another. */
void page_heap_set_marking(bool is_marking);

/* Takes the units back. The caller proved that no slot is occupied and owns the span (BUSY or current, and in no list). Units whose protection the
 * program changed are lost if no fresh pages can be had for them. */
void page_heap_free(struct span *span);

/* Pages of the span were moved by mremap. By its owner. */
void page_heap_note_moved(struct span *span);

/* The pages of this span, all of whose blocks are hinted, were given back. By its owner. */
void page_heap_note_dropped(struct span *span);

/* Bytes of all spans but those. Any thread. */
uint64_t page_heap_used_bytes(void);

/* Adds the free run behind a large span to it, up to unit_count units in all. False (unchanged) when it is too short. */
bool page_heap_grow_in_place(struct span *span, size_t unit_count);

/* Cuts a large span after unit_count units; the rest becomes a large span of its own with its slot in `state`. NULL without metadata, and while a cycle
 * marks: what the rest refers to may not have been read yet. */
struct span *page_heap_split(struct span *span, size_t unit_count, enum slot_state state);

/* The range of addresses in which the heap's pages lie and will lie for now: all that is reserved, or what is mapped so far. */
void page_heap_window(uintptr_t *ret_start, uintptr_t *ret_end);

/* Gives the reserved address space of the window and its descriptors back; what is used stays. */
void page_heap_unreserve(void);

/* Gives pages of free runs back until at most dirty_limit units are dirty; pages that the kernel refuses to take do not count as such any more. Returns units given back. */
size_t page_heap_purge(size_t dirty_limit);

/* The dirty units that nobody wanted since the last call: the fewest there were. */
size_t page_heap_take_idle(void);

const struct page_heap_stats *page_heap_stats(void);

/* In a child that ran no fork handlers: if the lock was held, free runs may be half changed. None of them is used again, and the heap must not be walked:
 * returns false. */
bool page_heap_repair(void);

/* Address space step by which the window grows, for tests. */
struct lock *page_heap_lock(void);
