/*
 * Sums of leaked blocks by origin: stack (slot size where there is none), direct or indirect, and who holds them. The collector's: guard is the lock CYCLE.
 */
#pragma once

#include "core/profile/report.h"

struct leaked;

/* Open addressing; capacity is a power of two; entries with blocks == 0 are free. */
struct leak_sums {
	struct leak_entry *list;
	size_t capacity;
	size_t count;
};

/* One block as an entry, held by nobody known. */
struct leak_entry leak_entry_of(const struct leaked *leaked);

/* Adds the figures of `entry` to the sum with its key, which it returns; what is no sum is the first one's. NULL: no memory, the figures are lost. */
struct leak_entry *leak_sums_add(struct leak_sums *sums, const struct leak_entry *entry);

/* The sum with that key, or NULL. */
struct leak_entry *leak_sums_find(const struct leak_sums *sums, const struct leak_entry *key);

/* Entries move to the front, and the table can only be read as a list; returns the number of blocks. */
uint64_t leak_sums_pack(struct leak_sums *sums);

void leak_sums_release(struct leak_sums *sums);
