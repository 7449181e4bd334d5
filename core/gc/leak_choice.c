/*
 * leak_choice_condemn() flags what the rules let go: a block that a staying one refers to is HELD, and of those that may go, the direct ones are ROOT.
 * leak_choice_choose() takes direct ones, and those whose holders went in an earlier cycle; so what a chosen block holds goes one cycle later at the earliest.
 * Before leak_choice_take() whatever speaks for a block takes CHOSEN from it.
 *
 * Locks: none taken here; a span is made BUSY while its blocks are taken.
 */
#include "core/gc/leak_choice.h"

#include "core/base/sort.h"
#include "core/gc/leak_groups.h"
#include "core/heap/central.h"
#include "core/heap/sweep.h"
#include "core/os/memory.h"

/* ---- the choice ---- */

static bool stays(const struct leaked *leaked)
{
	return !(leaked->flags & LEAKED_CONDEMNED);
}

static bool may_go(const struct leaked *leaked)
{
	return (leaked->flags & (LEAKED_CONDEMNED | LEAKED_HELD)) == LEAKED_CONDEMNED;
}

bool leak_choice_condemn(struct leak_set *set, bool (*is_old_enough)(const struct leaked *leaked))
{
	size_t condemned = 0;

	for (size_t i = 0; i < set->count; i++) {
		struct leaked *leaked = &set->list[i];

		if (!is_old_enough(leaked) || !leak_group_is_growing(leaked->group))
			continue;
		leaked->flags |= LEAKED_CONDEMNED;
		condemned++;
	}
	return condemned > 0 && leak_set_reach(set, stays, LEAKED_HELD) &&
	       leak_set_find_roots(set, may_go);
}

/* A block that may go now, with what decides the order. */
struct candidate {
	uint64_t group_bytes;
	uint32_t group;
	uint32_t first_ms;
	uint32_t index;
};

static bool goes_first(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;

	if (a->group_bytes != b->group_bytes)
		return a->group_bytes > b->group_bytes;
	if (a->group != b->group)
		return a->group < b->group;
	if (a->first_ms != b->first_ms)
		return a->first_ms > b->first_ms;
	return a->index > b->index;
}

static size_t list_candidates(const struct leak_set *set, struct candidate *candidates)
{
	size_t count = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct leaked *leaked = &set->list[i];

		if (!may_go(leaked) || !(leaked->flags & (LEAKED_ROOT | LEAKED_HOLDER_GONE)))
			continue;
		candidates[count++] = (struct candidate){
			.group_bytes = leak_group_get(leaked->group)->bytes,
			.group = leaked->group,
			.first_ms = leaked->first_ms,
			.index = (uint32_t)i,
		};
	}
	return count;
}

size_t leak_choice_choose(struct leak_set *set, uint64_t excess)
{
	struct candidate *candidates = os_map(set->count * sizeof(*candidates));
	uint64_t bytes = 0;
	size_t count, chosen = 0;

	if (!candidates)
		return 0;
	count = list_candidates(set, candidates);
	sort_items(candidates, count, sizeof(*candidates), goes_first);
	for (; chosen < count && bytes < excess; chosen++) {
		struct leaked *leaked = &set->list[candidates[chosen].index];

		leaked->flags |= LEAKED_CHOSEN;
		bytes += leaked_bytes(leaked);
	}
	os_unmap(candidates, set->count * sizeof(*candidates));
	return chosen;
}

/* ---- taking back ---- */

static void end_span(struct span *span)
{
	if (!span)
		return;
	span_end_busy(span);
	central_settle_span(span);
}

void leak_choice_take(struct leak_set *set, void (*note)(const struct leaked *leaked))
{
	struct span *span = 0;

	for (size_t i = 0; i < set->count; i++) {
		struct leaked *leaked = &set->list[i];
		struct slot slot;

		if (!(leaked->flags & LEAKED_CHOSEN))
			continue;
		if (heap_find_slot(leaked->address, &slot)) {
			if (slot.span != span) {
				end_span(span);
				span = span_try_busy(slot.span, SPAN_SWEPT) ? slot.span : 0;
			}
			if (span && slot_reclaim(slot)) {
				note(leaked);
				set->bytes -= leaked_bytes(leaked);
				continue;
			}
		}
		leaked->flags &= ~(uint32_t)(LEAKED_CHOSEN | LEAKED_CONDEMNED);
	}
	end_span(span);
}

void leak_choice_drop(struct leak_set *set)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		if (!(set->list[i].flags & LEAKED_CHOSEN))
			set->list[kept++] = set->list[i];
	}
	set->count = kept;
	leak_set_forget_edges(set);
}

static bool still_holds(const struct leaked *leaked)
{
	return !(leaked->flags & LEAKED_CHOSEN) && (!may_go(leaked) || leaked->flags & LEAKED_ROOT);
}

void leak_choice_free_from_holders(struct leak_set *set)
{
	if (!leak_set_reach(set, still_holds, LEAKED_VISITED))
		return;
	for (size_t i = 0; i < set->count; i++) {
		struct leaked *leaked = &set->list[i];

		if (may_go(leaked) &&
			!(leaked->flags & (LEAKED_CHOSEN | LEAKED_ROOT | LEAKED_VISITED)))
			leaked->flags |= LEAKED_HOLDER_GONE;
		leaked->flags &= ~(uint32_t)LEAKED_VISITED;
	}
}
