/*
 * Central lists, one per size class: every span of the class, those with free slots, and in free=trust a stock of freed slots that threads pass
 * to each other without touching spans.
 *
 * A span is SPAN_CURRENT (a thread takes slots from it; only that thread may make its slots ALLOCATED), SPAN_PARTIAL (in the list) or SPAN_LOOSE. free_hint
 * of a span that is not current is never below its true number of FREE slots, so "might be empty" is noticed; "is empty" is proved from the
 * bytes. After a verdict the collector sweeps all spans; refills sweep those of their own class first, from `cursor` on.
 */
#include "core/heap/central.h"

#include "core/base/bits.h"
#include "core/heap/heap_stats.h"
#include "core/heap/meta.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/heap/thread_cache.h"
#include "core/os/arch.h"
#include "core/os/lock.h"

enum {
	SWEEP_TRIES = 100, // spans a refill sweeps before it takes fresh memory: bounds its time
	STOCK_MAX = 2048,  // freed slots in stock
	STOCK_MIN = 64,
	STOCK_BYTES = 128 * 1024,
};

/* One class. The lock guards every field. */
struct central {
	struct lock lock;
	struct list_link all;
	struct list_link partial;
	struct list_link *cursor; // next span a refill sweeps; &all: none left
	uint32_t stock_count;     // read without the lock, relaxed
} ALIGNED(64);

static struct central centrals[SIZE_CLASS_COUNT + 1];

/* Room for stock_limit() entries each, had when first wanted; guarded by the class's lock. */
static struct lifo_entry *stocks[SIZE_CLASS_COUNT + 1];

void central_init(void)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		struct central *central = &centrals[class];

		central->lock = (struct lock)LOCK_INITIAL(CENTRAL);
		list_init(&central->all);
		list_init(&central->partial);
		central->cursor = &central->all;
	}
}

static size_t stock_limit(unsigned class)
{
	size_t fitting = STOCK_BYTES / size_classes[class].slot_bytes;

	return fitting > STOCK_MAX ? STOCK_MAX : fitting < STOCK_MIN ? STOCK_MIN : fitting;
}

static void loose_to_partial(struct central *central, struct span *span)
{
	check(span->place == SPAN_LOOSE);
	span->place = SPAN_PARTIAL;
	list_push_back(&central->partial, &span->link);
}

static void release_empty(struct central *central, struct span *span)
{
	if (central->cursor == &span->class_link)
		central->cursor = span->class_link.next;
	list_remove(&span->class_link);
	list_remove(&span->link);
	page_heap_free(span);
}

/*
 * Places a span that is nobody's current according to what its bytes say. `busy`: the caller holds BUSY, which ends here. Returns true when it went
 * back to the page heap.
 */
static bool settle(struct central *central, struct span *span, bool busy)
{
	uint32_t free = span_count_free(span);

	span->free_hint = free;
	if (free == span->slot_count && (busy || span_try_busy(span, SPAN_SWEPT))) {
		release_empty(central, span);
		return true;
	}
	if (busy)
		span_end_busy(span);
	if (free > 0 && span->place == SPAN_LOOSE)
		loose_to_partial(central, span);
	return false;
}

/* Holder of the class lock. */
static uint32_t sweep_small(
	struct central *central, struct span *span, bool trust, bool *ret_released)
{
	uint32_t freed = span_sweep(span, trust);

	*ret_released = false;
	store_relaxed(&span->first_hint_cycle, 0);
	if (span->place == SPAN_CURRENT)
		span_end_busy(span);
	else
		*ret_released = settle(central, span, true);
	return freed;
}

static void count_freed(const struct span *span, uint32_t slots, size_t bytes_each, bool trust)
{
	uint64_t bytes = slots * bytes_each;

	(void)span;
	if (trust) {
		add_relaxed(&heap_stats.trusted_hint_bytes, bytes);
	} else {
		add_relaxed(&heap_stats.reused_hint_count, slots);
		add_relaxed(&heap_stats.reused_hint_bytes, bytes);
	}
}

/* Holder of BUSY; what the units were when the caller looked they need not be any more. */
static size_t sweep_large(struct span *span, bool trust, bool *ret_released)
{
	size_t bytes = span_bytes(span);

	*ret_released = false;
	if (span->kind != SPAN_LARGE) {
		span_end_busy(span);
		return 0;
	}
	if (span_sweep(span, trust) == 0 && load_relaxed(span_states(span)) != SLOT_FREE) {
		span_end_busy(span);
		return 0;
	}
	count_freed(span, 1, bytes, trust);
	sub_relaxed(&heap_stats.large_bytes, bytes);
	*ret_released = true;
	page_heap_free(span);
	return bytes;
}

/*
 * Locks the class of a small span; NULL: it is none. Its units may change hands while we look, so class and kind count only under the lock: a small span
 * leaves its class under the class's lock.
 */
static struct central *lock_class_of(struct span *span)
{
	unsigned class = load_relaxed(&span->class);
	struct central *central = &centrals[class];

	if (class < 1 || class > SIZE_CLASS_COUNT)
		return 0;
	lock_acquire(&central->lock);
	if (load_relaxed(&span->kind) == SPAN_SMALL && load_relaxed(&span->class) == class &&
		!list_is_empty(&span->class_link))
		return central;
	lock_release(&central->lock);
	return 0;
}

static size_t sweep_from(struct span *span, enum sweep_state from, bool trust, bool *ret_released)
{
	struct central *central;
	size_t bytes = 0;

	*ret_released = false;
	if (load_relaxed(&span->kind) == SPAN_LARGE)
		return span_try_busy(span, from) ? sweep_large(span, trust, ret_released) : 0;
	central = lock_class_of(span);
	if (!central)
		return 0;
	if (span_try_busy(span, from)) {
		size_t bytes_each = span_slot_bytes(span);
		uint32_t freed = sweep_small(central, span, trust, ret_released);

		count_freed(span, freed, bytes_each, trust);
		bytes = freed * bytes_each;
	}
	lock_release(&central->lock);
	return bytes;
}

size_t central_sweep_span(struct span *span, bool *ret_released)
{
	return sweep_from(span, SPAN_UNSWEPT, false, ret_released);
}

size_t central_trust_span(struct span *span, bool *ret_released)
{
	return sweep_from(span, SPAN_SWEPT, true, ret_released);
}

bool central_settle_span(struct span *span)
{
	struct central *central;
	bool released = false;

	if (load_relaxed(&span->kind) == SPAN_LARGE) {
		if (!span_try_busy(span, SPAN_SWEPT))
			return false;
		released = span->kind == SPAN_LARGE && load_relaxed(span_states(span)) == SLOT_FREE;
		if (released) {
			sub_relaxed(&heap_stats.large_bytes, span_bytes(span));
			page_heap_free(span);
		} else {
			span_end_busy(span);
		}
		return released;
	}
	central = lock_class_of(span);
	if (!central)
		return false;
	if (span->place != SPAN_CURRENT) {
		list_remove(&span->link);
		span->place = SPAN_LOOSE;
		released = settle(central, span, false);
	}
	lock_release(&central->lock);
	return released;
}

void central_offer_sweep(void)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		lock_acquire(&centrals[class].lock);
		centrals[class].cursor = centrals[class].all.next;
		lock_release(&centrals[class].lock);
	}
}

/* Sweeps spans of the class until one is in the partial list. */
static void sweep_some(struct central *central)
{
	for (int tries = 0; tries < SWEEP_TRIES && central->cursor != &central->all &&
			    list_is_empty(&central->partial);
		tries++) {
		struct span *span = list_entry(central->cursor, struct span, class_link);
		size_t bytes = span_slot_bytes(span);
		bool released;

		central->cursor = central->cursor->next;
		if (span_try_busy(span, SPAN_UNSWEPT))
			count_freed(
				span, sweep_small(central, span, false, &released), bytes, false);
	}
}

static struct span *take_span_locked(struct central *central, unsigned class)
{
	struct span *span;

	if (list_is_empty(&central->partial))
		sweep_some(central);
	if (!list_is_empty(&central->partial)) {
		span = list_entry(central->partial.next, struct span, link);
		list_remove(&span->link);
		span->place = SPAN_CURRENT;
		return span;
	}
	span = page_heap_alloc(class, size_classes[class].unit_count, 1);
	if (span)
		list_push_back(&central->all, &span->class_link);
	return span;
}

struct span *central_take_span(unsigned class)
{
	struct central *central = &centrals[class];
	struct span *span;

	lock_acquire(&central->lock);
	span = take_span_locked(central, class);
	lock_release(&central->lock);
	return span;
}

static void return_span_locked(struct central *central, struct span *span)
{
	check(span->place == SPAN_CURRENT);
	span->place = SPAN_LOOSE;
	span->fresh = false;
	settle(central, span, false);
}

void central_return_span(struct span *span)
{
	struct central *central = &centrals[span->class];

	lock_acquire(&central->lock);
	return_span_locked(central, span);
	lock_release(&central->lock);
}

/* So many slots of the span (NULL: none) have become FREE outside a sweep; an empty span goes back while the class has others with free slots. */
static void note_free_locked(struct central *central, struct span *span, uint32_t count)
{
	if (!span || span->place == SPAN_CURRENT)
		return;
	span->free_hint += count;
	if (span->place == SPAN_LOOSE)
		loose_to_partial(central, span);
	if (span->free_hint >= span->slot_count &&
		central->partial.next != central->partial.previous)
		settle(central, span, false);
}

static struct span *span_of_small(const char *address)
{
	uintptr_t word = (uintptr_t)address;
	uint64_t entry = heap_contains(word) ? heap_map_entry(word) : 0;
	unsigned class = map_entry_class(entry);

	if (class < 1 || class > SIZE_CLASS_COUNT)
		fatal("a cached slot lies in no span");
	return &heap.spans[((word - heap.base) >> UNIT_SHIFT) - map_entry_offset(entry)];
}

/* Neighbours in the list are mostly neighbours in memory: a span is looked at once for all of them. */
static void free_slots_locked(
	struct central *central, const struct lifo_entry *entries, size_t count)
{
	struct span *span = 0;
	uintptr_t start = 0;
	size_t bytes = 0;
	uint32_t freed = 0;

	for (size_t i = 0; i < count; i++) {
		if ((uintptr_t)entries[i].address - start >= bytes) {
			note_free_locked(central, span, freed);
			span = span_of_small(entries[i].address);
			start = span_address(span);
			bytes = span_bytes(span);
			freed = 0;
		}
		store_release(entries[i].state, SLOT_FREE);
		freed++;
	}
	note_free_locked(central, span, freed);
}

void central_free_slots(unsigned class, const struct lifo_entry *entries, size_t count)
{
	struct central *central = &centrals[class];

	lock_acquire(&central->lock);
	free_slots_locked(central, entries, count);
	lock_release(&central->lock);
}

static bool has_room_for_stock_locked(unsigned class)
{
	if (!stocks[class])
		stocks[class] = meta_alloc(stock_limit(class) * sizeof(*stocks[class]));
	return stocks[class] != 0;
}

void central_store_slots(unsigned class, const struct lifo_entry *entries, size_t count)
{
	struct central *central = &centrals[class];
	size_t stored = 0;

	lock_acquire(&central->lock);
	if (has_room_for_stock_locked(class)) {
		stored = min_u64(stock_limit(class) - central->stock_count, count);
		__builtin_memcpy(
			&stocks[class][central->stock_count], entries, stored * sizeof(*entries));
	}
	store_relaxed(&central->stock_count, central->stock_count + (uint32_t)stored);
	free_slots_locked(central, entries + stored, count - stored);
	lock_release(&central->lock);
}

bool central_has_stock(unsigned class)
{
	return load_relaxed(&centrals[class].stock_count) > 0;
}

size_t central_fetch_slots(unsigned class, struct lifo_entry *entries, size_t count)
{
	struct central *central = &centrals[class];
	size_t fetched = 0;

	if (!central_has_stock(class))
		return 0;
	lock_acquire(&central->lock);
	while (fetched < count && fetched < central->stock_count) {
		entries[fetched] = stocks[class][central->stock_count - 1 - fetched];
		fetched++;
	}
	store_relaxed(&central->stock_count, central->stock_count - (uint32_t)fetched);
	lock_release(&central->lock);
	return fetched;
}

/* The first of `count` FREE slots of a span become CACHED. */
static size_t take_slots(struct span *span, struct lifo_entry *entries, size_t count)
{
	size_t taken = 0;

	for (uint32_t group = 0; taken < count && group < span_group_count(span); group++) {
		uint64_t mask = bytes_equal_mask(span_states(span) + group * 64, SLOT_FREE) &
				span_group_mask(span, group);

		for (; mask && taken < count; mask &= mask - 1) {
			struct slot slot = {span, group * 64 + lowest_bit(mask)};

			entries[taken++] =
				(struct lifo_entry){(char *)slot_address(slot), slot_state(slot)};
			store_relaxed(slot_state(slot), SLOT_CACHED);
		}
	}
	return taken;
}

/* The span stays in front, so that the next thread finds it. */
size_t central_share_slots(unsigned class, struct lifo_entry *entries, size_t count)
{
	struct central *central = &centrals[class];
	struct span *span;
	size_t taken = 0;

	lock_acquire(&central->lock);
	while (taken == 0 && (span = take_span_locked(central, class))) {
		taken = take_slots(span, entries, count);
		return_span_locked(central, span);
		if (span->place == SPAN_PARTIAL) {
			list_remove(&span->link);
			list_push_front(&central->partial, &span->link);
		}
	}
	lock_release(&central->lock);
	return taken;
}

size_t central_drain_stock(void)
{
	size_t bytes = 0;

	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		struct central *central = &centrals[class];

		if (!central_has_stock(class))
			continue;
		lock_acquire(&central->lock);
		free_slots_locked(central, stocks[class], central->stock_count);
		bytes += (size_t)central->stock_count * size_classes[class].slot_bytes;
		store_relaxed(&central->stock_count, 0u);
		lock_release(&central->lock);
	}
	return bytes;
}

void *central_alloc_slot(unsigned class, enum slot_state state)
{
	struct central *central = &centrals[class];
	struct span *span;
	void *address = 0;

	lock_acquire(&central->lock);
	span = take_span_locked(central, class);
	for (uint32_t group = 0; span && group < span_group_count(span); group++) {
		uint64_t mask = bytes_equal_mask(span_states(span) + group * 64, SLOT_FREE) &
				span_group_mask(span, group);

		if (mask) {
			struct slot slot = {span, group * 64 + lowest_bit(mask)};

			address = (void *)slot_address(slot);
			store_relaxed(slot_state(slot), state);
			break;
		}
	}
	if (span)
		return_span_locked(central, span);
	lock_release(&central->lock);
	KEEP_ALIVE(address);
	return address;
}

void central_reset_locks(void)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++)
		lock_reset(&centrals[class].lock);
}

static void make_lists_anew(unsigned class, bool can_walk)
{
	struct central *central = &centrals[class];

	list_init(&central->all);
	list_init(&central->partial);
	central->cursor = &central->all;
	central->stock_count = 0;
	if (!can_walk)
		return;
	heap_for_each_span(span)
	{
		if (span->kind != SPAN_SMALL || span->class != class)
			continue;
		list_init(&span->link);
		list_init(&span->class_link);
		list_push_back(&central->all, &span->class_link);
		if (span->place == SPAN_PARTIAL)
			list_push_back(&central->partial, &span->link);
	}
}

void central_repair(bool can_walk)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		if (lock_is_held(&centrals[class].lock))
			make_lists_anew(class, can_walk);
	}
}

void central_lock_all(void)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++)
		lock_acquire(&centrals[class].lock);
}

void central_unlock_all(void)
{
	for (unsigned class = SIZE_CLASS_COUNT; class >= 1; class --)
		lock_release(&centrals[class].lock);
}
