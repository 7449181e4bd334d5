/*
 * One collection. The phases in order, each a call:
 *
 *	prepare		memory for marks, mappings list, signal: nothing may be asked of the kernel's allocator later
 *	choose		the tier (tier.h)
 *
 *	stop the world				concurrent (concurrent.h; a third tier: snapshot.h)
 *	pause: all threads stand still		begin: watch, protect, preset
 *	  preset				pause: roots
 *	  roots, mark				mark beside the program
 *						pause: what was written, roots, what they reach
 *	commit		the standstill held until here, or there is no verdict
 *	start		threads run again
 *
 *	judge		what is unreached and was never freed goes on probation; PROBATION marks its slots, so the sweep leaves them
 *	sweep		spans are UNSWEPT: HINTED and unmarked becomes FREE, by refills and by this thread
 *	finish		probation takes back what is due; pacer, figures, trace
 *
 * Preset sets the marks of free slots and clears all others; spans are MARKING.
 *
 * Why HINTED and unmarked may be swept at any time later: unreachable at the pause is unreachable for ever, and a slot gets a new occupant only through
 * FREE, which the sweep alone stores, after it has set the mark.
 */
#include "core/gc/cycle.h"

#include "core/base/attr.h"
#include "core/base/check.h"
#include "core/base/option.h"
#include "core/gc/collector.h"
#include "core/gc/concurrent.h"
#include "core/gc/ignored.h"
#include "core/gc/mark.h"
#include "core/gc/pacer.h"
#include "core/gc/possible.h"
#include "core/gc/probation.h"
#include "core/gc/roots.h"
#include "core/gc/sites.h"
#include "core/gc/snapshot.h"
#include "core/gc/thread.h"
#include "core/gc/tier.h"
#include "core/gc/trace.h"
#include "core/gc/tracked_roots.h"
#include "core/gc/verdict.h"
#include "core/gc/world.h"
#include "core/heap/central.h"
#include "core/heap/heap_stats.h"
#include "core/heap/page_heap.h"
#include "core/heap/thread_cache.h"
#include "core/os/arch.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/os/proc.h"
#include "core/profile/stats_page.h"

enum {
	STOP_TIMEOUT_MS = 50,
	CLEARING_FROM = 1 << 20, // dangling bytes
	CLEARING_PART = 4,       // of what is live
	FULL_EVERY_MS = 1000,
	BROKEN_OFF_MAX = 2,
	FULL_COST_FACTOR = 10, // a full cycle of t is followed by 10 t without one
};

struct cycle_result cycle_last;
bool cycle_is_paused;

/* Guarded by `lock`. */
static struct {
	struct lock lock;
	uint64_t next_full_ns; // until then nothing but freed memory needs to be looked for
	uint64_t live_bytes;   // at the last verdict
	uint64_t deadline_ns;  // by which the pause should be over
	bool requests_in_flight;
} cycle WRITTEN_BY_FORK = {.lock = LOCK_INITIAL(CYCLE)};

struct lock *cycle_lock(void)
{
	return &cycle.lock;
}

static bool no_verdict(struct cycle_result *result, enum stats_no_verdict reason)
{
	result->no_verdict = reason;
	return false;
}

static enum stats_no_verdict reason_of_world(void)
{
	switch (world_last_failure()) {
	case WORLD_NO_PROC:
		return STATS_NO_VERDICT_NO_PROC;
	case WORLD_NO_MEMORY:
		return STATS_NO_VERDICT_NO_MEMORY;
	case WORLD_MANY_TASKS:
	case WORLD_LOST_TASK:
		return STATS_NO_VERDICT_UNKNOWN_THREAD;
	case WORLD_FOREIGN_TASK:
		return STATS_NO_VERDICT_SHARED_MEMORY;
	case WORLD_WAS_ABANDONED:
		return STATS_NO_VERDICT_ABANDONED;
	default:
		return STATS_NO_VERDICT_STOP_TIMEOUT;
	}
}

static bool prepare(struct cycle_result *result)
{
	if (!proc_is_open() && !proc_open())
		return no_verdict(result, STATS_NO_VERDICT_NO_PROC);
	result->is_awaited = collector_is_awaited();
	result->tier = tier_choose(result->is_quick, result->is_awaited);
	result->is_awaited = result->is_awaited && result->tier == STATS_TIER_STW;
	cycle_rest();
	if (result->tier == STATS_TIER_NONE)
		return no_verdict(result, STATS_NO_VERDICT_PAUSE_TOO_LONG);
	if (!world_prepare())
		return no_verdict(result, reason_of_world());
	cycle_rest();
	if (!mark_prepare(&marker, result->is_quick) || !roots_prepare())
		return no_verdict(result, STATS_NO_VERDICT_NO_MEMORY);
	return true;
}

static bool scan_roots(struct cycle_result *result, enum root_tracking tracking)
{
	struct root_scan scan = {.marker = &marker, .tracking = tracking};
	uint64_t start = clock_now_ns(), cpu = clock_thread_cpu_ns();

	if (!roots_scan(&scan)) {
		result->root_failure = roots_failure_text(scan.failure);
		result->root_scanner = scan.failure_scanner ? scan.failure_scanner : "all";
		result->root_address = scan.failure_address;
		return no_verdict(result, STATS_NO_VERDICT_ROOTS);
	}
	ignored_mark(&marker);
	result->roots_ns = clock_now_ns() - start;
	tier_learn_roots(&scan, clock_thread_cpu_ns() - cpu);
	cycle.requests_in_flight = scan.requests_in_flight;
	return true;
}

/* Of the concurrent tier: but for what can be tracked. */
static bool scan_first_roots(struct cycle_result *result)
{
	return scan_roots(result, ROOT_TRACKING_NOTE);
}

/* Beside the program. */
static bool mark_tracked_roots(struct cycle_result *result)
{
	uint64_t cpu = clock_thread_cpu_ns();

	if (!concurrent_mark_roots())
		return no_verdict(result, STATS_NO_VERDICT_EXITING);
	result->tracked_root_bytes = tracked_roots_bytes();
	tier_learn_tracked_roots(result->tracked_root_bytes, clock_thread_cpu_ns() - cpu);
	return true;
}

/* What `mark` does to the heap is what a pause would have to do. */
static bool measure_mark(
	struct cycle_result *result, bool (*mark)(struct cycle_result *result), uint64_t *ret_ns)
{
	uint64_t start = clock_now_ns(), cpu = clock_thread_cpu_ns();

	if (!mark(result))
		return false;
	*ret_ns = clock_now_ns() - start;
	tier_learn_mark(result->is_quick, clock_thread_cpu_ns() - cpu, result->heap_bytes_before);
	return true;
}

static bool drain(struct cycle_result *result)
{
	return mark_drain(&marker) || no_verdict(result, STATS_NO_VERDICT_ROOTS);
}

/* In the pause: everything reachable is marked, or false. */
static bool mark_stopped(struct cycle_result *result)
{
	if (CHECKS)
		heap_check();
	if (!mark_preset())
		return no_verdict(result, STATS_NO_VERDICT_NO_MEMORY);
	return scan_roots(result, ROOT_TRACKING_OFF) &&
	       measure_mark(result, drain, &result->mark_ns);
}

/* Whatever is called unwritten or blank: all roots once more, read whole. */
static void check_roots(void)
{
	struct root_scan scan = {.marker = &marker};

	roots_scan(&scan); // as far as it comes
	mark_check_done(&marker);
}

/* The same, after all but what was written lately was marked beside the program. */
static bool mark_rest(struct cycle_result *result)
{
	static const enum stats_no_verdict reasons[] = {
		[CONCURRENT_TOO_LONG] = STATS_NO_VERDICT_PAUSE_TOO_LONG,
		[CONCURRENT_NOT_TRACKED] = STATS_NO_VERDICT_TRACKING,
		[CONCURRENT_UNREADABLE] = STATS_NO_VERDICT_ROOTS,
	};
	uint64_t start = clock_now_ns();
	enum concurrent_caught_up caught_up;

	if (CHECKS)
		heap_check();
	caught_up = concurrent_catch_up(cycle.deadline_ns);
	if (caught_up != CONCURRENT_CAUGHT_UP)
		return no_verdict(result, reasons[caught_up]);
	result->mark_ns = clock_now_ns() - start;
	if (!scan_roots(result, ROOT_TRACKING_USE))
		return false;
	start = clock_now_ns();
	if (!drain(result))
		return false;
	result->mark_ns += clock_now_ns() - start;
	if (CHECKS && options.scribble && concurrent_look_at_cold() == CONCURRENT_COLD_UNWRITTEN) {
		if (!roots_are_off("written_roots"))
			check_roots();
		mark_check_closed();
	}
	return true;
}

/*
 * Leaked blocks go on probation, and their slots are marked. Beside the program; but with free=trust in the pause: there a slot gets its next owner without a
 * sweep that marks it, so a leaked block that is freed now (its pointer was hidden) would make its next owner look leaked.
 */
static void judge(struct cycle_result *result)
{
	uint64_t start = clock_now_ns();
	bool judges = options.leaks != LEAKS_OFF && !cycle.requests_in_flight && !result->is_quick;

	if (judges)
		probation_begin(result->number);
	verdict_judge(result, judges);
	result->verdict_ns = clock_now_ns() - start;
	result->leaks_judged = judges;
	if (result->is_quick) {
		result->leaks_judged = cycle_last.leaks_judged;
		result->leaked_blocks = cycle_last.leaked_blocks;
		result->leaked_bytes = cycle_last.leaked_bytes;
	}
}

/* Lets the threads go. A thread that was woken may take this processor at once: the time until it is given back is none for which threads stand still. */
static uint64_t start_world(uint64_t pause_start_ns)
{
	uint64_t ns = clock_now_ns() - pause_start_ns, cpu = clock_thread_cpu_ns();

	world_start();
	return ns + clock_thread_cpu_ns() - cpu;
}

static bool pause(struct cycle_result *result, bool (*mark)(struct cycle_result *result))
{
	bool judges_now = options.free == FREE_TRUST, complete;
	uint64_t start, ns, cpu = clock_thread_cpu_ns();

	// what is judged in the pause cannot be taken back
	if (!world_stop(STOP_TIMEOUT_MS * NS_PER_MS, !judges_now))
		return no_verdict(result, reason_of_world());
	cycle_is_paused = true;
	start = world_stopping_ns();
	result->stop_ns = clock_now_ns() - start;
	complete = mark(result);
	if (!world_commit()) {
		result->root_failure = 0; // whatever could not be read then: it ran again
		complete = no_verdict(result, STATS_NO_VERDICT_ABANDONED);
	}
	if (complete && judges_now)
		judge(result);
	cycle_is_paused = false;
	ns = start_world(start);
	result->pause_ns = max_u64(result->pause_ns, ns);
	result->pause_cpu_ns = max_u64(result->pause_cpu_ns, clock_thread_cpu_ns() - cpu);
	result->pauses_ns += ns;
	if (!world_stood_still() && complete)
		complete = no_verdict(result, reason_of_world());
	return complete;
}

static enum stats_no_verdict reason_of_mark(bool is_broken)
{
	return is_broken           ? STATS_NO_VERDICT_TRACKING
	       : cycle_may_go_on() ? STATS_NO_VERDICT_ROOTS
				   : STATS_NO_VERDICT_EXITING;
}

static bool mark_beside(struct cycle_result *result)
{
	bool is_broken;

	return concurrent_mark(&is_broken) || no_verdict(result, reason_of_mark(is_broken));
}

static bool mark_again(struct cycle_result *result)
{
	bool is_broken;

	return concurrent_mark_again(&is_broken) || no_verdict(result, reason_of_mark(is_broken));
}

/* The last pause. One that would be too long is broken off, twice: what the program wrote at that rate it may be done with, and is read beside it. */
static bool pause_for_rest(struct cycle_result *result)
{
	for (int i = 0;; i++) {
		if (!(world_prepare() && roots_prepare()))
			return no_verdict(result, STATS_NO_VERDICT_NO_MEMORY);
		cycle.deadline_ns = i < BROKEN_OFF_MAX
					    ? clock_now_ns() + options.pause_max_ms * NS_PER_MS
					    : UINT64_MAX;
		if (pause(result, mark_rest))
			return true;
		if (result->no_verdict != STATS_NO_VERDICT_PAUSE_TOO_LONG)
			return false;
		result->no_verdict = STATS_NO_VERDICT_NONE;
		if (!mark_again(result))
			return false;
	}
}

/* Again and again until the heap was as it seemed. */
static bool finish_mark(struct cycle_result *result)
{
	for (;;) {
		if (!pause_for_rest(result))
			return false;
		switch (concurrent_look_at_cold()) {
		case CONCURRENT_COLD_UNWRITTEN:
			return true;
		case CONCURRENT_COLD_UNKNOWN:
			return no_verdict(result, STATS_NO_VERDICT_TRACKING);
		case CONCURRENT_COLD_WRITTEN:
			if (!mark_again(result))
				return false;
		}
	}
}

static bool mark_concurrently(struct cycle_result *result)
{
	bool is_broken, complete;

	if (!concurrent_begin(&is_broken))
		return no_verdict(result,
			is_broken ? STATS_NO_VERDICT_TRACKING : STATS_NO_VERDICT_STOP_TIMEOUT);
	complete = pause(result, scan_first_roots) && mark_tracked_roots(result) &&
		   measure_mark(result, mark_beside, &result->beside_ns) && finish_mark(result);
	result->rounds = concurrent_stats.rounds;
	result->pauses = 1 + concurrent_stats.pauses + concurrent_stats.broken_off;
	result->written_bytes = concurrent_stats.written_bytes;
	if (complete)
		concurrent_release();
	if (complete && !concurrent_end())
		complete = no_verdict(result, STATS_NO_VERDICT_NO_MEMORY);
	if (!complete)
		concurrent_abort();
	return complete;
}

static bool take_snapshot(struct cycle_result *result)
{
	uint64_t start, cpu;

	if (!scan_roots(result, ROOT_TRACKING_OFF))
		return false;
	start = clock_now_ns();
	cpu = clock_thread_cpu_ns();
	if (!snapshot_take())
		return no_verdict(result, STATS_NO_VERDICT_SNAPSHOT);
	result->mark_ns = clock_now_ns() - start;
	tier_learn_clone(clock_thread_cpu_ns() - cpu);
	return true;
}

static bool wait_for_snapshot(struct cycle_result *result)
{
	uint64_t start = clock_now_ns(), cpu_ns;
	bool complete = snapshot_wait(&cpu_ns);

	result->beside_ns = clock_now_ns() - start;
	result->cpu_ns = cpu_ns;
	return complete || no_verdict(result, cycle_may_go_on() ? STATS_NO_VERDICT_SNAPSHOT
								: STATS_NO_VERDICT_EXITING);
}

static bool mark_by_snapshot(struct cycle_result *result)
{
	bool complete;

	if (!snapshot_begin())
		return no_verdict(result, STATS_NO_VERDICT_NO_MEMORY);
	complete = pause(result, take_snapshot) && wait_for_snapshot(result);
	if (!snapshot_end(complete) && complete)
		complete = no_verdict(result, STATS_NO_VERDICT_NO_MEMORY);
	return complete;
}

static bool mark(struct cycle_result *result)
{
	bool complete;

	switch (result->tier) {
	case STATS_TIER_CONCURRENT:
		complete = mark_concurrently(result);
		break;
	case STATS_TIER_SNAPSHOT:
		complete = mark_by_snapshot(result);
		break;
	default:
		complete = pause(result, mark_stopped);
	}
	tier_note_end(result);
	return complete;
}

/* Freed blocks are held by what earlier owners left in slots, or so it seems. What was freed during the cycle is dangling, too, and says nothing. */
static void clear_if_much_dangles(const struct cycle_result *result, uint64_t hinted_now)
{
	uint64_t meanwhile = hinted_now - min_u64(result->hinted_bytes, hinted_now);
	uint64_t allowed = max_u64(CLEARING_FROM, result->live_bytes / CLEARING_PART);

	if (result->dangling_bytes > allowed + meanwhile)
		thread_cache_start_clearing();
}

/* The marks stand. Runs beside the program. */
static void apply_verdict(struct cycle_result *result)
{
	uint64_t hinted_before = pacer_hinted_bytes();
	uint64_t start;
	struct signal_guard guard;

	if (options.free != FREE_TRUST)
		judge(result);
	clear_if_much_dangles(result, hinted_before);
	mark_set_spans(SPAN_UNSWEPT);
	signals_block(&guard);
	central_offer_sweep();
	signals_restore(&guard);
	start = clock_now_ns();
	result->reused_bytes = verdict_sweep();
	result->sweep_ns = clock_now_ns() - start;
	if (result->leaks_judged && !result->is_quick)
		probation_finish();
	// what was hinted at the pause and is still reached stays hinted; what was hinted since stays too
	if (hinted_before > result->dangling_bytes)
		pacer_forget_hinted(hinted_before - result->dangling_bytes);
}

static void publish(const struct cycle_result *result)
{
	stats_add(cycles, 1);
	stats_set(tier, result->tier);
	stats_add(concurrent_cycles, result->tier == STATS_TIER_CONCURRENT && result->has_verdict);
	stats_add(snapshot_cycles, result->tier == STATS_TIER_SNAPSHOT && result->has_verdict);
	stats_add(quick_cycles, result->is_quick && result->has_verdict);
	stats_set(brakes, pacer_brake_count());
	stats_set(tracked_root_bytes, result->tracked_root_bytes);
	stats_set(heap_bytes, result->heap_bytes_after);
	stats_set(reused_blocks, load_relaxed(&heap_stats.reused_hint_count));
	stats_set(threads, threads_count());
	stats_set(log_lines_dropped, log_dropped_count());
	stats_set(double_frees, load_relaxed(&heap_stats.double_free_count));
	stats_set(foreign_frees, load_relaxed(&heap_stats.foreign_free_count));
	stats_set(interior_frees, load_relaxed(&heap_stats.interior_free_count) +
					  load_relaxed(&heap_stats.unused_free_count));
	if (!result->has_verdict) {
		stats_add(cycles_without_verdict, 1);
		stats_set(no_verdict, result->no_verdict);
		return;
	}
	stats_set(cycles_without_verdict, 0);
	stats_add(cycles_with_verdict, 1);
	stats_set(live_bytes, result->live_bytes);
	stats_set(dangling_blocks, result->dangling_blocks);
	stats_set(dropped_sites, sites_dropped());
	if (result->is_awaited)
		return; // who waits tells how long
	stats_set(last_pause_ns, result->pause_ns);
	stats_set(stop_ns, result->stop_ns);
	stats_add(total_pause_ns, result->pauses_ns);
	if (result->pause_ns > stats_get(max_pause_ns))
		stats_set(max_pause_ns, result->pause_ns);
}

/* Once in a while leaks are looked for as well; when what has leaked is wanted back, probation wants cycles of its own. */
static bool is_quick(bool may_be_quick)
{
	uint64_t now = clock_now_ns();

	if (cycle.next_full_ns == 0)
		cycle.next_full_ns = now + FULL_EVERY_MS * NS_PER_MS;
	if (options.free != FREE_HINT || options.quick_cycles == QUICK_CYCLES_OFF)
		return false;
	return may_be_quick && (now < cycle.next_full_ns || options.leaks == LEAKS_OFF ||
				       options.quick_cycles == QUICK_CYCLES_ALWAYS);
}

static void plan_next_full(uint64_t cpu_ns)
{
	cycle.next_full_ns =
		clock_now_ns() + max_u64(FULL_EVERY_MS * NS_PER_MS, FULL_COST_FACTOR * cpu_ns);
}

static bool run_locked(bool may_be_quick)
{
	static struct cycle_result result; // the holder of the lock
	uint64_t cpu = clock_thread_cpu_ns();
	struct probation_totals totals;

	lock_assert_held(&cycle.lock);
	result = (struct cycle_result){.number = cycle_last.number + 1,
		.is_quick = is_quick(may_be_quick),
		.heap_bytes_before = page_heap_used_bytes(),
		.hinted_bytes = pacer_hinted_bytes()};
	result.has_verdict = prepare(&result) && mark(&result);
	if (result.has_verdict) {
		apply_verdict(&result);
	} else {
		mark_set_spans(SPAN_SWEPT);
	}
	cycle_rest();
	mark_finish(&marker);
	cycle_rest();
	result.heap_bytes_after = page_heap_used_bytes();
	result.threads = threads_count();
	result.cpu_ns += clock_thread_cpu_ns() - cpu;
	if (!result.is_quick)
		plan_next_full(result.cpu_ns);
	cycle.live_bytes = result.has_verdict ? result.live_bytes : cycle.live_bytes;
	pacer_set(result.heap_bytes_after, result.has_verdict ? result.dangling_bytes : 0,
		cycle.live_bytes, tier_root_bytes());
	cycle_last = result;
	publish(&result);
	probation_read_totals(&totals);
	stats_set(leaked_bytes, totals.leaked_bytes);
	stats_set(leaked_blocks, totals.leaked_blocks);
	stats_set(reclaimed_bytes, totals.reclaimed_bytes);
	stats_set(reclaimed_blocks, totals.reclaimed_blocks);
	stats_set(evidence, totals.evidence);
	stats_set(reclaim_stopped, totals.stopped);
	if (options.gctrace)
		trace_cycle(&result);
	return result.has_verdict;
}

/* Blocks are read by plain loads, whatever key the program has laid on their pages. */
bool cycle_run_locked(bool may_be_quick)
{
	uint64_t keys = protection_keys_open();
	bool has_verdict = run_locked(may_be_quick);

	if (has_verdict)
		possible_look();
	protection_keys_restore(keys);
	return has_verdict;
}
