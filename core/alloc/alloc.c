/*
 * malloc and free.
 *
 * Fast paths: no lock, no atomic read-modify-write, no call. malloc takes a slot from the thread cache (LIFO, then word) and stores its state; free
 * finds the state byte by one load of the span map and one multiplication, which also proves that the address is a block's first byte, and
 * stores HINTED. Every unusual case is a state other than ALLOCATED, an empty bin or a class without a magic number, and ends in one of the slow
 * functions below.
 *
 * Two rules of order. malloc has the block's address in a register before it stores the state, and free keeps it there until the
 * state is stored: a thread stopped anywhere in between still names the block. And the state store is the last thing free does to the span.
 *
 * Without a cache (a dying thread; a signal handler that interrupted this very code) slots are taken under the class's lock, signals blocked.
 */
#include "core/alloc/alloc.h"

#include "core/alloc/fast.h"
#include "core/base/arith.h"
#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/ignored.h"
#include "core/gc/pacer.h"
#include "core/gc/probation.h"
#include "core/gc/thread.h"
#include "core/heap/central.h"
#include "core/heap/heap_stats.h"
#include "core/heap/large.h"
#include "core/heap/meta.h"
#include "core/heap/page_heap.h"
#include "core/heap/thread_cache.h"
#include "core/os/lock.h"
#include "core/os/log.h"
#include "core/os/memory.h"
#include "core/os/syscall.h"
#include "core/profile/known_stack.h"
#include "core/profile/module.h"
#include "core/profile/misuse.h"
#include "core/profile/sampler.h"
#include "core/profile/stack_table.h"
#include "core/profile/suspects.h"

#include <string.h>
#include <sys/uio.h>

enum {
	PAD_BYTES =
		8, // with a collector: one past the end of a block is still inside its slot, sizes as glibc's
	MOVE_BYTES_MIN = 1 << 20,      // realloc moves pages instead of copying from here on
	DROPPED_PART = 64,             // of a block whose pages were given back counts as hinted
	SAMPLE_CREDIT_MAX = INT32_MAX, // so that credits never overflow
	GROWTH_PART = 4,               // realloc: of a block it grows by at least
	GROWTH_BYTES_MIN = 128,        // smaller ones grow as asked
};

enum init_phase { INIT_NONE, INIT_RUNS, INIT_DONE, INIT_FAILED };

static enum stats_reply alloc_obey(enum stats_request request);

struct alloc_state alloc;

__attribute__((weak)) void alloc_start_hook(void);

bool alloc_init(void)
{
	if (LIKELY(load_acquire(&alloc.phase) == INIT_DONE))
		return true;
	if (!cas_seq(&alloc.phase, (uint32_t)INIT_NONE, (uint32_t)INIT_RUNS)) {
		while (load_acquire(&alloc.phase) == INIT_RUNS)
			cpu_relax();
		return load_acquire(&alloc.phase) == INIT_DONE;
	}
	if (alloc_start_hook)
		alloc_start_hook();
	if (!heap_init(options.collector == COLLECTOR_OFF && options.free == FREE_TRUST
			       ? 0
			       : PAD_BYTES)) {
		store_release(&alloc.phase, INIT_FAILED);
		return false;
	}
	alloc_apply_options();
	pacer_set(0, 0, 0, 0);
	alloc.bias = heap.pad + GRANULE_BYTES - 1;
	store_release(&alloc.small_max, SMALL_BYTES_MAX - heap.pad);
	store_release(&alloc.phase, INIT_DONE);
	return true;
}

/* No pause is needed: a free that still stores HINTED leaves a slot for the next sweep, and no slot is handed out but FREE or CACHED ones. */
static enum stats_reply alloc_obey(enum stats_request request)
{
	options.free = FREE_TRUST;
	stats_set(free, FREE_TRUST);
	if (request == STATS_REQUEST_COLLECTOR_OFF) {
		options.collector = COLLECTOR_OFF;
		stats_set(collector, COLLECTOR_OFF);
		stats_set(aside, STATS_ASIDE_REQUEST);
	}
	alloc_apply_options();
	cycle_trust_all();
	pacer_set(0, 0, 0, 0);
	return STATS_REPLY_DONE;
}

void alloc_apply_options(void)
{
	cycle_obey_hook = alloc_obey;
	alloc.keeps_stacks = options.stacks != STACKS_OFF;
	store_relaxed(&alloc.free_policy, (uint32_t)options.free);
}

void alloc_unreserve(void)
{
	struct signal_guard guard;

	signals_block(&guard);
	page_heap_unreserve();
	meta_unreserve();
	stack_table_unreserve();
	modules_unreserve();
	signals_restore(&guard);
}

/* ---- allocation ---- */

/* The calling thread's cache, made if it may have one; else THREAD_CACHE_NONE. */
static struct thread_cache *cache_get(void)
{
	struct thread_cache *cache = thread_cache_current;

	return LIKELY(cache != THREAD_CACHE_NONE) ? cache : thread_recover_cache();
}

/* The next sample is drawn. */
static void draw_sample(struct thread_cache *cache)
{
	uint64_t next = sampler_next(&cache->random_state);

	cache->sample_credit = next > SAMPLE_CREDIT_MAX ? SAMPLE_CREDIT_MAX : (int64_t)next;
}

static COLD struct known_stack *make_known_stack(struct thread_cache *cache)
{
	struct signal_guard guard;

	signals_block(&guard);
	cache->known_stack = meta_alloc(sizeof(struct known_stack));
	signals_restore(&guard);
	return cache->known_stack;
}

/* The caller's stack, but for frames below `skip_below`; 0: none. Where stacks are few, remembering them wins nothing. */
static ALWAYS_INLINE uint32_t capture(struct thread_cache *cache, const void *skip_below)
{
	struct known_stack *known = cache->known_stack;

	if (options.stacks == STACKS_SAMPLED || (!known && !(known = make_known_stack(cache))))
		return stack_capture(skip_below);
	return known_stack_capture(known, skip_below);
}

/* The records of a span's slots; NULL: no memory. */
static uint32_t *stack_ids_of(struct span *span)
{
	uint32_t *ids = load_acquire(&span->stack_ids);
	struct signal_guard guard;

	if (LIKELY(ids != 0))
		return ids;
	signals_block(&guard);
	ids = span_make_stack_ids(span);
	signals_restore(&guard);
	return ids;
}

/*
 * Records the caller's stack for a large block just allocated (state SAMPLED is stored last, so that whoever sees it finds the id). `mark` is 0, or
 * STACK_ID_SUSPECTED for a block that was not drawn.
 */
static void record_stack(struct thread_cache *cache, void *block, uint32_t mark)
{
	uint32_t stack = capture(cache, __builtin_frame_address(0));
	struct slot slot;
	uint32_t *ids;

	if (stack == 0 || !heap_find_slot((uintptr_t)block, &slot) ||
		!(ids = stack_ids_of(slot.span)))
		return;
	store_relaxed(&ids[slot.index], stack | mark);
	cas_seq(slot_state(slot), (uint8_t)SLOT_ALLOCATED, (uint8_t)SLOT_SAMPLED);
	KEEP_ALIVE(block);
}

/*
 * The first slot of the word, with the caller's stack, which is recorded before the slot is anybody's. `mark` as above. NULL: the word is empty, for a handler ran in
 * what we called meanwhile.
 */
static ALWAYS_INLINE void *take_recorded(
	struct thread_cache *cache, struct cache_bin *bin, uint32_t mark)
{
	uint32_t stack = capture(cache, __builtin_frame_address(0));
	struct span *span = bin->span;
	uint32_t *ids = stack != 0 ? stack_ids_of(span) : 0;

	if (UNLIKELY(bin->word == 0))
		return 0;
	if (UNLIKELY(!ids || bin->span != span))
		return bin_take_word(bin, SLOT_ALLOCATED);
	store_relaxed(&ids[bin->states - span_states(span) + lowest_bit(bin->word)], stack | mark);
	return bin_take_word(bin, SLOT_SAMPLED);
}

/* Of a word just refilled, keeps the lowest slots, at least one; the rest is found again later. */
static void trim_word(struct cache_bin *bin, unsigned count)
{
	uint64_t kept = 0, word = bin->word;

	for (unsigned i = 0; i < count && word != 0; i++) {
		kept |= word & -word;
		word &= word - 1;
	}
	if (word != 0)
		thread_cache_look_again(bin);
	bin->word = kept;
}

/*
 * Of a word just refilled, keeps as many slots as may be handed out before the next sample is due; the rest is found again later. True when the very
 * next one is to be sampled (it alone is kept).
 */
static bool trim_to_credit(struct thread_cache *cache, struct cache_bin *bin)
{
	int64_t count, fitting;

	if (cache->sample_credit < (int64_t)bin->slot_bytes) {
		trim_word(bin, 1);
		return true;
	}
	count = count_bits(bin->word);
	fitting =
		(int64_t)min_u64((uint64_t)cache->sample_credit / bin->slot_bytes, (uint64_t)count);
	if (fitting < count)
		trim_word(bin, (unsigned)fitting);
	cache->sample_credit -= fitting * (int64_t)bin->slot_bytes;
	return false;
}

/* The thread's blocks are ignored: of a word just refilled one slot is kept, so that the next block comes this way too. True: it is to be sampled as well. */
static bool trim_to_one(struct thread_cache *cache, struct cache_bin *bin)
{
	uint64_t first = bin->word & -bin->word;

	if (bin->word != first)
		thread_cache_look_again(bin);
	bin->word = first;
	cache->sample_credit -= bin->slot_bytes;
	return alloc.keeps_stacks && cache->sample_credit <= 0;
}

/* NULL: as take_recorded(). */
static NOINLINE void *take_sampled(struct thread_cache *cache, struct cache_bin *bin)
{
	bool is_ignored = cache->bypasses > 0;
	bool is_due = is_ignored ? trim_to_one(cache, bin) : trim_to_credit(cache, bin);
	void *block;

	if (is_due) {
		draw_sample(cache);
		block = take_recorded(cache, bin, 0);
	} else {
		block = bin_take_word(bin, SLOT_ALLOCATED);
	}
	if (is_ignored && block)
		ignored_add(block);
	return block;
}

/* A word of a class that is suspected of leaking was just refilled: one slot of it with a stack, or some without. NULL: as take_recorded(). */
static NOINLINE void *take_suspected(struct thread_cache *cache, unsigned class)
{
	struct cache_bin *bin = &cache->bins[class];
	unsigned passing = suspect_passing(cache, class);
	bool is_drawn;
	void *block;

	trim_word(bin, passing > 0 ? passing : 1);
	if (passing > 0) {
		suspect_passed(cache, class, count_bits(bin->word));
		return take_sampled(cache, bin);
	}
	is_drawn = trim_to_credit(cache, bin);
	if (is_drawn)
		draw_sample(cache);
	block = take_recorded(cache, bin, is_drawn ? 0 : STACK_ID_SUSPECTED);
	suspect_done(cache, class);
	return block;
}

/*
 * free=trust: of the slots that the thread has freed and not paid for, some that are paid for now, or one with a stack. NULL: as take_recorded().
 */
static NOINLINE void *take_kept(struct thread_cache *cache, unsigned class)
{
	struct lifo_entry *newest = thread_cache_newest_kept(cache, class), entry = *newest;
	uint32_t *ids = 0;
	struct slot slot;
	uint32_t stack;

	if (thread_cache_pay(cache, class))
		return bin_take_lifo(&cache->bins[class]);
	draw_sample(cache);
	stack = capture(cache, __builtin_frame_address(0));
	if (stack != 0 && heap_find_slot((uintptr_t)entry.address, &slot))
		ids = stack_ids_of(slot.span);
	if (UNLIKELY(!thread_cache_keeps(cache, class) ||
		     thread_cache_newest_kept(cache, class) != newest ||
		     newest->address != entry.address))
		return 0;
	if (ids)
		store_relaxed(&ids[slot.index], stack);
	thread_cache_take_kept(cache, class);
	__asm__ volatile("" : "+r"(entry.address));
	store_relaxed(entry.state, ids ? SLOT_SAMPLED : SLOT_ALLOCATED);
	KEEP_ALIVE(entry.address);
	return entry.address;
}

static COLD void *malloc_small_uncached(unsigned class)
{
	struct signal_guard guard;
	void *block;

	signals_block(&guard);
	block = central_alloc_slot(class, SLOT_ALLOCATED);
	signals_restore(&guard);
	KEEP_ALIVE(block);
	return block;
}

/*
 * The kernel gives no more memory. True: what the program has freed was made free, try once more. By a cycle, or where none gives a verdict
 * unproved: any other allocator would have memory here, and a malloc that fails is worse than an old hint that is trusted. `gasket status`
 * shows what was trusted; the program's standard error is left alone, for a malloc that fails here may be what it is written for.
 */
static COLD bool make_room(size_t bytes)
{
	uint64_t hinted = pacer_hinted_bytes();

	if (load_relaxed(&alloc.free_policy) != FREE_HINT || hinted == 0 || hinted < bytes ||
		cache_get() == THREAD_CACHE_NONE)
		return false;
	for (int i = 0; i < NO_VERDICT_CYCLES_MAX; i++)
		if (cycle_collect())
			return true;
	if (options.gctrace > 0)
		log_line("no memory and no verdict: freed memory is used again unproved");
	cycle_trust_all();
	return true;
}

NOINLINE void *alloc_small_slow(unsigned class, size_t granules)
{
	struct thread_cache *cache;
	struct cache_bin *bin;

	if (UNLIKELY(!alloc_init()))
		return 0;
	cache = cache_get();
	if (cache == THREAD_CACHE_NONE)
		return malloc_small_uncached(class);
	suspects_obey(cache);
	bin = &cache->bins[class];
	if (bin->lifo_top != bin->lifo)
		return bin_take_lifo(bin);
	if (bin->word == 0) {
		struct span *before = bin->span;
		uint32_t shared = bin->shared_count;

		if (thread_cache_keeps(cache, class)) {
			void *block = take_kept(cache, class);

			return LIKELY(block != 0) ? block : alloc_small_slow(class, granules);
		}
		if (!thread_cache_refill(cache, class) &&
			!(make_room(size_classes[class].slot_bytes) &&
				thread_cache_refill(cache, class)))
			return 0;
		if (bin->span != before || bin->shared_count != shared)
			pacer_note_growth(UNIT_BYTES);
		if (bin->lifo_top != bin->lifo)
			return bin_take_lifo(bin);
		// the pacer may have waited for a cycle with signals open, and a handler may have used the bin's word up
		if (bin->word == 0)
			return alloc_small_slow(class, granules);
		thread_cache_clear_end(bin, granules);
		if (UNLIKELY(alloc.keeps_stacks || cache->bypasses > 0)) {
			void *block = UNLIKELY(suspects_contain(class)) && cache->bypasses == 0
					      ? take_suspected(cache, class)
					      : take_sampled(cache, bin);

			return LIKELY(block != 0) ? block : alloc_small_slow(class, granules);
		}
	}
	return bin_take_word(bin, SLOT_ALLOCATED);
}

/* free=trust: a large block that this thread has freed, of exactly as many units; NULL: none. */
static void *take_cached_large(size_t size, size_t alignment)
{
	size_t units = (size + heap.pad + UNIT_BYTES - 1) >> UNIT_SHIFT;
	struct thread_cache *cache = thread_cache_current;
	struct large_bin *bin =
		&cache->large[units <= LARGE_UNITS_MAX ? units : 0]; // nothing has no units
	struct span *span;
	void *block;

	if (bin->count == 0 || alignment > UNIT_BYTES)
		return 0;
	span = bin->spans[--bin->count];
	large_tell_all(span); // the block before may have been shorter
	block = (void *)span_address(span);
	__asm__ volatile("" : "+r"(block));
	store_relaxed(span_states(span), SLOT_ALLOCATED);
	KEEP_ALIVE(block);
	return block;
}

static uint32_t cached_units(const struct thread_cache *cache)
{
	uint32_t sum = 0;

	for (uint32_t units = 1; units <= LARGE_UNITS_MAX; units++)
		sum += cache->large[units].count * units;
	return sum;
}

/* True when the block, CACHED from now on, is in the cache. */
static bool cache_large(struct slot slot, uint8_t from)
{
	uint32_t units = slot.span->unit_count;
	struct thread_cache *cache = cache_get();
	struct large_bin *bin;

	if (units > LARGE_UNITS_MAX || cache == THREAD_CACHE_NONE || slot.span->moved ||
		load_relaxed(&slot.span->odd))
		return false;
	bin = &cache->large[units];
	if ((bin->count + 1) * units > LARGE_BIN_UNITS ||
		cached_units(cache) + units > LARGE_CACHE_UNITS_MAX)
		return false;
	if (!cas_seq(slot_state(slot), from, (uint8_t)SLOT_CACHED))
		return false;
	bin->spans[bin->count] = slot.span;
	__atomic_signal_fence(__ATOMIC_RELEASE); // a handler may jump out between the two
	bin->count++;
	return true;
}

/* A block that came past the cache, or stayed where it is: ignored or not as the thread wants it now. */
static void *mark_ignored(void *block)
{
	if (UNLIKELY(thread_cache_current->bypasses > 0) && block)
		ignored_add(block);
	return block;
}

static void sample_large(void *block, size_t size)
{
	struct thread_cache *cache;
	bool is_drawn;

	if (!alloc.keeps_stacks || (cache = cache_get()) == THREAD_CACHE_NONE)
		return;
	cache->sample_credit -= (int64_t)min_u64(size, SAMPLE_CREDIT_MAX);
	is_drawn = cache->sample_credit <= 0;
	if (is_drawn)
		draw_sample(cache);
	if (is_drawn || suspects_contain(block_class_of(align_up(size + heap.pad, UNIT_BYTES))))
		record_stack(cache, block, is_drawn ? 0 : STACK_ID_SUSPECTED);
}

static void *malloc_large_unmarked(size_t size, size_t alignment, bool *ret_zero)
{
	void *block;

	if (size > BLOCK_BYTES_MAX)
		return 0;
	block = take_cached_large(size, alignment);
	if (block) {
		*ret_zero = false;
		sample_large(block, size);
		return block;
	}
	pacer_note_growth(size);
	block = large_alloc(size + heap.pad, alignment, ret_zero);
	if (UNLIKELY(!block) && (thread_cache_drop_large(thread_cache_current) || make_room(size)))
		block = large_alloc(size + heap.pad, alignment, ret_zero);
	if (block)
		sample_large(block, size);
	return block;
}

static NOINLINE void *malloc_large(size_t size, size_t alignment, bool *ret_zero)
{
	return mark_ignored(malloc_large_unmarked(size, alignment, ret_zero));
}

/* Sizes above the classes, and nearly every size before alloc_init(). */
NOINLINE void *alloc_slow(size_t size)
{
	bool zero;

	if (!alloc_init())
		return 0;
	return size <= alloc.small_max ? alloc_malloc(size)
				       : malloc_large(size, GRANULE_BYTES, &zero);
}

static ALWAYS_INLINE void *malloc_class(unsigned class)
{
	struct cache_bin *bin = &thread_cache_current->bins[class];

	if (bin->lifo_top != bin->lifo)
		return bin_take_lifo(bin);
	if (LIKELY(bin->word != 0))
		return bin_take_word(bin, SLOT_ALLOCATED);
	return alloc_small_slow(class, 0);
}

void *alloc_malloc(size_t size)
{
	return alloc_malloc_fast(size, alloc_small_slow, alloc_slow);
}

void *alloc_zeroed(size_t size)
{
	bool zero = false;
	void *block;

	if (!alloc_init())
		return 0;
	block = size <= alloc.small_max ? alloc_malloc(size)
					: malloc_large(size, GRANULE_BYTES, &zero);
	if (block && !zero)
		memset(block, 0, size);
	return block;
}

void *alloc_aligned(size_t alignment, size_t size)
{
	bool zero;

	if (alignment <= GRANULE_BYTES)
		return alloc_malloc(size);
	if (!alloc_init())
		return 0;
	// spans start at multiples of 64 KiB, so a slot is aligned when the slot size is a multiple of the alignment
	if (size <= alloc.small_max) {
		size_t rounded = alignment <= SMALL_BYTES_MAX ? align_up(size + heap.pad, alignment)
							      : SIZE_MAX;

		if (rounded > SMALL_BYTES_MAX)
			return malloc_large(size, alignment, &zero);
		for (unsigned class = size_class_of(rounded); class <= SIZE_CLASS_COUNT; class ++) {
			if ((size_classes[class].slot_bytes & (alignment - 1)) == 0)
				return malloc_class(class);
		}
	}
	return malloc_large(size, alignment, &zero);
}

/* ---- free ---- */

NOINLINE void alloc_note_hinted(struct thread_cache *cache)
{
	int64_t bytes = HINT_QUANTUM_BYTES - cache->hint_credit;

	if (cache == THREAD_CACHE_NONE) {
		cache->hint_credit = 0;
		return;
	}
	cache->hint_credit = HINT_QUANTUM_BYTES;
	pacer_note_hinted(bytes > 0 ? (uint64_t)bytes : 0);
}

/* free=trust, small block (CACHED by now), no room in the LIFO (or none yet). */
static void trust_small_slow(struct slot slot, uint8_t *state)
{
	struct thread_cache *cache = cache_get();
	unsigned class = slot.span->class;
	struct cache_bin *bin = &cache->bins[class];
	struct lifo_entry entry = {(char *)slot_address(slot), state};
	struct signal_guard guard;

	if (cache == THREAD_CACHE_NONE || cache->bypasses > 0 || suspects_contain(class)) {
		signals_block(&guard);
		central_free_slots(class, &entry, 1);
		signals_restore(&guard);
		return;
	}
	if (alloc.keeps_stacks) {
		thread_cache_keep(cache, class, entry);
		return;
	}
	if (bin->lifo_top >= bin->lifo_end)
		thread_cache_spill(cache, class);
	*bin->lifo_top = entry;
	__atomic_signal_fence(__ATOMIC_RELEASE);
	bin->lifo_top++;
}

static COLD void free_misuse(
	uint64_t *counter, enum finding_misuse kind, const void *pointer, uint32_t allocation)
{
	add_relaxed(counter, 1);
	misuse_note(kind, pointer, allocation);
}

/* The program gives up a block in a live state `from`. */
static void hint_slow(struct slot slot, uint8_t from)
{
	uint8_t *state = slot_state(slot);
	bool is_large = slot.span->kind == SPAN_LARGE;
	uint64_t bytes = slot_bytes(slot);
	uint64_t policy = load_relaxed(&alloc.free_policy);
	bool trust = policy == FREE_TRUST;

	if (policy == FREE_IGNORE)
		return;
	if (is_large)
		large_note_freed(slot.span);
	if (trust && is_large && cache_large(slot, from))
		return;
	// small and trusted: never HINTED, not even for a moment, for the sweep might find it so and make it FREE a second time
	if (!cas_seq(state, from, (uint8_t)(trust && !is_large ? SLOT_CACHED : SLOT_HINTED))) {
		free_misuse(&heap_stats.double_free_count, FINDING_MISUSE_DOUBLE_FREE,
			(const void *)slot_address(slot), 0);
		return;
	}
	if (!trust) {
		// what is left of it is a range of addresses
		if (is_large && bytes >= options.hint_drop_bytes && large_drop(slot.span))
			bytes /= DROPPED_PART;
		pacer_note_hinted(bytes);
		return;
	}
	if (is_large)
		large_free_hinted(slot.span);
	else
		trust_small_slow(slot, state);
	pacer_note_free_pages();
}

/* Whose the block was is told by its slot until the sweep. */
static uint32_t misused_stack(struct slot slot)
{
	uint8_t state = load_relaxed(slot_state(slot));

	return state == SLOT_SAMPLED || state == SLOT_HINTED ? slot_stack_id(slot) : 0;
}

NOINLINE void alloc_free_slow(void *pointer)
{
	struct slot slot;
	uint8_t state;

	if (!heap_contains((uintptr_t)pointer)) {
		free_misuse(&heap_stats.foreign_free_count, FINDING_MISUSE_FOREIGN, pointer, 0);
		return;
	}
	if (!heap_find_slot((uintptr_t)pointer, &slot)) {
		free_misuse(&heap_stats.unused_free_count, FINDING_MISUSE_UNUSED, pointer, 0);
		return;
	}
	if (slot_address(slot) != (uintptr_t)pointer) {
		free_misuse(&heap_stats.interior_free_count, FINDING_MISUSE_INTERIOR, pointer,
			misused_stack(slot));
		return;
	}
	state = load_relaxed(slot_state(slot));
	if (state == SLOT_PROBATION)
		probation_evidence(slot);
	if (state_is_live(state) || state == SLOT_PROBATION)
		hint_slow(slot, state);
	else
		free_misuse(&heap_stats.double_free_count, FINDING_MISUSE_DOUBLE_FREE, pointer,
			misused_stack(slot));
	KEEP_ALIVE(pointer);
}

/*
 * A block with a record is freed as one without, where all have one. (A change of state that the collector makes at the same moment is lost as it is there, and is none
 * of those that matter: the block is the program's, or was freed twice.)
 */
NOINLINE void alloc_free_other(void *pointer, uint8_t *state, unsigned class)
{
	struct thread_cache *cache = thread_cache_current;
	int64_t credit;

	if (load_relaxed(state) != SLOT_SAMPLED || load_relaxed(&alloc.free_policy) != FREE_HINT) {
		alloc_free_slow(pointer);
		return;
	}
	credit = load_relaxed(&cache->hint_credit) - size_classes[class].slot_bytes;
	store_relaxed(&cache->hint_credit, credit);
	store_release(state, SLOT_HINTED);
	KEEP_ALIVE(pointer);
	if (UNLIKELY(credit < 0))
		alloc_note_hinted(cache);
}

/* Neither room in the LIFO nor free=hint. */
NOINLINE void alloc_free_full(void *pointer, uint8_t *state)
{
	struct thread_cache *cache = thread_cache_current;
	unsigned class = map_entry_class(heap_map_entry((uintptr_t)pointer));

	suspects_obey(cache);
	if (!alloc.keeps_stacks || cache == THREAD_CACHE_NONE || cache->bypasses > 0 ||
		suspects_contain(class) || load_relaxed(&alloc.free_policy) != FREE_TRUST) {
		alloc_free_slow(pointer);
		return;
	}
	thread_cache_keep(cache, class, (struct lifo_entry){pointer, state});
	store_release(state, SLOT_CACHED);
	KEEP_ALIVE(pointer);
}

void alloc_free(void *pointer)
{
	alloc_free_fast(pointer);
}

/* ---- blocks that are no leaks ---- */

void alloc_ignore_begin(void)
{
	struct thread_cache *cache;

	if (!alloc_init() || options.collector == COLLECTOR_OFF ||
		(cache = cache_get()) == THREAD_CACHE_NONE)
		return;
	thread_cache_bypass_begin(cache);
}

void alloc_ignore_end(void)
{
	if (thread_cache_current != THREAD_CACHE_NONE)
		thread_cache_bypass_end(thread_cache_current);
}

/* ---- realloc, usable size ---- */

/* The block whose first byte is at `pointer`, whatever its state; false for anything else. Notices a block on probation. */
static bool find_block(const void *pointer, struct slot *ret_slot)
{
	if (!heap_find_block((uintptr_t)pointer, ret_slot))
		return false;
	if (UNLIKELY(load_relaxed(slot_state(*ret_slot)) == SLOT_PROBATION)) {
		probation_evidence(*ret_slot);
		cas_seq(slot_state(*ret_slot), (uint8_t)SLOT_PROBATION,
			(uint8_t)(slot_record(*ret_slot) ? SLOT_SAMPLED : SLOT_ALLOCATED));
	}
	return true;
}

size_t alloc_usable_size(const void *pointer)
{
	struct slot slot;

	if (!find_block(pointer, &slot))
		return 0;
	if (slot.span->kind == SPAN_LARGE)
		large_tell_all(slot.span);
	return slot_bytes(slot) - heap.pad;
}

/* A pointer that is not ours (the loader's early allocator, another libc): its length is unknown, so what can be read is copied. */
static void *realloc_foreign(const void *pointer, size_t size)
{
	char *block = alloc_malloc(size);
	long process = SYSCALL_0(SYS_getpid);
	size_t done = 0;

	while (block && done < size) {
		size_t piece = min_u64(size - done,
			OS_PAGE_BYTES - (((uintptr_t)pointer + done) & (OS_PAGE_BYTES - 1)));
		struct iovec local = {block + done, piece},
			     remote = {(char *)(uintptr_t)pointer + done, piece};

		if (SYSCALL(process_vm_readv, process, &local, 1, &remote, 1, 0) != (long)piece)
			break;
		done += piece;
	}
	return block;
}

static bool resize_in_place(struct slot slot, size_t size)
{
	size_t old_bytes = slot_bytes(slot), wanted = size + heap.pad;
	bool trust = load_relaxed(&alloc.free_policy) == FREE_TRUST;

	if (slot.span->kind == SPAN_LARGE) {
		if (wanted <= SMALL_BYTES_MAX || !large_resize(slot.span, wanted, trust))
			return false;
		if (!trust && slot_bytes(slot) < old_bytes)
			pacer_note_hinted(old_bytes - slot_bytes(slot));
		return true;
	}
	// a slot is left when the block would fit a much smaller one
	return wanted <= old_bytes && (wanted > old_bytes / 2 || old_bytes <= 4 * GRANULE_BYTES);
}

/* A larger block for the contents of a large one, which its pages may have been moved to. */
static void *grow_large(struct span *span, size_t size, bool *ret_moved)
{
	size_t old_bytes = span_bytes(span);
	bool trust = load_relaxed(&alloc.free_policy) == FREE_TRUST;
	void *block = take_cached_large(size, GRANULE_BYTES);

	if (block)
		return mark_ignored(block);
	pacer_note_growth(size);
	block = large_move(span, size + heap.pad, trust, ret_moved);
	if (!block)
		return 0;
	if (*ret_moved && !trust)
		pacer_note_hinted(old_bytes);
	sample_large(block, size);
	return mark_ignored(block);
}

/*
 * What is asked for in place of `size`. Who lets a block grow does it again, and each time leaves a slot behind that has to be verified: so small blocks grow by a
 * quarter at least. With free=trust the slot left is used at once.
 */
static size_t with_room_to_grow(struct slot slot, size_t size)
{
	size_t old_bytes = slot_bytes(slot), roomy = old_bytes + old_bytes / GROWTH_PART - heap.pad;

	if (load_relaxed(&alloc.free_policy) != FREE_HINT || size + heap.pad <= old_bytes ||
		old_bytes < GROWTH_BYTES_MIN || roomy + heap.pad > SMALL_BYTES_MAX)
		return size;
	return max_u64(size, roomy);
}

static void *move_block(void *pointer, struct slot slot, size_t size)
{
	size_t old_bytes = slot_bytes(slot);
	bool is_live = state_is_live(load_relaxed(slot_state(slot))), is_moved = false;
	void *block = 0;

	if (is_live && slot.span->kind == SPAN_LARGE && size > old_bytes &&
		old_bytes >= MOVE_BYTES_MIN)
		block = grow_large(slot.span, size, &is_moved);
	if (is_moved)
		return block;
	if (!block)
		block = alloc_malloc(with_room_to_grow(slot, size));
	if (UNLIKELY(!block)) // a smaller one is not worth failing for
		return is_live && size + heap.pad <= old_bytes ? pointer : 0;
	memcpy(block, pointer, min_u64(size, old_bytes - heap.pad));
	if (is_live)
		alloc_free(pointer);
	return block;
}

void *alloc_realloc(void *pointer, size_t size)
{
	struct slot slot;

	if (size > BLOCK_BYTES_MAX - UNIT_BYTES)
		return 0;
	if (!heap_contains((uintptr_t)pointer))
		return alloc_init() ? realloc_foreign(pointer, size) : 0;
	if (!find_block(pointer, &slot)) {
		free_misuse(&heap_stats.interior_free_count, FINDING_MISUSE_INTERIOR, pointer, 0);
		return alloc_malloc(size);
	}
	if (!state_is_live(load_relaxed(slot_state(slot)))) {
		// the program reallocates what it has freed: what it would read is copied, the old block stays as it is
		free_misuse(&heap_stats.double_free_count, FINDING_MISUSE_DOUBLE_FREE, pointer,
			misused_stack(slot));
		return move_block(pointer, slot, size);
	}
	if (resize_in_place(slot, size)) {
		if (UNLIKELY(slot_record(slot) & SLOT_IGNORED))
			ignored_remove(pointer);
		mark_ignored(pointer);
		KEEP_ALIVE(pointer);
		return pointer;
	}
	return move_block(pointer, slot, size);
}
