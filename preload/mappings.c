/*
 * Calls by which the program takes pages away from its own blocks (a guard page in a stack that came from malloc). The collector reads blocks by plain loads,
 * in a pause; if a pause was abandoned, because the collector got no CPU for long, it goes on reading until it sees that. So these calls wait for that moment.
 * What they change is found by comparing mappings at each collection (core/gc/roots.c).
 */
#include "core/base/arith.h"
#include "core/gc/world.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"
#include "preload/real.h"

#include <stdarg.h>
#include <sys/mman.h>

static void before_change(const void *address, size_t bytes)
{
	uintptr_t start = (uintptr_t)address;

	if (UNLIKELY(heap_contains(start) || (bytes > 0 && heap_contains(start + bytes - 1))))
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
	return REAL(mremap)(address, old_bytes, bytes, flags, target);
}
