/*
 * The blocks that a cycle found leaked (never freed, not reached), and the graph of references among them. Collector side only: guard is the lock
 * CYCLE. Contents are read by copies, for the program runs meanwhile and may protect or unmap what it likes.
 */
#pragma once

#include "core/heap/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum leaked_flags {
	LEAKED_CONTINUES = 1,   // was on probation before this cycle
	LEAKED_HOLDER_GONE = 2, // every block that held it was taken back in an earlier cycle
	LEAKED_CONDEMNED = 4,   // may be taken back now, as far as rules of age and growth go
	LEAKED_HELD = 8,        // reached from a block that stays
	LEAKED_ROOT = 16,   // direct: no other block of the set holds it (of a ring of blocks: one)
	LEAKED_CHOSEN = 32, // taken back in this cycle unless something speaks for it
	LEAKED_KEPT = 64,   // something spoke for it
	LEAKED_VISITED = 128, // scratch of walks
	LEAKED_SCANNED = 256, // scratch of the second look
	LEAKED_LEAF =
		512, // held no address of the heap when its references were read; not read again
};

/* One leaked block. */
struct leaked {
	uintptr_t address;
	uint64_t hash;        // of its contents at the first verdict
	uint32_t bytes_units; // size in granules (16 bytes)
	uint32_t stack;       // who allocated it, 0: not known
	uint32_t cycles;      // cycles in a row that did not reach it
	uint32_t first_ms;    // time of the first verdict, milliseconds of probation's clock
	uint32_t group;       // index in the table of groups
	uint32_t flags;       // enum leaked_flags
};

/* Sorted by address once leak_set_sort() was called. */
struct leak_set {
	struct leaked *list;
	size_t count;
	size_t capacity;
	uint64_t bytes;
	bool is_sorted;
	bool is_incomplete; // no memory for all

	/* references among the blocks, read once when first wanted (whoever needs them to be true to the moment, as before taking back, looks again:
	 * second_look.h): those of block i are targets[first_edge[i]] to targets[first_edge[i + 1] - 1] */
	uint32_t *first_edge; // count + 1 of them; NULL: not read
	size_t first_edge_bytes;
	uint32_t *targets;
	size_t target_count;
	size_t target_capacity;
};

static inline uint64_t leaked_bytes(const struct leaked *leaked)
{
	return (uint64_t)leaked->bytes_units << GRANULE_SHIFT;
}

void leak_set_clear(struct leak_set *set);
void leak_set_release(struct leak_set *set);

/* Adds a block; the rest of the record is zero. NULL (and is_incomplete): no memory. */
struct leaked *leak_set_add(struct leak_set *set, uintptr_t address, size_t bytes);

void leak_set_sort(struct leak_set *set);

/* Blocks were removed or moved: references are to be read again. */
void leak_set_forget_edges(struct leak_set *set);

/* Reads the references among the blocks if that was not done (sorts). False: no memory, or the page tables could not be read. */
bool leak_set_read_edges(struct leak_set *set);

/* The leaked block that `word` points into (any address of it), or NULL. The set is sorted. */
struct leaked *leak_set_find(const struct leak_set *set, uintptr_t word);

/* Sets `flag` on every block reached from blocks for which starts() holds, those not included unless reached from another. Blocks that have the
 * flag already are not walked again. False: no memory, nothing can be said. */
bool leak_set_reach(
	struct leak_set *set, bool (*starts)(const struct leaked *leaked), uint32_t flag);

/*
 * Sets LEAKED_ROOT on the direct ones among the blocks for which includes() holds: the fewest blocks from which all of them are reached.
 * False: no memory.
 */
bool leak_set_find_roots(struct leak_set *set, bool (*includes)(const struct leaked *leaked));

/*
 * A hash of the block's contents; of larger ones than 4 KiB the first and last 2 KiB. 0 when they could not be read. Contents are read ahead, in address order that
 * is cheap; leak_set_begin_reading() forgets what was read before, and comes before each series.
 */
uint64_t leaked_hash(const struct leaked *leaked);
void leak_set_begin_reading(void);
