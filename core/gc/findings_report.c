/*
 * What was found, as records: leaks and what they hold, possible ones and what those hold (leak_listing.h), wrong frees, growing sites, freed blocks that are referred to.
 */
#include "core/gc/findings_report.h"

#include "core/base/arith.h"
#include "core/gc/cycle.h"
#include "core/gc/dangling.h"
#include "core/gc/growth.h"
#include "core/gc/leak_listing.h"
#include "core/gc/leak_set.h"
#include "core/gc/mapping_names.h"
#include "core/gc/possible.h"
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
#include "core/profile/stack_table.h"
#include "core/profile/stats_page.h"

#include <assert.h>

/* All that is told. */
struct telling {
	struct leak_listing leaks, possible;
	struct leak_sums dangling;
	uint64_t dropped; // blocks and findings
	uint32_t clock_ms;
	uint64_t age_ms;
};

/* ---- records ---- */

/* From probation's clock to the process's age. */
static uint64_t age_at(const struct telling *telling, uint32_t ms)
{
	uint64_t ago = telling->clock_ms - ms;

	return telling->age_ms > ago ? telling->age_ms - ago : 0;
}

static struct finding finding_of(const struct telling *telling, const struct leak_entry *entry)
{
	return (struct finding){
		.stack = entry->stack,
		.parent = FINDINGS_NONE,
		.cycles = entry->cycles,
		.blocks = entry->blocks,
		.bytes = entry->bytes,
		.reclaimed_blocks = entry->reclaimed_blocks,
		.reclaimed_bytes = entry->reclaimed_bytes,
		.slot_bytes = entry->slot_bytes,
		.first_seen_ms = age_at(telling, entry->first_ms),
		.last_seen_ms = age_at(telling, entry->last_ms),
		.address = entry->address,
	};
}

static uint32_t next_index(const struct findings_writer *writer)
{
	return (uint32_t)writer->sections[writer->section_count - 1].count;
}

/* Findings of the kind `direct`, then those of the kind `held`. */
static void put_listing(struct findings_writer *writer, const struct telling *telling,
	const struct leak_listing *listing, enum finding_kind direct, enum finding_kind held)
{
	uint32_t first = next_index(writer);

	for (size_t i = 0; i < listing->direct.count; i++) {
		struct finding finding = finding_of(telling, &listing->direct.list[i]);

		finding.kind = direct;
		if (listing->held_blocks) {
			finding.indirect_blocks = listing->held_blocks[i];
			finding.indirect_bytes = listing->held_bytes[i];
		}
		findings_put(writer, &finding, 1);
	}
	for (size_t i = 0; i < listing->indirect.count; i++) {
		const struct leak_entry *entry = &listing->indirect.list[i];
		struct finding finding = finding_of(telling, entry);

		finding.kind = held;
		if (entry->parent != LEAK_PARENT_NONE)
			finding.parent = first + entry->parent;
		findings_put(writer, &finding, 1);
	}
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

static uint64_t list_dangling(struct telling *telling)
{
	struct leak_set *set = dangling_blocks();
	struct leak_sums *sums = &telling->dangling;
	uint64_t dropped = 0;

	for (size_t i = 0; i < set->count; i++) {
		struct leak_entry entry = leak_entry_of(&set->list[i]), *sum, *origin;

		entry.is_indirect = 0;
		sum = sums->count < DANGLING_GROUPS_MAX || leak_sums_find(sums, &entry)
			      ? leak_sums_add(sums, &entry)
			      : 0;
		if (sum && sum->order == 0 &&
			(origin = leak_listing_origin(&telling->leaks, &entry)))
			sum->order = origin->order;
		dropped += !sum;
	}
	return dropped;
}

/* Blocks learn the place of their group in the list: groups are found by binary search of (order, slot size, stack). */
static void name_groups(const struct telling *telling, struct leak_set *set)
{
	const struct leak_sums *sums = &telling->dangling;

	for (size_t i = 0; i < set->count; i++) {
		struct leak_entry entry = leak_entry_of(&set->list[i]), *origin;
		size_t low = 0, high = sums->count;

		entry.is_indirect = 0;
		origin = leak_sums_find(&telling->leaks.origins, &entry);
		entry.order = origin ? origin->order : 0;
		while (low < high) {
			size_t middle = (low + high) / 2;

			if (leak_listing_is_before(&sums->list[middle], &entry))
				low = middle + 1;
			else
				high = middle;
		}
		set->list[i].group =
			low < sums->count && !leak_listing_is_before(&entry, &sums->list[low])
				? (uint32_t)low
				: UINT32_MAX;
	}
}

static void put_holders(struct findings_writer *writer, struct mapping_names *names,
	struct dangling_group *group, uint32_t finding)
{
	for (uint32_t i = 0; i < group->count; i++) {
		struct findings_holder *holder = &group->holders[i];

		holder->finding = finding;
		if (holder->kind == FINDINGS_HOLDER_MAPPING)
			holder->name = mapping_name_at(names, writer, holder->address);
	}
	findings_put(writer, group->holders, group->count);
}

/* The findings, which are the last of the list, then their holders. `first`: index of the first. */
static void put_dangling(struct findings_writer *writer, struct telling *telling, uint32_t first)
{
	struct leak_sums *sums = &telling->dangling;
	size_t bytes = max_u64(sums->count, 1) * sizeof(struct dangling_group);
	struct dangling_group *groups = os_map(bytes);
	struct mapping_names names = {0};

	leak_listing_sort(sums);
	for (size_t i = 0; i < sums->count; i++)
		findings_put(writer,
			&(struct finding){
				.kind = FINDING_DANGLING,
				.stack = sums->list[i].stack,
				.parent = FINDINGS_NONE,
				.blocks = sums->list[i].blocks,
				.bytes = sums->list[i].bytes,
				.slot_bytes = sums->list[i].slot_bytes,
				.first_seen_ms = telling->age_ms,
				.last_seen_ms = telling->age_ms,
				.address = sums->list[i].address,
			},
			1);
	findings_begin(writer, FINDINGS_HOLDERS, sizeof(struct findings_holder));
	if (!groups)
		return;
	name_groups(telling, dangling_blocks());
	if (sums->count > 0)
		dangling_find_holders(groups, sums->count);
	for (uint32_t i = 0; i < sums->count; i++)
		put_holders(writer, &names, &groups[i], first + i);
	mapping_names_end(&names);
	os_unmap(groups, bytes);
}

static void put_list(struct findings_writer *writer, struct telling *telling)
{
	findings_begin(writer, FINDINGS_LIST, sizeof(struct finding));
	put_listing(writer, telling, &telling->leaks, FINDING_LEAK, FINDING_INDIRECT);
	put_listing(writer, telling, &telling->possible, FINDING_POSSIBLE, FINDING_POSSIBLE);
	put_misuses(writer);
	growth_put_findings(writer);
	telling->dropped += list_dangling(telling);
	put_dangling(writer, telling, next_index(writer));
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

/* False: not all leaks are in the list, or not under what holds them. */
static bool make_listings(struct telling *telling)
{
	bool is_whole = leak_listing_make(&telling->leaks);

	leak_listing_make(&telling->possible);
	telling->dropped += telling->leaks.dropped + telling->possible.dropped + possible_dropped();
	return is_whole;
}

static void release(struct telling *telling)
{
	leak_listing_release(&telling->leaks);
	leak_listing_release(&telling->possible);
	leak_sums_release(&telling->dangling);
	possible_end();
	dangling_end();
}

bool findings_report_write(const char *where, const struct leak_sums *reclaimed, bool is_complete,
	enum findings_reason reason, uint64_t *ret_blocks)
{
	static const struct leak_sums nothing;
	struct telling telling = {
		.leaks = {.set = probation_leaks(), .reclaimed = reclaimed},
		.possible = {.set = possible_blocks(), .reclaimed = &nothing},
		.clock_ms = probation_clock_ms(),
		.age_ms = stats_age_ns() / NS_PER_MS,
	};
	struct findings_meta meta = {.reason = reason, .possible = possible_outcome()};
	struct findings_writer writer;
	bool is_open, is_whole = make_listings(&telling), done = false;

	lock_assert_held(cycle_lock());
	is_open = findings_open(&writer, where);
	if (is_open) {
		put_list(&writer, &telling);
		meta.verdict = verdict_of(is_complete, is_whole);
		meta.dropped_findings = telling.dropped + misuse_dropped() + sites_dropped();
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
	release(&telling);
	return done;
}
