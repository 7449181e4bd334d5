/*
 * Open addressing. An entry is taken by a compare-and-swap of its key and never given up; its figures are relaxed atomics. A program that frees what is not ours
 * all the time must not pay for a stack each time, so after LOOKS_MAX calls no more are taken.
 */
#include "core/profile/misuse.h"

#include "core/base/atomic.h"
#include "core/os/clock.h"
#include "core/profile/stack_table.h"
#include "core/profile/stats_page.h"
#include "core/profile/unwind.h"

enum { LOOKS_MAX = 16384 };

struct entry {
	uint64_t key; // kind << 32 | call; 0: free. Compare-and-swap
	uint64_t count;
	uint64_t first_ms, last_ms;
	uintptr_t address;
	uint32_t allocation;
};

static struct {
	struct entry entries[MISUSE_COUNT_MAX];
	uint64_t looks, dropped;
} misuses;

static struct entry *find(uint64_t key)
{
	uint32_t start = (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 32);

	for (uint32_t i = 0; i < MISUSE_COUNT_MAX; i++) {
		struct entry *entry = &misuses.entries[(start + i) % MISUSE_COUNT_MAX];
		uint64_t found = load_relaxed(&entry->key);

		if (found == key || (found == 0 && (cas_seq(&entry->key, (uint64_t)0, key) ||
							   load_relaxed(&entry->key) == key)))
			return entry;
	}
	return 0;
}

void misuse_note(enum finding_misuse kind, const void *pointer, uint32_t allocation)
{
	uint64_t now = stats_age_ns() / NS_PER_MS;
	struct entry *entry = 0;
	uint32_t call;

	if (load_relaxed(&misuses.looks) < LOOKS_MAX) {
		add_relaxed(&misuses.looks, 1);
		if (kind == FINDING_MISUSE_FOREIGN && unwind_is_on_stack((uintptr_t)pointer))
			kind = FINDING_MISUSE_STACK;
		call = stack_capture(0);
		entry = find((uint64_t)kind << 32 | call);
	}
	if (!entry) {
		add_relaxed(&misuses.dropped, 1);
		return;
	}
	if (load_relaxed(&entry->count) == 0) {
		store_relaxed(&entry->first_ms, now);
		store_relaxed(&entry->address, (uintptr_t)pointer);
	}
	if (allocation != 0)
		store_relaxed(&entry->allocation, allocation);
	store_relaxed(&entry->last_ms, now);
	add_seq(&entry->count, 1);
}

bool misuse_get(uint32_t index, struct misuse *ret_misuse)
{
	const struct entry *entry = &misuses.entries[index];
	uint64_t key;

	if (index >= MISUSE_COUNT_MAX)
		return false;
	key = load_relaxed(&entry->key);
	*ret_misuse = (struct misuse){
		.count = load_acquire(&entry->count), // pairs with the addition above
		.kind = (enum finding_misuse)(key >> 32),
		.call = (uint32_t)key,
		.allocation = load_relaxed(&entry->allocation),
		.first_ms = load_relaxed(&entry->first_ms),
		.last_ms = load_relaxed(&entry->last_ms),
		.address = load_relaxed(&entry->address),
	};
	return true;
}

uint64_t misuse_dropped(void)
{
	return load_relaxed(&misuses.dropped);
}

/* What is as it should be is not written: it would cost a copied page. */
void misuse_after_fork(void)
{
	for (uint32_t i = 0; i < MISUSE_COUNT_MAX; i++) {
		if (misuses.entries[i].key != 0)
			misuses.entries[i] = (struct entry){0};
	}
	if (misuses.looks != 0)
		misuses.looks = misuses.dropped = 0;
}
