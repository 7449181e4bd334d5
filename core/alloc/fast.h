/*
 * The fast path of malloc, inlined where it is exported: a call and its return are a quarter of its time. Every state but an empty bin of the
 * calling thread's cache ends here; for the rest there are two slow halves, which the exporting function wraps to set errno.
 *
 * Rule of order (see alloc.c): the block's address is in a register before its state is stored.
 */
#pragma once

#include "core/base/bits.h"
#include "core/heap/thread_cache.h"

enum { AHEAD = 4 }; // slots; core/README.md has the figures

/* Constant after alloc_init(), but for free_policy (changed on a command; each call takes the old or the new value). */
struct alloc_state {
	size_t small_max;     // largest size served from size classes; 0 before alloc_init()
	size_t bias;          // pad, and 15 for rounding up to a granule
	uint32_t free_policy; // enum option_free
	bool keeps_stacks;
	uint32_t phase; // enum init_phase
};
extern struct alloc_state alloc HIDDEN;

/* The slow halves: the bin of `class` is empty; a size above the classes, or any size before alloc_init(). NULL: no memory. */
void *alloc_small_slow(unsigned class);
void *alloc_slow(size_t size);

/* The slot freed last. The LIFO is not empty. */
static ALWAYS_INLINE void *bin_take_lifo(struct cache_bin *bin)
{
	struct lifo_entry *entry = bin->lifo_top - 1;
	char *block = entry->address;
	uint8_t *state = entry->state;

	bin->lifo_top = entry;
	__asm__ volatile("" : "+r"(block));
	store_relaxed(state, SLOT_ALLOCATED);
	KEEP_ALIVE(block);
	return block;
}

/* The lowest free slot of the word, which is not empty. The first and the last line of one that is handed out soon are fetched. */
static ALWAYS_INLINE void *bin_take_word(struct cache_bin *bin, uint8_t state)
{
	uint64_t word = bin->word;
	unsigned index = lowest_bit(word);
	char *block = bin->base + (size_t)index * bin->slot_bytes;

	__builtin_prefetch(block + AHEAD * (size_t)bin->slot_bytes, 1);
	__builtin_prefetch(block + (AHEAD + 1) * (size_t)bin->slot_bytes - 1, 1);
	bin->word = word & (word - 1);
	__asm__ volatile("" : "+r"(block));
	store_relaxed(&bin->states[index], state);
	KEEP_ALIVE(block);
	return block;
}

/* malloc with these slow halves. */
static ALWAYS_INLINE void *alloc_malloc_fast(
	size_t size, void *(*small_slow)(unsigned class), void *(*slow)(size_t size))
{
	struct cache_bin *bin;
	unsigned class;

	if (UNLIKELY(size > load_relaxed(&alloc.small_max)))
		return slow(size);
	class = size_class_of_granules[(size + alloc.bias) >> GRANULE_SHIFT];
	bin = &thread_cache_current->bins[class];
	if (bin->lifo_top != bin->lifo)
		return bin_take_lifo(bin);
	if (LIKELY(bin->word != 0))
		return bin_take_word(bin, SLOT_ALLOCATED);
	return small_slow(class);
}
