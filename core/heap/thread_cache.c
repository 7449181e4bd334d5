/*
 * Thread caches: refill and spill. Everything here but the sweep of a next group runs with signals blocked.
 *
 * The owner of a current span is the only one who makes its slots ALLOCATED, so a FREE byte seen in a group may be taken into the word without any
 * atomic operation; slots that others make FREE later are found when the span comes round again.
 */
#include "core/heap/thread_cache.h"

#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/heap/central.h"
#include "core/heap/heap_stats.h"
#include "core/heap/large.h"
#include "core/heap/meta.h"
#include "core/heap/sweep.h"
#include "core/os/arch.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/process.h"

enum {
	LIFO_MAX = 1024,
	LIFO_MIN = 32,
	LIFO_BYTES = 64 * 1024,
	FEW_CACHES =
		16, // where there are no more, each takes spans of its own from the first slot on
	POPULATE_FROM_BYTES = 16 << 20, // of the heap
	POPULATE_BYTES_MAX = 128 * 1024,
	CLEAR_BYTES_MAX = 16 * 1024, // at once: a third of the nearest cache
	END_BYTES_MIN = 1024,
	END_MARGIN = 2, // granules at the end of what was asked for that may be the pad
};

struct thread_cache thread_cache_none;
__thread struct thread_cache *thread_cache_current __attribute__((tls_model("initial-exec"))) =
	THREAD_CACHE_NONE;

static uint32_t clearing; // written by the collector, relaxed

void thread_cache_start_clearing(void)
{
	store_relaxed(&clearing, 1u);
}

static struct {
	struct lock lock;               // guards the list
	struct thread_cache *free_list; // linked through random_state
	uint32_t used_count;            // caches that are not in the list; atomic
} recycled = {.lock = LOCK_INITIAL(CACHES)};

/* Slots a LIFO of this class holds at most. */
static size_t lifo_size(unsigned class)
{
	return max_u64(min_u64(LIFO_BYTES / size_classes[class].slot_bytes, LIFO_MAX), LIFO_MIN);
}

static struct lifo_entry *lifo_start(const struct thread_cache *cache, unsigned class)
{
	return cache->kept[class] ? cache->kept[class] : cache->bins[class].lifo;
}

static bool has_first_lifo(const struct thread_cache *cache, unsigned class)
{
	return lifo_start(cache, class) == cache->first_lifos[class - 1];
}

/* Slots that the LIFO has room for. */
static size_t lifo_room(const struct thread_cache *cache, unsigned class)
{
	return has_first_lifo(cache, class) ? FIRST_LIFO_SIZE : lifo_size(class);
}

/* From now on it is like any other LIFO. */
static void forget_kept(struct thread_cache *cache, unsigned class)
{
	cache->bins[class].lifo = lifo_start(cache, class);
	cache->kept[class] = 0;
}

static void cache_init(struct thread_cache *cache)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		struct cache_bin *bin = &cache->bins[class];

		bin->slot_bytes = size_classes[class].slot_bytes;
		if (!bin->lifo) // a recycled cache keeps what it has
			bin->lifo = cache->first_lifos[class - 1];
		bin->lifo_top = bin->lifo_end = bin->lifo;
		bin->shared_count = 0;
	}
	cache->random_state = (uintptr_t)cache;
	cache->hint_credit = HINT_QUANTUM_BYTES;
	cache->sample_credit = 0;
	cache->bypasses = 0;
}

struct thread_cache *thread_cache_create(void)
{
	struct signal_guard guard;
	struct thread_cache *cache;

	signals_block(&guard);
	lock_acquire(&recycled.lock);
	cache = recycled.free_list;
	if (cache)
		recycled.free_list = (struct thread_cache *)(uintptr_t)cache->random_state;
	lock_release(&recycled.lock);
	if (!cache)
		cache = meta_alloc(sizeof(*cache));
	if (cache) {
		add_relaxed(&recycled.used_count, 1);
		cache_init(cache);
	}
	signals_restore(&guard);
	return cache;
}

/* The span is forgotten before it is given back: a child forked in between loses it, but never has it twice. */
static void return_span(struct cache_bin *bin)
{
	struct span *span = bin->span;

	bin->word = 0;
	store_release(&bin->span, (struct span *)0);
	if (span)
		central_return_span(span);
}

static void flush_bin(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];

	forget_kept(cache, class);
	if (bin->lifo_top > bin->lifo)
		central_free_slots(class, bin->lifo, (size_t)(bin->lifo_top - bin->lifo));
	bin->lifo_top = bin->lifo_end = bin->lifo;
	return_span(bin);
}

/* A closed LIFO takes no slot. */
void thread_cache_empty_bin(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];
	struct signal_guard guard;

	forget_kept(cache, class);
	if (bin->word != 0)
		thread_cache_look_again(bin);
	bin->word = 0;
	if (bin->lifo_top > bin->lifo) {
		signals_block(&guard);
		central_free_slots(class, bin->lifo, (size_t)(bin->lifo_top - bin->lifo));
		bin->lifo_top = bin->lifo;
		signals_restore(&guard);
	}
	bin->lifo_end = bin->lifo;
}

void thread_cache_bypass_begin(struct thread_cache *cache)
{
	if (cache->bypasses++ > 0)
		return;
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++)
		thread_cache_empty_bin(cache, class);
}

void thread_cache_bypass_end(struct thread_cache *cache)
{
	if (cache->bypasses > 0)
		cache->bypasses--;
}

bool thread_cache_drop_large(struct thread_cache *cache)
{
	bool dropped = false;

	for (unsigned units = 1; units <= LARGE_UNITS_MAX; units++) {
		struct large_bin *bin = &cache->large[units];

		while (bin->count > 0) {
			struct span *span = bin->spans[--bin->count];

			store_relaxed(span_states(span), SLOT_HINTED);
			large_free_hinted(span);
			dropped = true;
		}
	}
	return dropped;
}

void thread_cache_flush(struct thread_cache *cache)
{
	struct signal_guard guard;

	signals_block(&guard);
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++)
		flush_bin(cache, class);
	thread_cache_drop_large(cache);
	// frees this thread has not told the pacer of
	add_relaxed(&heap_stats.unreported_hint_bytes,
		(uint64_t)(HINT_QUANTUM_BYTES - cache->hint_credit));
	cache->hint_credit = HINT_QUANTUM_BYTES;
	signals_restore(&guard);
}

void thread_cache_destroy(struct thread_cache *cache)
{
	struct signal_guard guard;

	if (!cache || cache == THREAD_CACHE_NONE)
		return;
	signals_block(&guard);
	thread_cache_flush(cache);
	lock_acquire(&recycled.lock);
	cache->random_state = (uintptr_t)recycled.free_list;
	recycled.free_list = cache;
	sub_relaxed(&recycled.used_count, 1);
	lock_release(&recycled.lock);
	signals_restore(&guard);
}

void thread_cache_inherit(struct thread_cache *cache)
{
	for (unsigned units = 1; units <= LARGE_UNITS_MAX; units++)
		cache->large[units].count = 0;
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		forget_kept(cache, class);
		cache->bins[class].lifo_top = cache->bins[class].lifo;
		return_span(&cache->bins[class]);
	}
	thread_cache_destroy(cache);
}

/* Slots that one refill clears: the lowest. */
static uint64_t part_of(uint64_t mask, uint32_t slot_bytes)
{
	uint64_t part = 0;

	for (size_t bytes = 0; mask != 0 && bytes < CLEAR_BYTES_MAX; mask &= mask - 1) {
		part |= mask & -mask;
		bytes += slot_bytes;
	}
	return part;
}

/*
 * Not memset: a handler that finds libc's code interrupted takes slots from this cache, one that finds ours does not (core/gc/cache_loan.h). So the slots that are
 * being cleared stay ours.
 */
static void clear(char *from, size_t bytes)
{
	for (uintptr_t *at = (uintptr_t *)from, *end = at + bytes / sizeof(*at); at < end; at++) {
		*at = 0;
		__asm__ volatile("" ::: "memory"); // or the compiler makes a call of it again
	}
}

static void clear_slots(char *base, uint64_t mask, size_t slot_bytes)
{
	while (mask != 0) {
		unsigned first = lowest_bit(mask), count = run_of_bits(mask >> first);

		clear(base + first * slot_bytes, count * slot_bytes);
		mask &= ~(bits_below(count) << first);
	}
}

static bool takes_one(const struct cache_bin *bin)
{
	return bin->slot_bytes >= END_BYTES_MIN && !bin->span->fresh && options.free != FREE_TRUST;
}

void thread_cache_clear_end(const struct cache_bin *bin, size_t granules)
{
	size_t from = granules > END_MARGIN ? (granules - END_MARGIN) << GRANULE_SHIFT : 0;

	if (takes_one(bin))
		clear(bin->base + (size_t)lowest_bit(bin->word) * bin->slot_bytes + from,
			bin->slot_bytes - from);
}

/* The next group of the current span with free slots, or some of them, goes into the word. */
static bool next_group(struct cache_bin *bin)
{
	struct span *span = bin->span;
	uint8_t *states = span_states(span);
	bool clears = load_relaxed(&clearing) && !span->fresh && options.free != FREE_TRUST;

	while (bin->next_group < span_group_count(span)) {
		uint32_t group = bin->next_group;
		uint64_t mask = bytes_equal_mask(states + group * 64, SLOT_FREE) &
				span_group_mask(span, group);
		uint64_t part = takes_one(bin) ? mask & -mask
				: clears       ? part_of(mask, bin->slot_bytes)
					       : mask;

		if (part == mask)
			bin->next_group++;
		if (mask == 0)
			continue;
		mask = part;
		bin->base = (char *)span_address(span) + (size_t)group * 64 * bin->slot_bytes;
		if (clears)
			clear_slots(bin->base, mask, bin->slot_bytes);
		bin->states = states + group * 64;
		__atomic_signal_fence(
			__ATOMIC_RELEASE); // a handler that jumps out here must not leave the word with another group's base
		bin->word = mask;
		return true;
	}
	return false;
}

void thread_cache_look_again(struct cache_bin *bin)
{
	bin->next_group = (uint16_t)((bin->states - span_states(bin->span)) / 64);
	bin->span->fresh = false; // of what comes again some may have been in use
}

/* A program whose heap has grown this far will use most of what it takes. (With free=trust the slots just freed come first, and it wins nothing.) */
static void populate(struct span *span)
{
	if (!span || !span->fresh || options.free == FREE_TRUST ||
		load_relaxed(&heap.used) < POPULATE_FROM_BYTES)
		return;
	os_populate((void *)span_address(span), min_u64(span_bytes(span), POPULATE_BYTES_MAX));
}

static bool next_span(struct cache_bin *bin, unsigned class)
{
	struct signal_guard guard;

	signals_block(&guard);
	return_span(bin);
	bin->span = central_take_span(class);
	bin->next_group = 0;
	populate(bin->span);
	signals_restore(&guard);
	return bin->span != 0;
}

/* The LIFO may be used from now on. */
static void open_lifo(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];

	bin->lifo_end = bin->lifo + lifo_room(cache, class);
}

/* A LIFO of full size instead of the first one. False: no memory. */
static bool enlarge_lifo(struct cache_bin *bin, unsigned class)
{
	size_t count = (size_t)(bin->lifo_top - bin->lifo), size = lifo_size(class);
	struct lifo_entry *lifo = meta_alloc(size * sizeof(*lifo));

	if (!lifo)
		return false;
	__builtin_memcpy(lifo, bin->lifo, count * sizeof(*lifo));
	bin->lifo = lifo;
	bin->lifo_top = lifo + count;
	bin->lifo_end = lifo + size;
	return true;
}

/*
 * A span of its own costs a thread a page at least, so where there are many threads the first few slots come from a span that they share. Where there are few each
 * has its own: two that use neighbours take the line with the blocks and the line with their state bytes from each other at every call.
 */
static bool may_share(const struct cache_bin *bin)
{
	return bin->shared_count < SHARED_SLOTS && load_relaxed(&recycled.used_count) > FEW_CACHES;
}

/* All of the LIFO is kept, unpaid for. */
static void keep_all(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];

	cache->kept[class] = lifo_start(cache, class);
	bin->lifo_end = cache->kept[class];
	bin->lifo = bin->lifo_top;
}

/* free=trust: slots for an empty LIFO. A thread that has had many gets a LIFO of full size: it may be one that never frees, and whose LIFO is never full. */
static bool fill_lifo(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];
	bool keeps = cache->kept[class];
	struct signal_guard guard;
	size_t count;

	if (!central_has_stock(class) && !may_share(bin))
		return false;
	signals_block(&guard);
	forget_kept(cache, class);
	if (has_first_lifo(cache, class) && bin->shared_count >= SHARED_SLOTS)
		enlarge_lifo(bin, class);
	if (bin->lifo_end == bin->lifo)
		open_lifo(cache, class);
	count = central_fetch_slots(class, bin->lifo, (size_t)(bin->lifo_end - bin->lifo) / 2);
	if (count == 0 && may_share(bin))
		count = central_share_slots(class, bin->lifo, FIRST_LIFO_SIZE / 2);
	bin->shared_count = (uint16_t)min_u64(bin->shared_count + count, SHARED_SLOTS);
	bin->lifo_top = bin->lifo + count;
	if (keeps)
		keep_all(cache, class);
	signals_restore(&guard);
	return count > 0;
}

bool thread_cache_refill(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];

	process_check();
	if (options.free == FREE_TRUST && (options.stacks == STACKS_OFF || cache->kept[class]) &&
		cache->bypasses == 0 && bin->lifo_top == lifo_start(cache, class) &&
		fill_lifo(cache, class))
		return true;
	while (!bin->span || !next_group(bin)) {
		if (!next_span(bin, class))
			return false;
	}
	return true;
}

static void give_older_half_back(struct cache_bin *bin, unsigned class)
{
	size_t count = (size_t)(bin->lifo_top - bin->lifo) / 2,
	       left = (size_t)(bin->lifo_top - bin->lifo) - count;

	central_store_slots(class, bin->lifo, count);
	__builtin_memmove(bin->lifo, bin->lifo + count, left * sizeof(*bin->lifo));
	bin->lifo_top = bin->lifo + left;
}

void thread_cache_spill(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];
	struct signal_guard guard;

	process_check();
	signals_block(&guard);
	if (bin->lifo_end ==
		bin->lifo) // not used since the cache was made, or taken from the recycled ones
		open_lifo(cache, class);
	else if (!has_first_lifo(cache, class) || !enlarge_lifo(bin, class))
		give_older_half_back(bin, class);
	signals_restore(&guard);
}

/* No more of the LIFO is paid for: it will be once more. Of large slots a few are enough: a thread that frees them by the thousand takes a lock for each four. */
static void make_room_to_keep(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];
	struct signal_guard guard;

	process_check();
	signals_block(&guard);
	cache->sample_credit += (bin->lifo_top - bin->lifo) * (int64_t)bin->slot_bytes;
	forget_kept(cache, class);
	if (!has_first_lifo(cache, class) || bin->slot_bytes > LIFO_BYTES / LIFO_MIN ||
		!enlarge_lifo(bin, class))
		give_older_half_back(bin, class);
	keep_all(cache, class);
	signals_restore(&guard);
}

/* Each store leaves a whole LIFO behind: a handler may jump out between any two. */
void thread_cache_keep(struct thread_cache *cache, unsigned class, struct lifo_entry entry)
{
	struct cache_bin *bin = &cache->bins[class];

	if (UNLIKELY(!cache->kept[class]))
		keep_all(cache, class);
	if (UNLIKELY((size_t)(bin->lifo_top - cache->kept[class]) == lifo_room(cache, class)))
		make_room_to_keep(cache, class);
	*bin->lifo_top = entry;
	__atomic_signal_fence(__ATOMIC_RELEASE);
	store_relaxed(&bin->lifo_top, bin->lifo_top + 1);
	if (cache->sample_credit < (int64_t)bin->slot_bytes)
		store_relaxed(&bin->lifo, bin->lifo + 1);
	else
		cache->sample_credit -= bin->slot_bytes;
}

bool thread_cache_pay(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];
	int64_t count = (int64_t)min_u64(
		(uint64_t)(cache->sample_credit > 0 ? cache->sample_credit : 0) / bin->slot_bytes,
		(uint64_t)(bin->lifo - cache->kept[class]));

	cache->sample_credit -= count * bin->slot_bytes;
	bin->lifo -= count;
	return count > 0;
}

void thread_cache_take_kept(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];

	store_relaxed(&bin->lifo,
		bin->lifo - 1); // a handler that jumps out here leaves one that is paid for
	__atomic_signal_fence(__ATOMIC_RELEASE);
	store_relaxed(&bin->lifo_top, bin->lifo_top - 1);
}

struct lock *thread_cache_lock(void)
{
	return &recycled.lock;
}
