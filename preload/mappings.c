/*
 * Calls by which the program takes pages away from its own blocks (a guard page in a stack that came from malloc). The collector reads blocks by plain loads, in
 * a pause (and for a moment longer if the pause was abandoned, because the collector got no CPU for long) and beside the program. So these calls first say which
 * pages they are about, and wait until nobody reads there. Live stacks are read so too, but only in a pause: for them, and for all other memory, it is enough to wait
 * while an abandoned one is not over.
 * What they change is found by comparing mappings at each collection (core/gc/roots.c).
 */
#include "preload/mappings.h"

#include "core/base/arith.h"
#include "core/gc/cycle.h"
#include "core/gc/mark.h"
#include "core/gc/tracked_roots.h"
#include "core/gc/world.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"
#include "core/os/tracking.h"
#include "preload/real.h"

#include <stdarg.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 // Linux 6.13
#endif

static void before_change(const void *address, size_t bytes)
{
	uintptr_t start = (uintptr_t)address;

	if (UNLIKELY(heap_contains(start) || (bytes > 0 && heap_contains(start + bytes - 1))))
		mark_keep_off(start, bytes);
	world_wait_out_abandonment();
}

EXPORT int mprotect(void *address, size_t bytes, int protection)
{
	before_change(address, bytes);
	return REAL(mprotect)(address, bytes, protection);
}

EXPORT int pkey_mprotect(void *address, size_t bytes, int protection, int key)
{
	before_change(address, bytes);
	return REAL(pkey_mprotect)(address, bytes, protection, key);
}

/* Only a fixed address can be one of ours. */
EXPORT void *mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset)
{
	if ((flags & MAP_FIXED) != 0)
		before_change(address, bytes);
	return REAL(mmap)(address, bytes, protection, flags, file, offset);
}

EXPORT void *mmap64(
	void *address, size_t bytes, int protection, int flags, int file, off64_t offset)
{
	if ((flags & MAP_FIXED) != 0)
		before_change(address, bytes);
	return REAL(mmap64)(address, bytes, protection, flags, file, offset);
}

EXPORT int madvise(void *address, size_t bytes, int advice)
{
	if (advice == MADV_GUARD_INSTALL)
		before_change(address, bytes);
	return REAL(madvise)(address, bytes, advice);
}

EXPORT int munmap(void *address, size_t bytes)
{
	before_change(address, bytes);
	return REAL(munmap)(address, bytes);
}

/* The new address counts only with MREMAP_FIXED; its register may be read in any case. */
EXPORT void *mremap(void *address, size_t old_bytes, size_t bytes, int flags, ...)
{
	va_list list;
	void *target;

	va_start(list, flags);
	target = va_arg(list, void *);
	va_end(list);
	before_change(address, old_bytes);
	if ((flags & MREMAP_FIXED) != 0)
		before_change(target, bytes);
	return REAL(mremap)(address, old_bytes, bytes, flags, target);
}

void mappings_before_ioctl(unsigned long request)
{
	if (UNLIKELY((uint32_t)request == TRACKING_OF_PROGRAM) && tracked_roots_give_way())
		cycle_collect();
}
