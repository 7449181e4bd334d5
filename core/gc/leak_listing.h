/*
 * A set of blocks as the list of a report: by origin, the direct ones first, in an order that is the same in every run (a hash of the stack by names of files and offsets in
 * them), then what they alone hold, by holder and origin. A block that several hold is counted under the first of them in that order. So two runs of the same program
 * give the same list, whatever addresses the kernel chose. Lock CYCLE.
 *
 * What was taken back has no holder any more: it is listed under none.
 */
#pragma once

#include "core/gc/leak_set.h"
#include "core/gc/leak_sums.h"

#include <stdbool.h>
#include <stdint.h>

/* Initialised with the two inputs, the rest 0. */
struct leak_listing {
	struct leak_set *set;
	const struct leak_sums *reclaimed; // sums of what was taken back before

	struct leak_sums direct,
		indirect; // the list: entries [0, count); `parent` is a place in `direct`
	uint64_t *held_blocks, *held_bytes; // by entry of `direct`; NULL: no memory
	uint64_t dropped;                   // blocks that are in no sum

	struct leak_sums origins;
	uint64_t *order; // of each block's origin
	uint32_t *owner; // of each block, an index in the set
	bool is_folded;  // owners are known
};

/* False: it is not whole, for want of memory. */
bool leak_listing_make(struct leak_listing *listing);
void leak_listing_release(struct leak_listing *listing);

/* The sum of the entry's origin, directly held or not, with its order; NULL: no memory. Before leak_listing_release(), for blocks that are in no set as well. */
struct leak_entry *leak_listing_origin(
	struct leak_listing *listing, const struct leak_entry *entry);

/* The order of entries with an `order`: by holder, then alike in every run. */
bool leak_listing_is_before(const void *left, const void *right);

/* Packs a table of such entries and brings it into their order. */
void leak_listing_sort(struct leak_sums *sums);
