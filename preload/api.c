/*
 * The optional interface (preload/gasket.h).
 */
#define GASKET_API EXPORT
#include "core/base/attr.h"

#include "preload/gasket.h"

#include "core/gc/cycle.h"
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
