/*
 * Blocks that are no leaks because the program says so (__lsan_ignore_object, __lsan_disable, gasket_ignore), and what they hold.
 */
#pragma once

#include "core/heap/heap.h"

#include <stdbool.h>
#include <stdint.h>

struct marker;

/*
 * The block that `pointer` points into (any address of it) is a root until it is freed or reallocated. False: no block in use, no memory, or there is no
 * collector. Any thread; blocks signals inside.
 */
bool ignored_add(const void *pointer);

/* The block is an ordinary one again. Any thread. */
void ignored_remove(const void *pointer);

/* In a pause, after the preset: marks every ignored block and queues it. */
void ignored_mark(struct marker *marking);

/* Calls visit for each ignored block of a span in use. In a pause, or in a copy of the process. */
void ignored_for_each(
	struct span *span, void (*visit)(struct slot slot, void *argument), void *argument);
