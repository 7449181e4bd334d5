/*
 * The optional interface (preload/gasket.h).
 */
#define GASKET_API EXPORT
#include "core/base/attr.h"

#include "preload/gasket.h"

#include "core/alloc/alloc.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/ignored.h"
#include "core/gc/leak_check.h"
#include "core/gc/root_regions.h"
#include "core/heap/heap.h"

int gasket_collect(void)
{
	return cycle_collect();
}

int gasket_block_state(const void *block)
{
	struct slot slot;

	return heap_find_block((uintptr_t)block, &slot) ? load_relaxed(slot_state(slot)) : -1;
}

static bool has_collector(void)
{
	return alloc_init() && options.collector != COLLECTOR_OFF;
}

void gasket_ignore(const void *pointer)
{
	ignored_add(pointer);
}

size_t gasket_leak_check(void)
{
	return has_collector() && options.leaks != LEAKS_OFF ? leak_check_now("off", 0) : 0;
}

int gasket_add_root(const void *start, size_t bytes)
{
	return has_collector() && root_regions_add((uintptr_t)start, bytes);
}

int gasket_remove_root(const void *start, size_t bytes)
{
	return has_collector() && root_regions_remove((uintptr_t)start, bytes);
}
