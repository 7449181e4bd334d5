/*
 * Which blocks are reached, but not by a chain of exact words (exact_words.h)? In a child that is a copy of the process (copy.h), before whose making roots_prepare() was
 * called. Once.
 */
#pragma once

#include "core/gc/leak_set.h"

#include <stdbool.h>
#include <stdint.h>

enum { POSSIBLE_BLOCKS_MAX = 1 << 18 };

/*
 * Fills the set, which is empty, with those of them that the program has not freed, at most POSSIBLE_BLOCKS_MAX; *ret_dropped: how many more there are. False: nothing can be
 * said (no memory, a root or a block that could not be read, or the kernel may hold pointers that nobody can ask for).
 */
bool possible_walk(struct leak_set *set, uint64_t *ret_dropped);
