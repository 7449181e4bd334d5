/*
 * One open-addressing table that only grows. Keys: a stack is 2^63 + id; a class and age is 2^62 + class * 256 + age; a whole class the same with
 * age 255. Large blocks have a class for each power of two of their size.
 *
 * Without stacks, blocks of one class are told apart by the age of their span, so that what the program made at its start and hides is not in
 * one group with what leaks today. Ages are few and coarse (start, then each 16 times longer than the last), or a steady leak would leave one
 * group for the next before it has grown often enough. That the class leaks *now* is asked of the class as a whole.
 */
#include "core/gc/leak_groups.h"

#include "core/os/memory.h"

enum { FIRST_CAPACITY = 1024, AGE_WHOLE_CLASS = 255, AGE_SHIFT = 4 };

#define KEY_STACK ((uint64_t)1 << 63)
#define KEY_CLASS ((uint64_t)1 << 62)

static struct {
	struct leak_group *list; // open addressing; capacity is a power of two
	size_t capacity;
	size_t count;
	uint32_t observations;
	uint64_t last_ms;
	bool any_growth;
	uint8_t stopped_classes[256];
} groups;

static size_t place_of(const struct leak_group *list, size_t capacity, uint64_t key)
{
	size_t place = (size_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & (capacity - 1);

	while (list[place].key != 0 && list[place].key != key)
		place = (place + 1) & (capacity - 1);
	return place;
}

/* Places change, so this happens between cycles only: leak_groups_begin() makes room. */
static bool make_room(void)
{
	size_t capacity = groups.capacity ? 4 * groups.capacity : FIRST_CAPACITY;
	struct leak_group *larger = os_map(capacity * sizeof(struct leak_group));

	if (!larger)
		return false;
	for (size_t i = 0; i < groups.capacity; i++) {
		if (groups.list[i].key != 0)
			larger[place_of(larger, capacity, groups.list[i].key)] = groups.list[i];
	}
	for (size_t i = 0; i < capacity; i++) {
		uint64_t key = larger[i].key;

		if (key & KEY_CLASS && (key & 0xff) != AGE_WHOLE_CLASS)
			larger[i].parent =
				(uint32_t)place_of(larger, capacity, key | AGE_WHOLE_CLASS);
	}
	if (groups.list)
		os_unmap(groups.list, groups.capacity * sizeof(struct leak_group));
	groups.list = larger;
	groups.capacity = capacity;
	return true;
}

void leak_groups_begin(void)
{
	if (groups.count >= groups.capacity / 4)
		make_room();
	for (size_t i = 0; i < groups.capacity; i++) {
		groups.list[i].blocks = 0;
		groups.list[i].bytes = 0;
	}
}

struct leak_group *leak_group_get(uint32_t index)
{
	return &groups.list[index];
}

static uint32_t find_or_add(uint64_t key)
{
	size_t place;

	if (groups.capacity == 0)
		return GROUP_NONE;
	place = place_of(groups.list, groups.capacity, key);
	if (groups.list[place].key == 0) {
		// the rest is for groups that come later in this cycle; leak_groups_begin() makes more room for the next
		if (groups.count >= groups.capacity - groups.capacity / 8)
			return GROUP_NONE;
		groups.list[place] = (struct leak_group){.key = key, .parent = GROUP_NONE};
		groups.count++;
	}
	return (uint32_t)place;
}

unsigned leak_class_of(struct slot slot)
{
	return block_class_of(slot_bytes(slot));
}

/* The observation at which the first leaked block was seen in the span's present life. */
static unsigned age_of(struct slot slot)
{
	unsigned age = 1;

	if (slot.span->birth_cycle == 0)
		slot.span->birth_cycle = groups.observations + 1;
	if (slot.span->birth_cycle == 1)
		return 0;
	for (uint32_t stamp = slot.span->birth_cycle >> AGE_SHIFT; stamp != 0; stamp >>= AGE_SHIFT)
		age++;
	return age;
}

static void count_in(uint32_t index, const struct leaked *leaked)
{
	struct leak_group *group = &groups.list[index];

	group->blocks++;
	group->bytes += leaked_bytes(leaked);
	if (leaked->stack != 0)
		group->sample = leaked->stack;
}

uint32_t leak_groups_add(const struct leaked *leaked, struct slot slot, bool by_stack)
{
	uint64_t class_key = KEY_CLASS | (uint64_t)leak_class_of(slot) << 8;
	uint32_t index, parent;

	if (by_stack && leaked->stack != 0) {
		index = find_or_add(KEY_STACK | leaked->stack);
		if (index != GROUP_NONE)
			count_in(index, leaked);
		return index;
	}
	parent = find_or_add(class_key | AGE_WHOLE_CLASS);
	index = find_or_add(class_key | age_of(slot));
	if (parent == GROUP_NONE || index == GROUP_NONE)
		return GROUP_NONE;
	groups.list[index].parent = parent;
	if (groups.stopped_classes[leak_class_of(slot)])
		groups.list[index].is_stopped = true;
	count_in(parent, leaked);
	count_in(index, leaked);
	return index;
}

static void observe_group(struct leak_group *group)
{
	uint64_t blocks = group->blocks + group->gone_blocks;
	uint64_t bytes = group->bytes + group->gone_bytes;
	bool grew = blocks > group->observed_blocks && bytes > group->observed_bytes;

	if (!group->was_observed || !grew)
		group->growths = 0;
	else if (group->growths < UINT32_MAX)
		group->growths++;
	if (group->growths >= GROUP_GROWTHS_MIN)
		group->is_proven = true;
	if (group->was_observed && grew)
		groups.any_growth = true;
	group->was_observed = true;
	group->observed_blocks = blocks;
	group->observed_bytes = bytes;
}

bool leak_groups_observe(uint64_t now_ms, uint64_t interval_ms)
{
	if (groups.observations != 0 && now_ms - groups.last_ms < interval_ms)
		return false;
	groups.observations++;
	groups.last_ms = now_ms;
	groups.any_growth = false;
	for (size_t i = 0; i < groups.capacity; i++) {
		if (groups.list[i].key != 0)
			observe_group(&groups.list[i]);
	}
	return true;
}

bool leak_group_is_growing(uint32_t index)
{
	const struct leak_group *group;
	bool grows;

	if (index == GROUP_NONE)
		return false;
	group = &groups.list[index];
	// what was taken back counts too, or the rest of every leak would stay
	if (group->is_stopped || (group->blocks + group->gone_blocks < GROUP_BLOCKS_MIN &&
					 group->bytes + group->gone_bytes < GROUP_BYTES_MIN))
		return false;
	if (group->parent == GROUP_NONE)
		return group->growths >= GROUP_GROWTHS_MIN;
	grows = groups.list[group->parent].growths >= GROUP_GROWTHS_MIN;
	return grows && group->is_proven;
}

bool leak_groups_any_growth(void)
{
	return groups.any_growth;
}

static void stop_class(unsigned class)
{
	groups.stopped_classes[class] = 1;
	for (size_t i = 0; i < groups.capacity; i++) {
		if (groups.list[i].key & KEY_CLASS && ((groups.list[i].key >> 8) & 0xff) == class)
			groups.list[i].is_stopped = true;
	}
}

void leak_groups_stop(uint32_t stack, unsigned class, bool by_stack)
{
	uint32_t index = stack != 0 ? find_or_add(KEY_STACK | stack) : GROUP_NONE;

	if (index != GROUP_NONE)
		groups.list[index].is_stopped = true;
	// with sampled stacks most blocks of the site have none
	if (index == GROUP_NONE || !by_stack)
		stop_class(class);
}

void leak_groups_after_fork(void)
{
	for (size_t i = 0; i < groups.capacity; i++) {
		groups.list[i].growths = 0;
		groups.list[i].was_observed = false;
	}
	groups.observations = 0;
}
