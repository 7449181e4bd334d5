/*
 * The report counts what is leaked now, from the last verdict, and what was taken back before, from a table of sums kept here: by stack (by slot size
 * where there is none) and by direct or indirect.
 */
#include "core/gc/leak_check.h"

#include "core/base/option.h"
#include "core/base/sort.h"
#include "core/gc/cycle.h"
#include "core/gc/dangling.h"
#include "core/gc/findings_report.h"
#include "core/gc/growth.h"
#include "core/gc/leak_set.h"
#include "core/gc/leak_sums.h"
#include "core/gc/possible.h"
#include "core/gc/probation.h"
#include "core/heap/heap_stats.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/profile/misuse.h"
#include "core/profile/report.h"

#include <string.h>

enum {
	TRIES = 5,     // cycles at exit until one judges leaks ...
	TRY_MS = 1000, // ... but none begins later than this
	GROWING_MAX = 32,
};

enum findings_reason leak_check_end_reason = FINDINGS_REASON_EXIT;

/* Guard: CYCLE. */
static struct leak_sums reclaimed;

void leak_check_note_reclaimed(const struct leaked *leaked)
{
	struct leak_entry entry = leak_entry_of(leaked);

	entry.reclaimed_blocks = entry.blocks;
	entry.reclaimed_bytes = entry.bytes;
	leak_sums_add(&reclaimed, &entry);
}

void leak_check_after_fork(void)
{
	for (size_t i = 0; i < reclaimed.capacity; i++)
		reclaimed.list[i] = (struct leak_entry){0};
	reclaimed.count = 0;
	misuse_after_fork();
}

/* ---- the report ---- */

static bool always(const struct leaked *leaked)
{
	(void)leaked;
	return true;
}

/* What is leaked now and what was taken back, in one table. */
static bool add_up(struct leak_sums *sums)
{
	struct leak_set *set = probation_leaks();
	bool done = true;

	for (size_t i = 0; i < reclaimed.capacity; i++) {
		if (reclaimed.list[i].blocks != 0)
			done &= leak_sums_add(sums, &reclaimed.list[i]) != 0;
	}
	if (!leak_set_find_roots(set, always))
		done = false;
	for (size_t i = 0; i < set->count; i++) {
		struct leak_entry entry = leak_entry_of(&set->list[i]);

		done &= leak_sums_add(sums, &entry) != 0;
	}
	return done;
}

/* What rises; the fastest first. Guard: CYCLE. */
static struct {
	struct finding list[GROWING_MAX];
	const struct finding *order[GROWING_MAX];
	size_t count;
	uint64_t dropped;
} growing;

static void take_growing(const struct finding *finding, void *argument)
{
	(void)argument;
	if (growing.count == GROWING_MAX) {
		growing.dropped++;
		return;
	}
	growing.list[growing.count] = *finding;
	growing.order[growing.count] = &growing.list[growing.count];
	growing.count++;
}

static bool grows_faster(const void *left, const void *right)
{
	const struct finding *const *a = left, *const *b = right;

	return (*a)->slope_bytes_per_s > (*b)->slope_bytes_per_s;
}

static void list_growing(void)
{
	growing.count = growing.dropped = 0;
	growth_for_each_rising(take_growing, 0);
	sort_items(growing.order, growing.count, sizeof(growing.order[0]), grows_faster);
}

static struct leak_notes notes_now(bool is_complete)
{
	list_growing();
	return (struct leak_notes){
		.double_frees = load_relaxed(&heap_stats.double_free_count),
		.invalid_frees = load_relaxed(&heap_stats.interior_free_count) +
				 load_relaxed(&heap_stats.unused_free_count),
		.dangling_blocks = cycle_last.dangling_blocks,
		.dangling_bytes = cycle_last.dangling_bytes,
		.growing = growing.order,
		.growing_count = growing.count,
		.growing_dropped = growing.dropped,
		.incomplete = !is_complete,
	};
}

static bool is_off(const char *where)
{
	return where[0] == 0 ||
	       (where[0] == 'o' && where[1] == 'f' && where[2] == 'f' && where[3] == 0);
}

static bool wants_findings(const char *where)
{
	return options.report_format == REPORT_FORMAT_FINDINGS && strcmp(where, "stderr") != 0 &&
	       strcmp(where, options.report) == 0;
}

bool leak_check_findings(
	const char *where, bool is_complete, enum findings_reason reason, uint64_t *ret_blocks)
{
	return findings_report_write(where, &reclaimed, is_complete, reason, ret_blocks);
}

uint64_t leak_check_report(const char *where, bool is_complete)
{
	struct leak_sums sums = {0};
	struct leak_notes notes;
	uint64_t blocks;

	if (!is_off(where) && wants_findings(where)) {
		leak_check_findings(where, is_complete,
			where == options.report ? leak_check_end_reason : FINDINGS_REASON_REQUEST,
			&blocks);
		return blocks;
	}
	if (!add_up(&sums) || !cycle_last.leaks_judged)
		is_complete = false;
	blocks = leak_sums_pack(&sums);
	notes = notes_now(is_complete);
	if (!is_off(where))
		report_write(where, sums.list, sums.count, &notes);
	leak_sums_release(&sums);
	return blocks;
}

/* A cycle that judges leaks. One may fail because a thread stands badly or the machine is busy; the next one mostly does not. */
static bool collect_with_verdict(void)
{
	uint64_t deadline = clock_now_ns() + TRY_MS * NS_PER_MS;
	uint32_t never = 0;

	for (int i = 0; i < (options.leaks == LEAKS_OFF ? 1 : TRIES); i++) {
		if (cycle_collect() && cycle_last.leaks_judged)
			return true;
		if (clock_now_ns() > deadline)
			break;
		futex_wait(&never, 0, NS_PER_MS << i);
	}
	return false;
}

bool leak_check_is_wanted(void)
{
	return options.collector != COLLECTOR_OFF && options.leaks != LEAKS_OFF &&
	       !(is_off(options.report) && options.exitcode == 0);
}

uint64_t leak_check_at_exit(bool *ret_is_complete)
{
	if (is_off(options.report) && options.exitcode == 0)
		return 0;
	return leak_check_now(options.report, ret_is_complete);
}

void leak_check_prepare(const char *where, uint64_t patience_ns)
{
	if (!wants_findings(where))
		return;
	dangling_demand();
	if (options.report_possible == REPORT_POSSIBLE_ON)
		possible_demand(patience_ns);
}

uint64_t leak_check_now(const char *where, bool *ret_is_complete)
{
	struct signal_guard guard;
	uint64_t leaks;
	bool complete;

	leak_check_prepare(where, POSSIBLE_PATIENCE_MS * NS_PER_MS);
	complete = collect_with_verdict();
	possible_await(0);
	signals_block(&guard);
	lock_acquire(cycle_lock());
	complete = complete && cycle_last.leaks_judged;
	leaks = leak_check_report(where, complete);
	lock_release(cycle_lock());
	signals_restore(&guard);
	if (ret_is_complete)
		*ret_is_complete = complete;
	return leaks;
}

int leak_check_exit_status(int status, uint64_t leaks)
{
	return status == 0 && leaks > 0 && options.exitcode != 0 ? (int)options.exitcode : status;
}
