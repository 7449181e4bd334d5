/*
 * The batch is sorted by heapsort (no recursion, no worst case: it runs in a pause, with tens of thousands of threads in the worst), its overlaps
 * are joined, and one pass over list and batch writes the new list into the spare array.
 */
#include "core/gc/root_ranges.h"

#include "core/base/arith.h"
#include "core/base/check.h"

void root_ranges_clear(struct root_ranges *ranges)
{
	ranges->count = 0;
	ranges->batch_count = 0;
}

bool root_ranges_add(struct root_ranges *ranges, uintptr_t start, uintptr_t end, bool is_stack)
{
	if (start >= end)
		return true;
	if (ranges->batch_count == ranges->capacity)
		return false;
	ranges->batch[ranges->batch_count++] =
		(struct root_range){.start = start, .end = end, .is_stack = is_stack};
	return true;
}

static void sift_down(struct root_range *list, size_t root, size_t count)
{
	for (;;) {
		size_t child = 2 * root + 1;
		struct root_range moved;

		if (child >= count)
			return;
		if (child + 1 < count && list[child + 1].start > list[child].start)
			child++;
		if (list[root].start >= list[child].start)
			return;
		moved = list[root];
		list[root] = list[child];
		list[child] = moved;
		root = child;
	}
}

static void sort(struct root_range *list, size_t count)
{
	for (size_t i = count / 2; i > 0; i--)
		sift_down(list, i - 1, count);
	for (size_t last = count; last > 1; last--) {
		struct root_range first = list[0];

		list[0] = list[last - 1];
		list[last - 1] = first;
		sift_down(list, 0, last - 1);
	}
}

/* Joins neighbours that touch or overlap; returns how many are left. */
static size_t join(struct root_range *list, size_t count)
{
	size_t kept = 0;

	for (size_t i = 1; i < count; i++) {
		if (list[i].start > list[kept].end) {
			list[++kept] = list[i];
			continue;
		}
		list[kept].end = max_u64(list[kept].end, list[i].end);
		list[kept].is_stack &= list[i].is_stack;
	}
	return count ? kept + 1 : 0;
}

/* Appends to the spare array; false: no room. */
static bool put(struct root_ranges *ranges, size_t *count, struct root_range range)
{
	if (range.start >= range.end)
		return true;
	if (*count == ranges->capacity)
		return false;
	ranges->spare[(*count)++] = range;
	return true;
}

/* list and batch, both sorted and disjoint, into spare. */
static bool merge(struct root_ranges *ranges, uint32_t owner, size_t *ret_count)
{
	const struct root_range *list = ranges->list;
	uintptr_t taken = 0; // everything below is in spare already, or nobody's
	size_t count = 0;
	size_t at = 0;

	for (size_t i = 0; i < ranges->batch_count; i++) {
		struct root_range new = ranges->batch[i], part = new;

		part.owner = (uint16_t)owner;
		for (; at < ranges->count && list[at].start < new.end; at++) {
			part.start = max_u64(new.start, taken);
			part.end = list[at].start;
			if (!put(ranges, &count, part) || !put(ranges, &count, list[at]))
				return false;
			taken = list[at].end;
		}
		part.start = max_u64(new.start, taken);
		part.end = new.end;
		if (!put(ranges, &count, part))
			return false;
	}
	for (; at < ranges->count; at++) {
		if (!put(ranges, &count, list[at]))
			return false;
	}
	*ret_count = count;
	return true;
}

bool root_ranges_fold(struct root_ranges *ranges, uint32_t owner)
{
	struct root_range *old = ranges->list;
	bool merged;

	sort(ranges->batch, ranges->batch_count);
	ranges->batch_count = join(ranges->batch, ranges->batch_count);
	merged = merge(ranges, owner, &ranges->count);
	ranges->batch_count = 0;
	if (!merged)
		return false;
	ranges->list = ranges->spare;
	ranges->spare = old;
	for (size_t i = 1; CHECKS && i < ranges->count; i++)
		check(ranges->list[i - 1].end <= ranges->list[i].start);
	return true;
}

size_t root_ranges_find(const struct root_ranges *ranges, uintptr_t address)
{
	size_t low = 0;
	size_t high = ranges->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (ranges->list[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
