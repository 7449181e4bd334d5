/*
 * PAGEMAP_SCAN, an ioctl of /proc/PID/pagemap since Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst): its names are our own, for the distribution's
 * headers may know them or not. An answer is a list of runs; always with a list, for without one the kernel fills holes with page tables.
 */
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>

enum {
	SCAN_IS_WATCHED = 1 << 0, // in a range registered for asynchronous write protection
	SCAN_IS_WRITTEN = 1 << 1, // not protected
	SCAN_IS_FILE = 1 << 2,
	SCAN_IS_PRESENT = 1 << 3,
	SCAN_IS_SWAPPED = 1 << 4,
	SCAN_IS_PFNZERO = 1 << 5,
	SCAN_IS_GUARD = 1 << 8, // since Linux 6.15
	SCAN_PROTECT = 1 << 0,  // a flag: write-protects what it finds, in the same step
};

struct scan_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct scan_argument {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vector;
	uint64_t vector_length;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define SCAN_REQUEST _IOWR('f', 16, struct scan_argument)
