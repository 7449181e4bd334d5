/*
 * Ranges that the program has named as roots (__lsan_register_root_region, gasket_add_root). They are read whatever else is known of them: a range inside a
 * block of the heap that nothing refers to, or in the dead part of a stack, counts too.
 */
#pragma once

#include "core/gc/roots.h"
#include "core/os/lock.h"

/* False: no memory. The range may be named several times, and may have no memory yet. Any thread; blocks signals inside. */
bool root_regions_add(uintptr_t start, size_t bytes);

/* Takes back one call of root_regions_add() with the same arguments. False: there was none. */
bool root_regions_remove(uintptr_t start, size_t bytes);

/* In a pause, before anything but what is ours and the heap is claimed: hands all of it that holds something to the sink, perhaps only with a later call of the reader. False: failure (set). */
bool root_regions_scan(struct root_scan *scan);

/* For fork. */
struct lock *root_regions_lock(void);
