/*
 * Who holds what among leaked blocks, told alike in every run: not by addresses, which the kernel chooses anew each time, but by an order of the blocks' origins that the
 * caller gives. Lock CYCLE.
 */
#pragma once

#include "core/gc/leak_set.h"

/*
 * Finds the direct leaks: of each ring of blocks that no other leaked block refers to, one, that of the lowest order (then the largest); a block to which none
 * refers is a ring of its own. They get the flag LEAKED_ROOT. ret_owner[i] becomes the index of the one that block i is counted under: itself, or the first in the
 * order from which it is reached. Both arrays have set->count entries, after leak_set_sort(). False: no memory, or references could not be read.
 */
bool leak_owners_find(struct leak_set *set, const uint64_t *order, uint32_t *ret_owner);
