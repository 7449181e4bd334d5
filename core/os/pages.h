/*
 * Which pages hold something, and reads of them that cannot fault. Collector thread; needs proc_open().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum page_choice {
	PAGES_OWN, // private memory: pages present or swapped out, that are not the file's nor the zero page
	PAGES_SHARED, // shared memory: present, swapped, or in the page cache (mincore)
	PAGES_WHOLE, // shared memory with pages on disk, nobody tells which: all pages; a failure if too many are neither present nor cached
	PAGES_PRESENT // only what is present or swapped, the file's pages too
};

/*
 * Calls visit(start, end, argument) for each run of such pages in [start, end), ascending; a page without contents is never touched. A false from
 * visit ends the walk. False: it was ended so, or the page tables could not be read.
 */
bool pages_for_each(uintptr_t start, uintptr_t end, enum page_choice choice,
	bool (*visit)(uintptr_t start, uintptr_t end, void *argument), void *argument);

/*
 * Until pages_release() no page of this process changes (a pause): one question about the page tables may serve many ranges, up to `top`, but for those where
 * nobody will ask: find_skipped(address) returns the start of the first of them that ends above the address, UINTPTR_MAX if there is none.
 */
void pages_hold(uintptr_t top, uintptr_t (*find_skipped)(uintptr_t address));
void pages_release(void);

/* Between these two: all pages of [start, end) are in memory. False also if nobody can tell. */
bool pages_are_present(uintptr_t start, uintptr_t end);

/* True when the page at that address is present, swapped out or in the page cache, or nobody can tell. May be called from within a visit. */
bool page_has_contents(uintptr_t page);

/*
 * Asked after a pass over pages, in the same pause: false if pages may have been missed, for the page tables are closed to us, only mincore told what is
 * present, and something is swapped out.
 */
bool pages_were_all_told(void);

/* True when the kernel answers PAGEMAP_SCAN (Linux 6.7); else /proc/PID/pagemap is read, 8 bytes a page. */
bool pages_scan_is_fast(void);

/* The category of guard pages, which hold nothing and look swapped out, if the kernel tells it (Linux 6.15); else 0. */
uint64_t pages_guard_category(void);

/* Called now and then during long walks (NULL: nothing): the collector's sign of life. */
void pages_set_beat(void (*beat)(void));
void pages_beat(void);

/* Tests only: do without PAGEMAP_SCAN. */
void pages_scan_set_fast(bool fast);

struct iovec;

/* Copies several pieces of memory (at most 1024), one behind the other. False: not all of it; read them one by one with memory_read(). */
bool memory_read_pieces(void *buffer, const struct iovec *pieces, size_t count, size_t bytes);

/*
 * Copies memory of this process. Pages without read permission are read through /proc/PID/mem. Never faults; false when any byte could not be
 * read (the page is gone, or the kernel refuses): then the buffer's contents are undefined.
 */
bool memory_read(void *buffer, uintptr_t address, size_t bytes);

/* True when a load of the word at that address cannot fault: for memory of which the kernel gives no copy (memfd_secret). Makes the page present. */
bool memory_may_be_touched(uintptr_t address);
