/*
 * The shadow heap: what the model knows of each block, kept so that nothing in it looks like a pointer.
 *
 * A *record* is a list of 1 to 8 blocks (nodes). Its first node is named by exactly one *cell*: a word on a stack, in thread-local storage, in .bss, in a
 * mapping, or in another block. Each further node is named by the first word of the one before. Nothing else names any of them: the shadow keeps
 * addresses inverted. The word in a cell or node may be the plain address, an interior one, one past the end, or carry a tag in its top 17 bits.
 *
 * A node may be freed and still be in its list (a stray pointer): then its contents must stay as they are for as long as the list can be reached.
 *
 * What is dropped (leaked) or freed goes to the *graveyard*, where its death is expected.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NODES_MAX = 8, GRAVES_MAX = 8192 };

struct node {
	uintptr_t hidden;      /* ~address */
	uintptr_t hidden_word; /* ~(the word that names it) */
	size_t bytes;
	uint64_t seed; /* of its contents */
	bool is_freed;
};

struct record {
	unsigned count; /* 0: empty */
	struct node nodes[NODES_MAX];
};

struct grave {
	uintptr_t hidden;
	size_t bytes;
	uint64_t seed;
	bool was_freed;
};

/* Dead blocks of one thread, the newest GRAVES_MAX. */
struct graveyard {
	uint64_t count; /* ever */
	struct grave graves[GRAVES_MAX];
};

/* Counts of one thread, added up at the end. */
struct tally {
	uint64_t blocks, bytes, verified, freed, dropped, strays, reallocs, double_frees, moved,
		held, collections;
};

/* xorshift: each thread has its own state, so a seed gives the same operations again (if not the same timing). */
uint64_t random_next(uint64_t *state);
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

/* Makes a record of `count` nodes; *cell names the first. Counts what it does. */
void record_make(struct record *record, volatile uintptr_t *cell, unsigned count, uint64_t *random,
	struct tally *tally);

/* Ends the process with a message if any node is not what and where it should be. `where` says which record. */
void record_verify(const struct record *record, const volatile uintptr_t *cell, const char *where);

/* Frees every node that is not freed yet; the cell is cleared before or after, by chance. */
void record_free(struct record *record, volatile uintptr_t *cell, uint64_t *random,
	struct graveyard *dead, struct tally *tally);

/* Forgets the record: everything in it that is not freed leaks. */
void record_drop(struct record *record, volatile uintptr_t *cell, struct graveyard *dead,
	struct tally *tally);

/* Frees one node and leaves it in the list. */
void record_free_node(struct record *record, uint64_t *random, struct tally *tally);

/* Frees a freed node again. */
void record_free_twice(struct record *record, uint64_t *random, struct tally *tally);

/* Changes the size of a node that is not freed. */
void record_realloc_node(
	struct record *record, volatile uintptr_t *cell, uint64_t *random, struct tally *tally);

/* How many of the graveyard's leaked, or freed, blocks are still there; *ret_total: how many there could be. */
uint64_t graveyard_count_living(const struct graveyard *dead, bool freed, uint64_t *ret_total);
