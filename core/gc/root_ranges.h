/*
 * Who reads which range of addresses: a sorted list of disjoint ranges with owners, built in batches. Whoever comes first keeps a range; later
 * batches get what is left. Memory is given by the caller, so that none is needed in a pause.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROOT_OWNER_NOBODY = 255 };

struct root_range {
	uintptr_t start;
	uintptr_t end;
	uint16_t owner; // a scanner's index, or ROOT_OWNER_NOBODY
	bool is_stack;  // of a stopped thread, which is ours as long as it stands
};

struct root_ranges {
	struct root_range *list; // sorted, disjoint
	size_t count;
	struct root_range *batch; // not sorted yet, one owner
	size_t batch_count;
	struct root_range *spare; // where list and batch are merged
	size_t capacity;          // of each of the three
};

/* Empties the list. */
void root_ranges_clear(struct root_ranges *ranges);

/* Puts [start, end) into the batch; an empty range is nothing. What overlaps in a batch is a stack if all of it is. False: no room. */
bool root_ranges_add(struct root_ranges *ranges, uintptr_t start, uintptr_t end, bool is_stack);

/* Merges the batch into the list as ranges of `owner`, but for what is owned already. False: no room; the list is as before. */
bool root_ranges_fold(struct root_ranges *ranges, uint32_t owner);

/* Index of the first range whose end is above the address; `count` if there is none. */
size_t root_ranges_find(const struct root_ranges *ranges, uintptr_t address);
