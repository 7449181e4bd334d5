/*
 * State groups. Runs come from the end of two regions that grow together; freed runs wait in one list per length, linked through their own first
 * word of marks (index of the next run's first group; 0 ends the list, so group 0 is never handed out). Not through state bytes: a misuse free that
 * looked a span up before its release may still look at them, and must find FREE.
 */
#include "core/heap/groups.h"

#include "core/heap/heap.h"
#include "core/os/memory.h"

enum {
	GROUPS_MAX = (SPAN_SLOTS_MAX + 63) / 64,
	GROUP_SLOTS = 64,
	STATES_STEP = 256 * 1024,
	MARKS_STEP = 64 * 1024
};

static struct {
	struct region states;
	struct region marks;
	uint32_t used;                      // groups handed out so far, from the start
	uint32_t free_runs[GROUPS_MAX + 1]; // by length: first group of the first run
} groups;

bool groups_init(size_t window_bytes, bool reserve)
{
	size_t capacity = window_bytes / GRANULE_BYTES;

	if (!region_init(&groups.states, capacity, OS_PAGE_BYTES, STATES_STEP, reserve))
		return false;
	if (!region_init(&groups.marks, capacity / 8, OS_PAGE_BYTES, MARKS_STEP, reserve))
		return false;
	heap.states = (uint8_t *)groups.states.base;
	heap.marks = (uint64_t *)groups.marks.base;
	groups.used = 1;
	return true;
}

void groups_unreserve(void)
{
	region_unreserve(&groups.states);
	region_unreserve(&groups.marks);
}

static uint64_t *run_link(uint32_t first)
{
	return &heap.marks[first];
}

bool groups_alloc(uint32_t count, uint32_t *ret_first)
{
	uint32_t first = groups.free_runs[count];

	check(count >= 1 && count <= GROUPS_MAX);
	if (first != 0) {
		groups.free_runs[count] = (uint32_t)*run_link(first);
	} else {
		first = groups.used;
		if (!region_grow(&groups.states, (size_t)(first + count) * GROUP_SLOTS) ||
			!region_grow(&groups.marks, (size_t)(first + count) * sizeof(uint64_t)))
			return false;
		groups.used += count;
	}
	for (uint32_t i = 0; i < count; i++)
		store_relaxed(&heap.marks[first + i], UINT64_MAX);
	*ret_first = first;
	return true;
}

void groups_free(uint32_t first, uint32_t count)
{
	uint64_t *states = (uint64_t *)(heap.states + (size_t)first * GROUP_SLOTS);

	for (uint32_t i = 0; i < count * (GROUP_SLOTS / 8); i++)
		store_relaxed(&states[i], 0);
	*run_link(first) = groups.free_runs[count];
	groups.free_runs[count] = first;
}
