/*
 * The window: how much address space, where. Without a limit on addresses 1 TiB is reserved (it costs no memory), halved until the kernel
 * agrees. Under RLIMIT_AS the same layout is only chosen and filled piece by piece (core/os/memory.h).
 */
#include "core/heap/heap.h"

#include "core/base/bits.h"
#include "core/heap/central.h"
#include "core/heap/heap_stats.h"
#include "core/heap/meta.h"
#include "core/heap/page_heap.h"
#include "core/os/arch.h"
#include "core/os/memory.h"

#define WINDOW_MAX ((size_t)1 << 40)
#define WINDOW_MIN ((size_t)1 << 28)
#define META_SHARE 16 /* metadata arena: this part of the window */

struct heap heap;
struct heap_stats heap_stats;

bool heap_init(size_t pad)
{
	size_t limit = os_address_space_limit();
	size_t window = WINDOW_MAX;
	bool reserve = limit == SIZE_MAX;

	heap.pad = pad;
	if (!reserve)
		window = max_u64(
			min_u64((size_t)4 << highest_bit(limit | 1), WINDOW_MAX), WINDOW_MIN);
	for (; window >= WINDOW_MIN; window /= 2) {
		if (!page_heap_init(window, meta_region(window / META_SHARE), reserve))
			continue;
		central_init();
		return true;
	}
	return false;
}

struct span *heap_span_at(uint32_t unit)
{
	return unit < heap_used_units() ? &heap.spans[unit] : 0;
}

struct span *heap_used_span_from(uint32_t *unit)
{
	enum { UNITS_MAX = 1 << 14 };
	uint32_t end = (uint32_t)min_u64(heap_used_units(), (uint64_t)*unit + UNITS_MAX);

	for (; *unit < end; (*unit)++) {
		uint64_t entry = load_relaxed(&heap.map[*unit]);
		unsigned class = map_entry_class(entry);
		uint32_t first = class == SIZE_CLASS_LARGE ? map_entry_unit(entry)
							   : *unit - map_entry_offset(entry);

		if (class != 0) {
			*unit = first + heap.spans[first].unit_count;
			return &heap.spans[first];
		}
	}
	return 0;
}

struct span *heap_next_used_span(uint32_t *unit)
{
	struct span *found = 0;

	while (!found && *unit < heap_used_units()) {
		lock_acquire(page_heap_lock());
		found = heap_used_span_from(unit);
		lock_release(page_heap_lock());
	}
	return found;
}

uint32_t *span_make_stack_ids(struct span *span)
{
	uint32_t *ids = load_acquire(&span->stack_ids);
	uint32_t *fresh;

	if (ids)
		return ids;
	fresh = meta_alloc(span->slot_count * sizeof(*fresh));
	if (!fresh)
		return 0;
	if (cas_seq(&span->stack_ids, (uint32_t *)0, fresh))
		return fresh;
	meta_free(fresh, span->slot_count * sizeof(*fresh));
	return load_acquire(&span->stack_ids);
}

void heap_make_odd(uintptr_t address, size_t bytes)
{
	for (uintptr_t word = align_down(address, UNIT_BYTES); word < address + bytes;
		word += UNIT_BYTES) {
		struct slot slot;

		if (!heap_find_slot(word, &slot))
			continue;
		store_relaxed(&heap.has_odd, 1u);
		store_relaxed(&slot.span->odd, 1);
	}
}

void heap_fork_child(void)
{
	heap_for_each_span(span)
	{
		if (span->kind == SPAN_SMALL || span->kind == SPAN_LARGE)
			store_relaxed(&span->sweep, SPAN_SWEPT);
	}
}

static void check_small(const struct span *span)
{
	const uint8_t *states = span_states(span);
	const struct size_class *class = &size_classes[span->class];

	check(span->unit_count == class->unit_count && span->slot_count == class->slot_count);
	for (uint32_t i = 0; i < class->group_count * 64; i++)
		check(i < span->slot_count ? states[i] < SLOT_STATE_COUNT : states[i] == SLOT_FREE);
}

void heap_check(void)
{
	heap_for_each_span(span)
	{
		uint32_t unit = span_first_unit(span);

		check(span->unit_count > 0 && unit + span->unit_count <= heap_used_units());
		check(span->kind >= SPAN_FREE_RUN && span->kind <= SPAN_LOST);
		for (uint32_t i = 0; i < span->unit_count; i++) {
			uint64_t entry = heap.map[unit + i];

			check((map_entry_class(entry) == 0) ==
				(span->kind == SPAN_FREE_RUN || span->kind == SPAN_LOST));
			if (span->kind == SPAN_SMALL)
				check(map_entry_offset(entry) == i &&
					map_entry_group(entry) == span->group);
			if (span->kind == SPAN_LARGE)
				check(map_entry_unit(entry) == unit);
		}
		if (span->kind == SPAN_SMALL)
			check_small(span);
	}
}
