#include "core/gc/leak_sums.h"

#include "core/base/arith.h"
#include "core/gc/leak_set.h"
#include "core/os/memory.h"

enum { FIRST_CAPACITY = 1024 };

static bool is_same_key(const struct leak_entry *a, const struct leak_entry *b)
{
	return a->stack == b->stack && a->slot_bytes == b->slot_bytes &&
	       a->is_indirect == b->is_indirect && a->parent == b->parent;
}

static size_t place_of(const struct leak_sums *sums, const struct leak_entry *key)
{
	uint64_t hash = ((uint64_t)key->stack << 32 ^ key->slot_bytes << 1 ^ key->is_indirect) *
			0x9e3779b97f4a7c15ull;
	size_t place;

	hash = (hash ^ key->parent) * 0x9e3779b97f4a7c15ull;
	place = (size_t)(hash >> 32) & (sums->capacity - 1);
	while (sums->list[place].blocks != 0 && !is_same_key(&sums->list[place], key))
		place = (place + 1) & (sums->capacity - 1);
	return place;
}

void leak_sums_release(struct leak_sums *sums)
{
	if (sums->list)
		os_unmap(sums->list, sums->capacity * sizeof(struct leak_entry));
	*sums = (struct leak_sums){0};
}

static bool grow(struct leak_sums *sums, size_t capacity)
{
	struct leak_sums larger = {
		os_map(capacity * sizeof(struct leak_entry)), capacity, sums->count};

	if (!larger.list)
		return false;
	for (size_t i = 0; i < sums->capacity; i++) {
		if (sums->list[i].blocks != 0)
			larger.list[place_of(&larger, &sums->list[i])] = sums->list[i];
	}
	leak_sums_release(sums);
	*sums = larger;
	return true;
}

struct leak_entry *leak_sums_add(struct leak_sums *sums, const struct leak_entry *entry)
{
	struct leak_entry *sum;

	if (2 * sums->count >= sums->capacity &&
		!grow(sums, sums->capacity ? 2 * sums->capacity : FIRST_CAPACITY))
		return 0;
	sum = &sums->list[place_of(sums, entry)];
	if (sum->blocks == 0) {
		*sum = *entry;
		sums->count++;
		return sum;
	}
	sum->blocks += entry->blocks;
	sum->bytes += entry->bytes;
	sum->reclaimed_blocks += entry->reclaimed_blocks;
	sum->reclaimed_bytes += entry->reclaimed_bytes;
	sum->first_ms = (uint32_t)min_u64(sum->first_ms, entry->first_ms);
	sum->last_ms = (uint32_t)max_u64(sum->last_ms, entry->last_ms);
	sum->cycles = (uint32_t)max_u64(sum->cycles, entry->cycles);
	return sum;
}

struct leak_entry *leak_sums_find(const struct leak_sums *sums, const struct leak_entry *key)
{
	struct leak_entry *sum = sums->capacity ? &sums->list[place_of(sums, key)] : 0;

	return sum && sum->blocks != 0 ? sum : 0;
}

uint64_t leak_sums_pack(struct leak_sums *sums)
{
	uint64_t blocks = 0;
	size_t count = 0;

	for (size_t i = 0; i < sums->capacity; i++) {
		if (sums->list[i].blocks == 0)
			continue;
		blocks += sums->list[i].blocks;
		sums->list[count++] = sums->list[i];
	}
	return blocks;
}

struct leak_entry leak_entry_of(const struct leaked *leaked)
{
	return (struct leak_entry){
		.stack = leaked->stack,
		.is_indirect = !(leaked->flags & LEAKED_ROOT),
		.slot_bytes = leaked->stack ? 0 : leaked_bytes(leaked),
		.blocks = 1,
		.bytes = leaked_bytes(leaked),
		.parent = LEAK_PARENT_NONE,
		.cycles = leaked->cycles,
		.first_ms = leaked->first_ms,
		.last_ms = leaked->first_ms,
		.address = leaked->address,
	};
}
