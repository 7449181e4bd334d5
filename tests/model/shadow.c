/*
 * Contents: the first word of a node names the next one (the last node's is noise); every further byte follows from the node's seed, in words whose
 * low 47 bits are no address of a heap. So a block that was overwritten, reused or moved is noticed at the next look.
 *
 * Every function that has a block's address in its hands is NOINLINE: its registers and stack are gone when it returns. And none lets go of an address
 * that only the (inverted) shadow knows.
 */
#include "tests/model/shadow.h"

#include "tests/harness/test.h"
#include "tests/model/engine.h"

#include <string.h>

#define NOINLINE __attribute__((noinline))

enum { STATE_FREE, STATE_ALLOCATED, STATE_HINTED, STATE_PROBATION, STATE_SAMPLED, STATE_CACHED };

/* Bit 46 set, bit 45 clear: no heap of ours begins there (core/os/memory.c chooses below 2^46). */
#define NOISE_SET (1ull << 46)
#define NOISE_CLEAR (1ull << 45)

uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dull >> 8;
}

/* ---- contents ---- */

static uint64_t noise(uint64_t seed, size_t index)
{
	uint64_t x = (seed + index) * 0x9e3779b97f4a7c15ull;

	x ^= x >> 29;
	return (x | NOISE_SET) & ~NOISE_CLEAR;
}

static void fill(char *block, const struct node *node)
{
	size_t words = node->bytes / 8;

	for (size_t i = 0; i < words; i++)
		((uint64_t *)block)[i] = noise(node->seed, i);
	memset(block + words * 8, (int)(node->seed & 0x7f), node->bytes % 8);
}

/* Index of the first word that is not what it was, or SIZE_MAX; the first word is the caller's to judge. */
static size_t first_difference(const char *block, size_t bytes, uint64_t seed)
{
	size_t words = bytes / 8;

	for (size_t i = 1; i < words; i++) {
		if (((const uint64_t *)block)[i] != noise(seed, i))
			return i;
	}
	for (size_t i = words * 8; i < bytes; i++) {
		if (block[i] != (char)(seed & 0x7f))
			return words;
	}
	return SIZE_MAX;
}

/* ---- words that name a block ---- */

static uintptr_t encode(uintptr_t address, size_t bytes, uint64_t *random)
{
	uintptr_t word = address;

	switch (random_below(random, 6)) {
	case 0:
		word += random_below(random, bytes);
		break;
	case 1:
		word += bytes;
		break;
	default:
		break;
	}
	if (random_below(random, 4) == 0)
		word |= random_below(random, 1 << 17) << 47;
	return word;
}

static NOINLINE volatile uintptr_t *word_of(
	const struct record *record, volatile uintptr_t *cell, unsigned index)
{
	return index == 0 ? cell : (volatile uintptr_t *)~record->nodes[index - 1].hidden;
}

/*
 * Writes the word that names node `index`, which is at `block`; the shadow keeps it to compare. Until the word is written only the caller's variable
 * names the block: the address goes in plain from hand to hand.
 */
static NOINLINE void name_node(struct record *record, volatile uintptr_t *cell, unsigned index,
	char *block, uint64_t *random)
{
	struct node *node = &record->nodes[index];
	uintptr_t word = encode((uintptr_t)block, node->bytes, random);

	node->hidden_word = ~word;
	*word_of(record, cell, index) = word;
	__asm__ volatile("" : : "r"(block) : "memory");
}

/* ---- sizes ---- */

static size_t random_size(uint64_t *random)
{
	uint64_t kind = random_below(random, 1000);

	if (kind < 700)
		return 8 + random_below(random, 250);
	if (kind < 950)
		return 8 + random_below(random, 4096);
	if (kind < 993)
		return 8 + random_below(random, 33000);
	if (kind < 999)
		return 8 + random_below(random, 300 << 10);
	return 8 + random_below(random, 3 << 20);
}

static NOINLINE char *allocate(size_t bytes, uint64_t *random)
{
	char *block;
	size_t alignment;

	switch (random_below(random, 10)) {
	case 0:
		block = engine_calloc(bytes);
		for (size_t i = 0; block && i < bytes; i++)
			CHECK_MSG(block[i] == 0, "node of calloc(%zu): byte %zu is not zero", bytes,
				i);
		return block;
	case 1:
		alignment = 16ull << random_below(random, 10);
		block = engine_aligned(alignment, bytes);
		CHECK_MSG((uintptr_t)block % alignment == 0, "memalign(%zu, %zu) is %p", alignment,
			bytes, (void *)block);
		return block;
	default:
		return engine_malloc(bytes);
	}
}

/* ---- records ---- */

static NOINLINE char *node_make(struct node *node, uint64_t *random)
{
	char *block;

	node->bytes = random_size(random);
	node->seed = random_next(random);
	node->is_freed = false;
	block = allocate(node->bytes, random);
	CHECK_MSG(block, "no memory for %zu bytes", node->bytes);
	CHECK_EQ((uintptr_t)block % 16, 0u);
	node->hidden = ~(uintptr_t)block;
	fill(block, node);
	return block;
}

/* The first node hangs in its cell before the next is made, and so on: at each moment every block is named. */
void record_make(struct record *record, volatile uintptr_t *cell, unsigned count, uint64_t *random,
	struct tally *tally)
{
	for (unsigned i = 0; i < count; i++) {
		name_node(record, cell, i, node_make(&record->nodes[i], random), random);
		record->count = i + 1;
		tally->blocks++;
		tally->bytes += record->nodes[i].bytes;
	}
}

static NOINLINE void node_verify(const struct record *record, const volatile uintptr_t *cell,
	unsigned index, const char *where)
{
	const struct node *node = &record->nodes[index];
	char *block = (char *)~node->hidden;
	int state = engine_state(block);
	uintptr_t word = *word_of(record, (volatile uintptr_t *)cell, index);
	size_t difference = first_difference(block, node->bytes, node->seed);
	bool is_right_state = node->is_freed ? state == STATE_HINTED
					     : state == STATE_ALLOCATED || state == STATE_SAMPLED;

	CHECK_MSG(word == ~node->hidden_word,
		"%s: the word that names node %u of %u (%p, %zu bytes) is %#lx, not %#lx", where,
		index, record->count, (void *)block, node->bytes, word, ~node->hidden_word);
	CHECK_MSG(is_right_state, "%s: node %u of %u (%p, %zu bytes, %s) is in state %d", where,
		index, record->count, (void *)block, node->bytes,
		node->is_freed ? "freed and reachable" : "reachable", state);
	CHECK_MSG(difference == SIZE_MAX, "%s: node %u of %u (%p, %zu bytes, %s): word %zu is %#lx",
		where, index, record->count, (void *)block, node->bytes,
		node->is_freed ? "freed and reachable" : "reachable", difference,
		((unsigned long *)block)[difference]);
	CHECK_GE(engine_usable(block), node->bytes);
}

void record_verify(const struct record *record, const volatile uintptr_t *cell, const char *where)
{
	for (unsigned i = 0; i < record->count; i++)
		node_verify(record, cell, i, where);
}

static void bury(struct graveyard *dead, const struct node *node)
{
	dead->graves[dead->count++ % GRAVES_MAX] =
		(struct grave){node->hidden, node->bytes, node->seed, node->is_freed};
}

static NOINLINE void node_free(struct node *node)
{
	engine_free((void *)~node->hidden);
	node->is_freed = true;
}

/* When the cell is cleared first, the addresses are on this stack: what nothing names may not be freed any more. */
NOINLINE void record_free(struct record *record, volatile uintptr_t *cell, uint64_t *random,
	struct graveyard *dead, struct tally *tally)
{
	volatile uintptr_t blocks[NODES_MAX];

	for (unsigned i = 0; i < record->count; i++)
		blocks[i] = ~record->nodes[i].hidden;
	if (random_below(random, 2) == 0)
		*cell = 0;
	for (unsigned i = 0; i < record->count; i++) {
		if (!record->nodes[i].is_freed) {
			engine_free((void *)blocks[i]);
			record->nodes[i].is_freed = true;
			tally->freed++;
		}
		bury(dead, &record->nodes[i]);
	}
	*cell = 0;
	record->count = 0;
}

void record_drop(struct record *record, volatile uintptr_t *cell, struct graveyard *dead,
	struct tally *tally)
{
	for (unsigned i = 0; i < record->count; i++) {
		bury(dead, &record->nodes[i]);
		tally->dropped += !record->nodes[i].is_freed;
	}
	*cell = 0;
	record->count = 0;
}

void record_free_node(struct record *record, uint64_t *random, struct tally *tally)
{
	struct node *node = &record->nodes[random_below(random, record->count)];

	if (node->is_freed || !engine_keeps_freed())
		return;
	node_free(node);
	tally->strays++;
	tally->freed++;
}

void record_free_twice(struct record *record, uint64_t *random, struct tally *tally)
{
	struct node *node = &record->nodes[random_below(random, record->count)];

	if (!node->is_freed)
		return;
	node_free(node);
	tally->double_frees++;
}

static NOINLINE void node_realloc(
	struct record *record, volatile uintptr_t *cell, unsigned index, uint64_t *random)
{
	struct node *node = &record->nodes[index];
	size_t bytes = random_size(random), kept = bytes < node->bytes ? bytes : node->bytes;
	uint64_t first = *(uint64_t *)~node->hidden;
	char *block = engine_realloc((char *)~node->hidden, bytes);

	CHECK_MSG(block, "no memory for realloc to %zu bytes", bytes);
	CHECK_MSG(first_difference(block, kept & ~(size_t)7, node->seed) == SIZE_MAX,
		"realloc from %zu to %zu bytes changed contents", node->bytes, bytes);
	node->hidden = ~(uintptr_t)block;
	node->bytes = bytes;
	fill(block, node);
	*(uint64_t *)block = first;
	name_node(record, cell, index, block, random);
}

void record_realloc_node(
	struct record *record, volatile uintptr_t *cell, uint64_t *random, struct tally *tally)
{
	unsigned index = (unsigned)random_below(random, record->count);

	if (record->nodes[index].is_freed)
		return;
	node_realloc(record, cell, index, random);
	tally->reallocs++;
}

/* ---- the dead ---- */

/* A block in use whose contents are still the old ones has not been taken back. */
static NOINLINE bool is_living(const struct grave *grave)
{
	char *block = (char *)~grave->hidden;
	int state = engine_state(block);
	bool is_occupied = state == STATE_ALLOCATED || state == STATE_SAMPLED ||
			   state == STATE_HINTED || state == STATE_PROBATION;

	return is_occupied && first_difference(block, grave->bytes, grave->seed) == SIZE_MAX;
}

uint64_t graveyard_count_living(const struct graveyard *dead, bool freed, uint64_t *ret_total)
{
	uint64_t living = 0;

	*ret_total = 0;
	for (uint64_t i = 0; i < dead->count && i < GRAVES_MAX; i++) {
		const struct grave *grave = &dead->graves[i];

		// of a block of one word nothing is known but its first word
		if (grave->was_freed != freed || grave->bytes < 16)
			continue;
		(*ret_total)++;
		living += is_living(grave);
	}
	return living;
}
