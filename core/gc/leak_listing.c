/*
 * Origins are gathered first, with their orders; then direct ones are listed and origins learn their places, by which what is held finds its holder.
 */
#include "core/gc/leak_listing.h"

#include "core/base/arith.h"
#include "core/base/sort.h"
#include "core/gc/leak_owners.h"
#include "core/os/memory.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"

#define HASH_FACTOR 0x9e3779b97f4a7c15ull

/* ---- the order of origins ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * HASH_FACTOR;
	return hash ^ hash >> 32;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = mix(hash, (unsigned char)*text);
	return hash;
}

static uint64_t order_of(const struct leak_entry *entry)
{
	const struct stack *stack = stack_table_get(entry->stack);
	uint64_t hash = mix(0, entry->slot_bytes);

	for (uint32_t i = 0; stack && i < stack->depth; i++) {
		const struct module *module =
			module_find_in_epoch(stack->frames[i] - 1, stack->epoch);

		if (module)
			hash = mix_text(hash, module->path);
		hash = mix(hash, stack->frames[i] - (module ? module->bias : 0));
	}
	return hash;
}

static struct leak_entry origin_of(struct leak_entry entry)
{
	entry.is_indirect = 0;
	entry.parent = LEAK_PARENT_NONE;
	return entry;
}

struct leak_entry *leak_listing_origin(struct leak_listing *listing, const struct leak_entry *entry)
{
	struct leak_entry origin = origin_of(*entry), *sum;

	sum = leak_sums_add(&listing->origins, &origin);
	if (sum && sum->order == 0) {
		sum->order = order_of(sum) | 1;
		sum->place = LEAK_PARENT_NONE;
	}
	return sum;
}

static bool list_origins(struct leak_listing *listing)
{
	const struct leak_sums *reclaimed = listing->reclaimed;
	bool done = true;

	for (size_t i = 0; i < listing->set->count; i++) {
		struct leak_entry entry = leak_entry_of(&listing->set->list[i]), *sum;

		sum = leak_listing_origin(listing, &entry);
		listing->order[i] = sum ? sum->order : 0;
		done &= sum != 0;
	}
	for (size_t i = 0; i < reclaimed->capacity; i++) {
		if (reclaimed->list[i].blocks != 0)
			done &= leak_listing_origin(listing, &reclaimed->list[i]) != 0;
	}
	return done;
}

/* ---- the list ---- */

static void add_to(struct leak_listing *listing, struct leak_sums *sums, struct leak_entry entry)
{
	struct leak_entry key = origin_of(entry);
	const struct leak_entry *origin = leak_sums_find(&listing->origins, &key);

	entry.order = origin ? origin->order : 0;
	if (!leak_sums_add(sums, &entry))
		listing->dropped += entry.blocks;
}

bool leak_listing_is_before(const void *left, const void *right)
{
	const struct leak_entry *a = left, *b = right;

	if (a->parent != b->parent)
		return a->parent < b->parent;
	if (a->order != b->order)
		return a->order < b->order;
	return a->slot_bytes != b->slot_bytes ? a->slot_bytes < b->slot_bytes : a->stack < b->stack;
}

void leak_listing_sort(struct leak_sums *sums)
{
	leak_sums_pack(sums);
	sort_items(sums->list, sums->count, sizeof(sums->list[0]), leak_listing_is_before);
}

/* Blocks that are there come before those taken back, so that a sample address is one of theirs. */
static void list_direct(struct leak_listing *listing)
{
	const struct leak_sums *reclaimed = listing->reclaimed;

	for (size_t i = 0; i < listing->set->count; i++) {
		struct leak_entry entry = leak_entry_of(&listing->set->list[i]);

		if (!entry.is_indirect)
			add_to(listing, &listing->direct, entry);
	}
	for (size_t i = 0; i < reclaimed->capacity; i++) {
		if (reclaimed->list[i].blocks != 0 && !reclaimed->list[i].is_indirect)
			add_to(listing, &listing->direct, reclaimed->list[i]);
	}
	leak_listing_sort(&listing->direct);
	for (uint32_t i = 0; i < listing->direct.count; i++) {
		struct leak_entry key = origin_of(listing->direct.list[i]), *origin;

		origin = leak_sums_find(&listing->origins, &key);
		if (origin)
			origin->place = i;
	}
}

/* The place in the list of what block number `block` is counted under. */
static uint32_t place_of_owner(const struct leak_listing *listing, size_t block)
{
	struct leak_entry key;
	const struct leak_entry *origin;

	if (!listing->is_folded || listing->owner[block] >= listing->set->count)
		return LEAK_PARENT_NONE;
	key = origin_of(leak_entry_of(&listing->set->list[listing->owner[block]]));
	origin = leak_sums_find(&listing->origins, &key);
	return origin && origin->place < listing->direct.count ? origin->place : LEAK_PARENT_NONE;
}

static void list_indirect(struct leak_listing *listing)
{
	const struct leak_sums *reclaimed = listing->reclaimed;

	for (size_t i = 0; i < listing->set->count; i++) {
		struct leak_entry entry = leak_entry_of(&listing->set->list[i]);

		if (!entry.is_indirect)
			continue;
		entry.parent = place_of_owner(listing, i);
		if (listing->held_blocks && entry.parent != LEAK_PARENT_NONE) {
			listing->held_blocks[entry.parent]++;
			listing->held_bytes[entry.parent] += entry.bytes;
		}
		add_to(listing, &listing->indirect, entry);
	}
	for (size_t i = 0; i < reclaimed->capacity; i++) {
		if (reclaimed->list[i].blocks != 0 && reclaimed->list[i].is_indirect)
			add_to(listing, &listing->indirect, reclaimed->list[i]);
	}
	leak_listing_sort(&listing->indirect);
}

static size_t array_bytes(const struct leak_listing *listing)
{
	return max_u64(listing->set->count, 1) * (sizeof(uint64_t) + sizeof(uint32_t));
}

/* Without memory for the arrays nothing is listed but what was taken back. */
bool leak_listing_make(struct leak_listing *listing)
{
	struct leak_set nothing = {.is_sorted = true}, *set = listing->set;
	void *arrays;
	size_t held_bytes;
	bool done = true;

	leak_set_sort(set);
	arrays = os_map(array_bytes(listing));
	if (!arrays) {
		listing->dropped = set->count;
		listing->set = &nothing;
		done = false;
	}
	listing->order = arrays;
	listing->owner = arrays ? (uint32_t *)(listing->order + max_u64(set->count, 1)) : 0;
	done &= list_origins(listing);
	listing->is_folded = leak_owners_find(listing->set, listing->order, listing->owner);
	list_direct(listing);
	held_bytes = 2 * max_u64(listing->direct.count, 1) * sizeof(uint64_t);
	listing->held_blocks = os_map(held_bytes);
	listing->held_bytes = listing->held_blocks ? listing->held_blocks + held_bytes / 16 : 0;
	list_indirect(listing);
	listing->set = set;
	if (arrays)
		os_unmap(arrays, array_bytes(listing));
	return done && listing->is_folded && listing->dropped == 0;
}

void leak_listing_release(struct leak_listing *listing)
{
	size_t count = max_u64(listing->direct.count, 1);

	if (listing->held_blocks)
		os_unmap(listing->held_blocks, 2 * count * sizeof(uint64_t));
	leak_sums_release(&listing->origins);
	leak_sums_release(&listing->direct);
	leak_sums_release(&listing->indirect);
}
