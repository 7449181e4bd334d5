/*
 * Blocks that are no leaks because the program says so (__lsan_ignore_object, __lsan_disable, gasket_ignore), and what they hold.
 */
#pragma once

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
