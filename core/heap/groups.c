/*
 * State groups. Runs come from the end of two regions that grow together, downwards: groups have the numbers -1, -2 and so on. Freed runs wait in one list per
 * length, linked through their own first word of marks (number of the next run's first group; 0 ends the list). Not through state bytes: a misuse free
 * that looked a span up before its release may still look at them, and must find FREE.
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
	uint32_t used;                     // groups handed out so far: down to the number -used
	int32_t free_runs[GROUPS_MAX + 1]; // by length: first group of the first run
} groups;

struct region *groups_states_region(size_t window_bytes)
{
	groups.used = 0;
	groups.states =
		(struct region){.capacity = window_bytes / GRANULE_BYTES, .step = STATES_STEP};
	return &groups.states;
}

struct region *groups_marks_region(size_t window_bytes)
{
	groups.marks =
		(struct region){.capacity = window_bytes / GRANULE_BYTES / 8, .step = MARKS_STEP};
	return &groups.marks;
}

void groups_unreserve(void)
{
	region_unreserve(&groups.states);
	region_unreserve(&groups.marks);
}

uint32_t groups_count(void)
{
	return load_relaxed(&groups.used);
}

static uint64_t *run_link(int32_t first)
{
	return &heap.marks[first];
}

bool groups_alloc(uint32_t count, int32_t *ret_first)
{
	int32_t first = groups.free_runs[count];

	check(count >= 1 && count <= GROUPS_MAX);
	if (first != 0) {
		groups.free_runs[count] = (int32_t)*run_link(first);
	} else {
		size_t used = groups.used + count;

		if (!region_grow(&groups.states, used * GROUP_SLOTS) ||
			!region_grow(&groups.marks, used * sizeof(uint64_t)))
			return false;
		store_relaxed(&groups.used, (uint32_t)used);
		first = -(int32_t)used;
	}
	for (int32_t i = 0; i < (int32_t)count; i++)
		store_relaxed(&heap.marks[first + i], UINT64_MAX);
	*ret_first = first;
	return true;
}

void groups_free(int32_t first, uint32_t count)
{
	uint64_t *states = (uint64_t *)(heap.states + (intptr_t)first * GROUP_SLOTS);

	for (uint32_t i = 0; i < count * (GROUP_SLOTS / 8); i++)
		store_relaxed(&states[i], 0);
	*run_link(first) = (uint64_t)groups.free_runs[count];
	groups.free_runs[count] = first;
}
