/*
 * The report counts what is leaked now, from the last verdict, and what was taken back before, from a table of sums kept here: by stack (by slot size
 * where there is none) and by direct or indirect.
 */
#include "core/gc/leak_check.h"

#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/leak_set.h"
#include "core/gc/probation.h"
#include "core/heap/heap_stats.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/profile/report.h"

enum {
	FIRST_CAPACITY = 1024,
	TRIES = 5,     // cycles at exit until one judges leaks ...
	TRY_MS = 1000, // ... but none begins later than this
};

/* Open addressing; capacity is a power of two; entries with blocks == 0 are free. */
struct sums {
	struct leak_entry *list;
	size_t capacity;
	size_t count;
};

/* Guard: CYCLE. */
static struct sums reclaimed;

static size_t place_of(const struct sums *sums, const struct leak_entry *key)
{
	uint64_t hash = ((uint64_t)key->stack << 32 ^ key->slot_bytes << 1 ^ key->is_indirect) *
			0x9e3779b97f4a7c15ull;
	size_t place = (size_t)(hash >> 32) & (sums->capacity - 1);
	const struct leak_entry *entry;

	for (;; place = (place + 1) & (sums->capacity - 1)) {
		entry = &sums->list[place];
		if (entry->blocks == 0 ||
			(entry->stack == key->stack && entry->slot_bytes == key->slot_bytes &&
				entry->is_indirect == key->is_indirect))
			return place;
	}
}

static void sums_release(struct sums *sums)
{
	if (sums->list)
		os_unmap(sums->list, sums->capacity * sizeof(struct leak_entry));
	*sums = (struct sums){0};
}

static bool sums_grow(struct sums *sums, size_t capacity)
{
	struct sums larger = {os_map(capacity * sizeof(struct leak_entry)), capacity, sums->count};

	if (!larger.list)
		return false;
	for (size_t i = 0; i < sums->capacity; i++) {
		if (sums->list[i].blocks != 0)
			larger.list[place_of(&larger, &sums->list[i])] = sums->list[i];
	}
	sums_release(sums);
	*sums = larger;
	return true;
}

/* Adds the figures of `entry` to the sum with its key. Without memory the figures are lost. */
static bool sums_add(struct sums *sums, const struct leak_entry *entry)
{
	struct leak_entry *sum;

	if (2 * sums->count >= sums->capacity &&
		!sums_grow(sums, sums->capacity ? 2 * sums->capacity : FIRST_CAPACITY))
		return false;
	sum = &sums->list[place_of(sums, entry)];
	if (sum->blocks == 0) {
		*sum = *entry;
		sums->count++;
		return true;
	}
	sum->blocks += entry->blocks;
	sum->bytes += entry->bytes;
	sum->reclaimed_blocks += entry->reclaimed_blocks;
	sum->reclaimed_bytes += entry->reclaimed_bytes;
	return true;
}

static struct leak_entry entry_of(const struct leaked *leaked)
{
	return (struct leak_entry){
		.stack = leaked->stack,
		.is_indirect = !(leaked->flags & LEAKED_ROOT),
		.slot_bytes = leaked->stack ? 0 : leaked_bytes(leaked),
		.blocks = 1,
		.bytes = leaked_bytes(leaked),
	};
}

void leak_check_note_reclaimed(const struct leaked *leaked)
{
	struct leak_entry entry = entry_of(leaked);

	entry.reclaimed_blocks = entry.blocks;
	entry.reclaimed_bytes = entry.bytes;
	sums_add(&reclaimed, &entry);
}

void leak_check_after_fork(void)
{
	for (size_t i = 0; i < reclaimed.capacity; i++)
		reclaimed.list[i] = (struct leak_entry){0};
	reclaimed.count = 0;
}

/* ---- the report ---- */

static bool always(const struct leaked *leaked)
{
	(void)leaked;
	return true;
}

/* What is leaked now and what was taken back, in one table. */
static bool add_up(struct sums *sums)
{
	struct leak_set *set = probation_leaks();
	bool done = true;

	for (size_t i = 0; i < reclaimed.capacity; i++) {
		if (reclaimed.list[i].blocks != 0)
			done &= sums_add(sums, &reclaimed.list[i]);
	}
	if (!leak_set_find_roots(set, always))
		done = false;
	for (size_t i = 0; i < set->count; i++) {
		struct leak_entry entry = entry_of(&set->list[i]);

		done &= sums_add(sums, &entry);
	}
	return done;
}

/* Entries move to the front; returns the number of blocks. */
static uint64_t pack(struct sums *sums)
{
	uint64_t blocks = 0;
	size_t count = 0;

	for (size_t i = 0; i < sums->capacity; i++) {
		if (sums->list[i].blocks == 0)
			continue;
		blocks += sums->list[i].blocks;
		sums->list[count++] = sums->list[i];
	}
	return blocks;
}

static struct leak_notes notes_now(bool is_complete)
{
	return (struct leak_notes){
		.double_frees = load_relaxed(&heap_stats.double_free_count),
		.invalid_frees = load_relaxed(&heap_stats.interior_free_count) +
				 load_relaxed(&heap_stats.unused_free_count),
		.dangling_blocks = cycle_last.dangling_blocks,
		.dangling_bytes = cycle_last.dangling_bytes,
		.incomplete = !is_complete,
	};
}

static bool is_off(const char *where)
{
	return where[0] == 0 ||
	       (where[0] == 'o' && where[1] == 'f' && where[2] == 'f' && where[3] == 0);
}

uint64_t leak_check_report(const char *where, bool is_complete)
{
	struct sums sums = {0};
	struct leak_notes notes;
	uint64_t blocks;

	if (!add_up(&sums) || !cycle_last.leaks_judged)
		is_complete = false;
	blocks = pack(&sums);
	notes = notes_now(is_complete);
	if (!is_off(where))
		report_write(where, sums.list, sums.count, &notes);
	sums_release(&sums);
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

uint64_t leak_check_at_exit(bool *ret_is_complete)
{
	struct signal_guard guard;
	uint64_t leaks;
	bool complete;

	if (is_off(options.report) && options.exitcode == 0)
		return 0;
	complete = collect_with_verdict();
	signals_block(&guard);
	lock_acquire(cycle_lock());
	complete = complete && cycle_last.leaks_judged;
	leaks = leak_check_report(options.report, complete);
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
