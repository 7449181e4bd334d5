/*
 * The batch is sorted by heapsort (no recursion, no worst case: it runs in a pause, with tens of thousands of threads in the worst), its overlaps
 * are joined, and one pass over list and batch writes the new list into the spare array.
 */
#include "core/gc/root_ranges.h"

#include "core/base/check.h"

void root_ranges_clear(struct root_ranges *ranges)
{
	ranges->count = 0;
	ranges->batch_count = 0;
}

bool root_ranges_add(struct root_ranges *ranges, uintptr_t start, uintptr_t end)
{
	if (start >= end)
		return true;
	if (ranges->batch_count == ranges->capacity)
		return false;
	ranges->batch[ranges->batch_count++] = (struct root_range){.start = start, .end = end};
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
		if (list[i].start > list[kept].end)
			list[++kept] = list[i];
		else if (list[i].end > list[kept].end)
			list[kept].end = list[i].end;
	}
	return count ? kept + 1 : 0;
}

/* Appends to the spare array; false: no room. */
static bool put(
	struct root_ranges *ranges, size_t *count, uintptr_t start, uintptr_t end, uint32_t owner)
{
	if (start >= end)
		return true;
	if (*count == ranges->capacity)
		return false;
	ranges->spare[(*count)++] = (struct root_range){start, end, owner};
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
		struct root_range new = ranges->batch[i];

		for (; at < ranges->count && list[at].start < new.end; at++) {
			uintptr_t from = new.start > taken ? new.start : taken;

			if (list[at].start > from &&
				!put(ranges, &count, from, list[at].start, owner))
				return false;
			if (!put(ranges, &count, list[at].start, list[at].end, list[at].owner))
				return false;
			taken = list[at].end;
		}
		if (!put(ranges, &count, new.start > taken ? new.start : taken, new.end, owner))
			return false;
	}
	for (; at < ranges->count; at++) {
		if (!put(ranges, &count, list[at].start, list[at].end, list[at].owner))
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
