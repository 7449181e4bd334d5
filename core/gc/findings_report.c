/*
 * Leaks are listed by origin: direct ones first, in an order that is the same in every run (a hash of the stack by names of files and offsets in them), then what they
 * alone hold, by holder and origin. A block that several hold is counted under the first of them in that order. So two runs of the same program give the same
 * list, whatever addresses the kernel chose.
 *
 * What was taken back has no holder any more: it is listed under none.
 */
#include "core/gc/findings_report.h"

#include "core/base/arith.h"
#include "core/base/sort.h"
#include "core/gc/cycle.h"
#include "core/gc/dangling.h"
#include "core/gc/growth.h"
#include "core/gc/leak_owners.h"
#include "core/gc/leak_set.h"
#include "core/gc/probation.h"
#include "core/gc/sites.h"
#include "core/heap/heap_stats.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/log.h"
#include "core/os/memory.h"
#include "core/profile/findings_meta.h"
#include "core/profile/findings_writer.h"
#include "core/profile/misuse.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/stats_page.h"

#include <assert.h>

#define HASH_FACTOR 0x9e3779b97f4a7c15ull

struct listing {
	struct leak_set *set;
	const struct leak_sums *reclaimed;
	uint64_t *order; // of each block's origin
	uint32_t *owner; // of each block, an index in the set
	struct leak_sums origins, direct, indirect, dangling;
	uint64_t *held_blocks, *held_bytes; // by direct leak
	uint64_t dropped;                   // blocks that are in no sum
	bool is_folded;                     // owners are known
	uint32_t clock_ms;
	uint64_t age_ms;
};

/* ---- the order of origins ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * HASH_FACTOR;
	return hash ^ hash >> 32;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = mix(hash, (unsigned char)*text);
	return hash;
}

static uint64_t order_of(const struct leak_entry *entry)
{
	const struct stack *stack = stack_table_get(entry->stack);
	uint64_t hash = mix(0, entry->slot_bytes);

	for (uint32_t i = 0; stack && i < stack->depth; i++) {
		const struct module *module =
			module_find_in_epoch(stack->frames[i] - 1, stack->epoch);

		if (module)
			hash = mix_text(hash, module->path);
		hash = mix(hash, stack->frames[i] - (module ? module->bias : 0));
	}
	return hash;
}

static struct leak_entry origin_of(struct leak_entry entry)
{
	entry.is_indirect = 0;
	entry.parent = LEAK_PARENT_NONE;
	return entry;
}

/* The sum of the entry's origin, whose order is known, and later its place in the list. */
static struct leak_entry *add_origin(struct listing *listing, const struct leak_entry *entry)
{
	struct leak_entry origin = origin_of(*entry), *sum;

	sum = leak_sums_add(&listing->origins, &origin);
	if (sum && sum->order == 0) {
		sum->order = order_of(sum) | 1;
		sum->place = LEAK_PARENT_NONE;
	}
	return sum;
}

static bool list_origins(struct listing *listing)
{
	const struct leak_sums *reclaimed = listing->reclaimed;
	bool done = true;

	for (size_t i = 0; i < listing->set->count; i++) {
		struct leak_entry entry = leak_entry_of(&listing->set->list[i]), *sum;

		sum = add_origin(listing, &entry);
		listing->order[i] = sum ? sum->order : 0;
		done &= sum != 0;
	}
	for (size_t i = 0; i < reclaimed->capacity; i++) {
		if (reclaimed->list[i].blocks != 0)
			done &= add_origin(listing, &reclaimed->list[i]) != 0;
	}
	return done;
}

/* ---- the list ---- */

static void add_to(struct listing *listing, struct leak_sums *sums, struct leak_entry entry)
{
	struct leak_entry key = origin_of(entry);
	const struct leak_entry *origin = leak_sums_find(&listing->origins, &key);

	entry.order = origin ? origin->order : 0;
	if (!leak_sums_add(sums, &entry))
		listing->dropped += entry.blocks;
}

static bool is_before(const void *left, const void *right)
{
	const struct leak_entry *a = left, *b = right;

	if (a->parent != b->parent)
		return a->parent < b->parent;
	if (a->order != b->order)
		return a->order < b->order;
	return a->slot_bytes != b->slot_bytes ? a->slot_bytes < b->slot_bytes : a->stack < b->stack;
}

static void sort_sums(struct leak_sums *sums)
{
	leak_sums_pack(sums);
	sort_items(sums->list, sums->count, sizeof(sums->list[0]), is_before);
}

/* Blocks that are there come before those taken back, so that a sample address is one of theirs. */
static void list_direct(struct listing *listing)
{
	const struct leak_sums *reclaimed = listing->reclaimed;

	for (size_t i = 0; i < listing->set->count; i++) {
		struct leak_entry entry = leak_entry_of(&listing->set->list[i]);

		if (!entry.is_indirect)
			add_to(listing, &listing->direct, entry);
	}
	for (size_t i = 0; i < reclaimed->capacity; i++) {
		if (reclaimed->list[i].blocks != 0 && !reclaimed->list[i].is_indirect)
			add_to(listing, &listing->direct, reclaimed->list[i]);
	}
	sort_sums(&listing->direct);
	for (uint32_t i = 0; i < listing->direct.count; i++) {
		struct leak_entry key = origin_of(listing->direct.list[i]), *origin;

		origin = leak_sums_find(&listing->origins, &key);
		if (origin)
			origin->place = i;
	}
}

/* The place in the list of what block number `block` is counted under. */
static uint32_t place_of_owner(const struct listing *listing, size_t block)
{
	struct leak_entry key;
	const struct leak_entry *origin;

	if (!listing->is_folded || listing->owner[block] >= listing->set->count)
		return LEAK_PARENT_NONE;
	key = origin_of(leak_entry_of(&listing->set->list[listing->owner[block]]));
	origin = leak_sums_find(&listing->origins, &key);
	return origin && origin->place < listing->direct.count ? origin->place : LEAK_PARENT_NONE;
}

static void list_indirect(struct listing *listing)
{
	const struct leak_sums *reclaimed = listing->reclaimed;

	for (size_t i = 0; i < listing->set->count; i++) {
		struct leak_entry entry = leak_entry_of(&listing->set->list[i]);

		if (!entry.is_indirect)
			continue;
		entry.parent = place_of_owner(listing, i);
		if (listing->held_blocks && entry.parent != LEAK_PARENT_NONE) {
			listing->held_blocks[entry.parent]++;
			listing->held_bytes[entry.parent] += entry.bytes;
		}
		add_to(listing, &listing->indirect, entry);
	}
	for (size_t i = 0; i < reclaimed->capacity; i++) {
		if (reclaimed->list[i].blocks != 0 && reclaimed->list[i].is_indirect)
			add_to(listing, &listing->indirect, reclaimed->list[i]);
	}
	sort_sums(&listing->indirect);
}

static size_t array_bytes(const struct listing *listing)
{
	return max_u64(listing->set->count, 1) * (sizeof(uint64_t) + sizeof(uint32_t));
}

/* False: no memory for the arrays; nothing is listed but what was taken back. */
static bool list_leaks(struct listing *listing)
{
	struct leak_set nothing = {.is_sorted = true}, *set = listing->set;
	void *arrays;
	size_t held_bytes;
	bool done = true;

	leak_set_sort(set);
	arrays = os_map(array_bytes(listing));
	if (!arrays) {
		listing->dropped = set->count;
		listing->set = &nothing;
		done = false;
	}
	listing->order = arrays;
	listing->owner = arrays ? (uint32_t *)(listing->order + max_u64(set->count, 1)) : 0;
	done &= list_origins(listing);
	listing->is_folded = leak_owners_find(listing->set, listing->order, listing->owner);
	list_direct(listing);
	held_bytes = 2 * max_u64(listing->direct.count, 1) * sizeof(uint64_t);
	listing->held_blocks = os_map(held_bytes);
	listing->held_bytes = listing->held_blocks ? listing->held_blocks + held_bytes / 16 : 0;
	list_indirect(listing);
	listing->set = set;
	if (arrays)
		os_unmap(arrays, array_bytes(listing));
	return done && listing->is_folded && listing->dropped == 0;
}

static void release(struct listing *listing)
{
	size_t count = max_u64(listing->direct.count, 1);

	if (listing->held_blocks)
		os_unmap(listing->held_blocks, 2 * count * sizeof(uint64_t));
	leak_sums_release(&listing->origins);
	leak_sums_release(&listing->direct);
	leak_sums_release(&listing->indirect);
	leak_sums_release(&listing->dangling);
}

/* ---- records ---- */

/* From probation's clock to the process's age. */
static uint64_t age_at(const struct listing *listing, uint32_t ms)
{
	uint64_t ago = listing->clock_ms - ms;

	return listing->age_ms > ago ? listing->age_ms - ago : 0;
}

static void put_entry(struct findings_writer *writer, const struct listing *listing,
	const struct leak_entry *entry)
{
	struct finding finding = {
		.kind = entry->is_indirect ? FINDING_INDIRECT : FINDING_LEAK,
		.stack = entry->stack,
		.parent = entry->is_indirect ? entry->parent : FINDINGS_NONE,
		.cycles = entry->cycles,
		.blocks = entry->blocks,
		.bytes = entry->bytes,
		.reclaimed_blocks = entry->reclaimed_blocks,
		.reclaimed_bytes = entry->reclaimed_bytes,
		.slot_bytes = entry->slot_bytes,
		.first_seen_ms = age_at(listing, entry->first_ms),
		.last_seen_ms = age_at(listing, entry->last_ms),
		.address = entry->address,
	};

	static_assert(LEAK_PARENT_NONE == FINDINGS_NONE, "nobody is nobody");
	if (!entry->is_indirect && listing->held_blocks) {
		finding.indirect_blocks = listing->held_blocks[entry - listing->direct.list];
		finding.indirect_bytes = listing->held_bytes[entry - listing->direct.list];
	}
	findings_put(writer, &finding, 1);
}

static void put_misuses(struct findings_writer *writer)
{
	struct misuse misuse;

	for (uint32_t i = 0; misuse_get(i, &misuse); i++) {
		if (misuse.count == 0)
			continue;
		findings_put(writer,
			&(struct finding){
				.kind = FINDING_MISUSE,
				.detail = (uint32_t)misuse.kind,
				.stack = misuse.allocation,
				.other_stack = misuse.call,
				.parent = FINDINGS_NONE,
				.blocks = misuse.count,
				.first_seen_ms = misuse.first_ms,
				.last_seen_ms = misuse.last_ms,
				.address = misuse.address,
			},
			1);
	}
}

/* ---- freed blocks that are referred to ---- */

static uint64_t list_dangling(struct listing *listing)
{
	struct leak_set *set = dangling_blocks();
	struct leak_sums *sums = &listing->dangling;
	uint64_t dropped = 0;

	for (size_t i = 0; i < set->count; i++) {
		struct leak_entry entry = leak_entry_of(&set->list[i]), *sum, *origin;

		entry.is_indirect = 0;
		sum = sums->count < DANGLING_GROUPS_MAX || leak_sums_find(sums, &entry)
			      ? leak_sums_add(sums, &entry)
			      : 0;
		if (sum && sum->order == 0 && (origin = add_origin(listing, &entry)))
			sum->order = origin->order;
		dropped += !sum;
	}
	return dropped;
}

/* Blocks learn the place of their group in the list: groups are found by binary search of (order, slot size, stack). */
static void name_groups(const struct listing *listing, struct leak_set *set)
{
	const struct leak_sums *sums = &listing->dangling;

	for (size_t i = 0; i < set->count; i++) {
		struct leak_entry entry = leak_entry_of(&set->list[i]), *origin;
		size_t low = 0, high = sums->count;

		entry.is_indirect = 0;
		origin = leak_sums_find(&listing->origins, &entry);
		entry.order = origin ? origin->order : 0;
		while (low < high) {
			size_t middle = (low + high) / 2;

			if (is_before(&sums->list[middle], &entry))
				low = middle + 1;
			else
				high = middle;
		}
		set->list[i].group = low < sums->count && !is_before(&entry, &sums->list[low])
					     ? (uint32_t)low
					     : UINT32_MAX;
	}
}

/* The findings, which are the last of the list, then their holders. `first`: index of the first. */
static void put_dangling(struct findings_writer *writer, struct listing *listing, uint32_t first)
{
	struct leak_sums *sums = &listing->dangling;
	size_t bytes = max_u64(sums->count, 1) * sizeof(struct dangling_group);
	struct dangling_group *groups = os_map(bytes);

	sort_sums(sums);
	for (size_t i = 0; i < sums->count; i++)
		findings_put(writer,
			&(struct finding){
				.kind = FINDING_DANGLING,
				.stack = sums->list[i].stack,
				.parent = FINDINGS_NONE,
				.blocks = sums->list[i].blocks,
				.bytes = sums->list[i].bytes,
				.slot_bytes = sums->list[i].slot_bytes,
				.first_seen_ms = listing->age_ms,
				.last_seen_ms = listing->age_ms,
				.address = sums->list[i].address,
			},
			1);
	findings_begin(writer, FINDINGS_HOLDERS, sizeof(struct findings_holder));
	if (!groups)
		return;
	name_groups(listing, dangling_blocks());
	if (sums->count > 0)
		dangling_find_holders(groups, sums->count);
	for (uint32_t i = 0; i < sums->count; i++) {
		for (uint32_t k = 0; k < groups[i].count; k++)
			groups[i].holders[k].finding = first + i;
		findings_put(writer, groups[i].holders, groups[i].count);
	}
	os_unmap(groups, bytes);
}

static void put_list(struct findings_writer *writer, struct listing *listing)
{
	findings_begin(writer, FINDINGS_LIST, sizeof(struct finding));
	for (size_t i = 0; i < listing->direct.count; i++)
		put_entry(writer, listing, &listing->direct.list[i]);
	for (size_t i = 0; i < listing->indirect.count; i++)
		put_entry(writer, listing, &listing->indirect.list[i]);
	put_misuses(writer);
	growth_put_findings(writer);
	listing->dropped += list_dangling(listing);
	put_dangling(writer, listing, (uint32_t)writer->sections[writer->section_count - 1].count);
}

static enum findings_verdict verdict_of(bool is_complete, bool is_whole)
{
	if (is_complete && is_whole && cycle_last.leaks_judged)
		return FINDINGS_VERDICT_FULL;
	return cycle_last.has_verdict ? FINDINGS_VERDICT_PARTIAL : FINDINGS_VERDICT_NONE;
}

static void put_meta(struct findings_writer *writer, struct findings_meta *meta)
{
	struct probation_totals totals;

	probation_read_totals(&totals);
	findings_describe_process(writer, meta);
	meta->no_verdict = cycle_last.no_verdict;
	meta->cycles = stats_get(cycles_with_verdict);
	meta->live_blocks = cycle_last.live_blocks;
	meta->live_bytes = cycle_last.live_bytes;
	meta->dangling_blocks = cycle_last.dangling_blocks;
	meta->dangling_bytes = cycle_last.dangling_bytes;
	meta->leaked_blocks = totals.leaked_blocks;
	meta->leaked_bytes = totals.leaked_bytes;
	meta->reclaimed_blocks = totals.reclaimed_blocks;
	meta->reclaimed_bytes = totals.reclaimed_bytes;
	meta->double_frees = load_relaxed(&heap_stats.double_free_count);
	meta->invalid_frees = load_relaxed(&heap_stats.interior_free_count) +
			      load_relaxed(&heap_stats.unused_free_count) +
			      load_relaxed(&heap_stats.foreign_free_count);
	meta->dropped_stacks = stack_table_dropped();
	findings_begin(writer, FINDINGS_META, sizeof(*meta));
	findings_put(writer, meta, 1);
}

bool findings_report_write(const char *where, const struct leak_sums *reclaimed, bool is_complete,
	enum findings_reason reason, uint64_t *ret_blocks)
{
	struct listing listing = {
		.set = probation_leaks(),
		.reclaimed = reclaimed,
		.clock_ms = probation_clock_ms(),
		.age_ms = stats_age_ns() / NS_PER_MS,
	};
	struct findings_meta meta = {.reason = reason};
	struct findings_writer writer;
	bool is_open, is_whole = list_leaks(&listing), done = false;

	lock_assert_held(cycle_lock());
	is_open = findings_open(&writer, where);
	if (is_open) {
		put_list(&writer, &listing);
		meta.verdict = verdict_of(is_complete, is_whole);
		meta.dropped_findings = listing.dropped + misuse_dropped() + sites_dropped();
		put_meta(&writer, &meta);
		growth_put_sites(&writer);
		findings_put_stacks(&writer);
		done = findings_close(&writer);
	}
	*ret_blocks = probation_leaks()->count;
	for (size_t i = 0; i < reclaimed->capacity; i++)
		*ret_blocks += reclaimed->list[i].blocks;
	if (!done)
		log_line("the findings could not be written to %s", writer.file.path);
	release(&listing);
	dangling_end();
	return done;
}
