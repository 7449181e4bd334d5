/*
 * Which pages were written: userfaultfd's asynchronous write protection (the kernel notes the write and lets it happen; nobody is asked, no write fails) and
 * PAGEMAP_SCAN. Linux 6.7 or later, no privilege needed. Collector thread only, whose table of descriptors both files belong to.
 *
 * A page that was registered and never protected counts as written; so does one that came into being since. What is not seen: writes through another
 * mapping of the same memory, and by devices into pages pinned before.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* True: it works here, which was tried by a round trip (once; the answer is kept). proc_open() comes first. */
bool tracking_open(void);

/* True between tracking_open() and tracking_close(). */
bool tracking_is_open(void);

/* Ends all tracking. Takes 15 ms per 512 MiB of protected pages, in which the program's faults wait. */
void tracking_close(void);

/* In a fork child: the descriptor was another table's and is gone, and the ranges are not registered. */
void tracking_forget(void);

/* Watches [start, end), of whole pages, from now on; what is watched already stays so. False: the kernel refuses (memory of another kind lies there, or the
 * program watches it itself). */
bool tracking_register(uintptr_t start, uintptr_t end);

/* Ends that for all of [start, end), whatever lies there: of this process's own watching only if nobody else watches. Best effort. */
void tracking_unregister(uintptr_t start, uintptr_t end);

/* The request of ioctl by which a program begins to watch memory itself: UFFDIO_API. The kernel allows one watcher of a mapping. */
#define TRACKING_OF_PROGRAM 0xc018aa3ful

enum tracking_harvest {
	HARVEST_PROTECT, // written pages that are watched; from the moment of the answer they count as not written
	HARVEST_WRITTEN,   // the same pages; changes nothing
	HARVEST_UNWATCHED, // pages that nobody watches (moved here by mremap, mapped since), which must count as written whatever their bit says; changes nothing
};

/*
 * Calls visit(start, end, argument) for runs of such pages that hold something, in the order of addresses. The range is asked in pieces: no call holds the
 * program's faults up for long. False: the kernel refused, or visit returned false.
 */
bool tracking_harvest(uintptr_t start, uintptr_t end, enum tracking_harvest how,
	bool (*visit)(uintptr_t start, uintptr_t end, void *argument), void *argument);

/*
 * All of [start, end) counts as written, and is written without a fault until the next HARVEST_PROTECT. Takes 0.1 us for each page that was protected, a tenth
 * of the fault of its first write. Best effort: pages that the kernel leaves protected stay watched.
 */
void tracking_release(uintptr_t start, uintptr_t end);
