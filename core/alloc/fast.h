/*
 * The fast paths of malloc and free, inlined where they are exported: a call and its return are a quarter of their time. Every state but an empty bin of the
 * calling thread's cache ends here; for the rest of malloc there are two slow halves, which the exporting function wraps to set errno.
 *
 * Rule of order (see alloc.c): the block's address is in a register before its state is stored.
 */
#pragma once

#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/heap/heap.h"
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

/* The slow halves: the bin of `class` is empty (`granules`: size and pad); a size above the classes, or any size before alloc_init(). NULL: no memory. */
void *alloc_small_slow(unsigned class, size_t granules);
void *alloc_slow(size_t size);

/* What is not a block in state ALLOCATED (`state` and `class`: where a block begins there), or has neither room nor a policy above; the cache's credit is used up. */
void alloc_free_slow(void *pointer);
void alloc_free_other(void *pointer, uint8_t *state, unsigned class);
void alloc_free_full(void *pointer, uint8_t *state);
void alloc_note_hinted(struct thread_cache *cache);

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
static ALWAYS_INLINE void *alloc_malloc_fast(size_t size,
	void *(*small_slow)(unsigned class, size_t granules), void *(*slow)(size_t size))
{
	struct cache_bin *bin;
	size_t granules;
	unsigned class;

	if (UNLIKELY(size > load_relaxed(&alloc.small_max)))
		return slow(size);
	granules = (size + alloc.bias) >> GRANULE_SHIFT;
	class = size_class_of_granules[granules];
	bin = &thread_cache_current->bins[class];
	if (bin->lifo_top != bin->lifo)
		return bin_take_lifo(bin);
	if (LIKELY(bin->word != 0))
		return bin_take_word(bin, SLOT_ALLOCATED);
	return small_slow(class, granules);
}

/* free. The state store is the last thing it does to the span. */
static ALWAYS_INLINE void alloc_free_fast(void *pointer)
{
	uintptr_t word = (uintptr_t)pointer;
	struct thread_cache *cache;
	struct cache_bin *bin;
	struct lifo_entry *top;
	unsigned class;
	uint64_t entry, quotient;
	uint8_t *state;

	if (UNLIKELY(!heap_contains(word))) {
		if (pointer)
			alloc_free_slow(pointer);
		return;
	}
	entry = heap_map_entry(word);
	class = map_entry_class(entry);
	quotient = span_quotient(word, entry, class);
	// no class and large blocks have no magic number: never exact
	if (UNLIKELY((uint32_t)quotient >= size_classes[class].magic || (word & 7) != 0)) {
		alloc_free_slow(pointer);
		return;
	}
	state = heap.states + map_entry_group(entry) * 64 + (quotient >> 32);
	if (UNLIKELY(load_relaxed(state) != SLOT_ALLOCATED)) {
		alloc_free_other(pointer, state, class);
		return;
	}
	cache = thread_cache_current;
	bin = &cache->bins[class];
	top = bin->lifo_top;
	if (LIKELY(top < bin->lifo_end)) { // free=trust, or there were no room
		*top = (struct lifo_entry){pointer, state};
		__atomic_signal_fence(__ATOMIC_RELEASE); // a handler may jump out between the two
		bin->lifo_top = top + 1;
		store_release(state, SLOT_CACHED);
		KEEP_ALIVE(pointer);
		return;
	}
	if (LIKELY(load_relaxed(&alloc.free_policy) == FREE_HINT)) {
		int64_t credit = load_relaxed(&cache->hint_credit) - size_classes[class].slot_bytes;

		store_relaxed(&cache->hint_credit, credit);
		store_release(state, SLOT_HINTED);
		KEEP_ALIVE(pointer);
		if (UNLIKELY(credit < 0))
			alloc_note_hinted(cache);
		return;
	}
	alloc_free_full(pointer, state);
}
