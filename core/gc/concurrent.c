/*
 * The concurrent tier. Everything here runs in the collector's thread; what the program's threads see of it is the flag of the page heap (spans are born MARKING,
 * large blocks keep their pages), spans that nobody sweeps, and mark_keep_off().
 */
#include "core/gc/concurrent.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/gc/blank_pages.h"
#include "core/gc/cycle.h"
#include "core/gc/hot_ranges.h"
#include "core/gc/mark.h"
#include "core/gc/pacer.h"
#include "core/gc/roots.h"
#include "core/gc/tracked_roots.h"
#include "core/heap/page_heap.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/tracking.h"

enum {
	PATIENCE_MS = 50, // for threads that hold a span BUSY, or move pages
	ROUNDS_MAX = 16,
	VAIN_ROUNDS_MAX =
		2, // in which hardly less was written than in the one before, though threads wait BRAKE_MAX_US for each span
	BRAKE_MIN_US = 100, // for 64 KiB: 640 MB/s of a thread
	BRAKE_MAX_US = 6400,
	LITTLE_BYTES = 1 << 20, // written: left to the pause
	PAUSES_MAX = 3,         // the last one looks at the whole heap
	PIECE_BYTES = 2 << 20,
	REREAD_BYTES = 128 << 10, // between two rests
};

struct concurrent_stats concurrent_stats;

bool concurrent_is_available(void)
{
	// with free=trust a slot gets its next owner without a sweep, and a freed large block would stay until the cycle after
	return options.free != FREE_TRUST && tracking_open();
}

/* When the last cycle ended, and this one began. */
static struct {
	uint64_t last_end_ns, start_ns;
} when;

/* The heap at the last round, and in the last pause. */
static struct {
	uint64_t known_bytes; // what is beyond is hot
	uint32_t kept_off;    // mark_kept_off_count()
	uint64_t deadline_ns; // of the pause
	bool is_late;
} seen;

/* Again in each round: what mmap has made since is not watched. */
static bool watch_window(void)
{
	uintptr_t start, end;

	page_heap_window(&start, &end);
	return tracking_register(start, end);
}

static void prepare_hot_ranges(void)
{
	uintptr_t start, end;

	page_heap_window(&start, &end);
	hot_ranges_prepare(end - start);
}

static uintptr_t heap_end(void)
{
	return heap.base + load_acquire(&heap.used);
}

static bool ignore(uintptr_t start, uintptr_t end, void *argument)
{
	(void)start;
	(void)end;
	(void)argument;
	return true;
}

/* Calls visit_piece for [start, end), a piece at a time: none holds up the program or keeps a processor for long. */
static bool for_each_piece(uintptr_t start, uintptr_t end,
	bool (*visit_piece)(uintptr_t start, uintptr_t end, void *argument), void *argument)
{
	for (uintptr_t at = start; at < end; at += PIECE_BYTES) {
		if (!visit_piece(at, min_u64(at + PIECE_BYTES, end), argument))
			return false;
		cycle_rest();
	}
	return true;
}

static bool protect(uintptr_t start, uintptr_t end, void *argument)
{
	return tracking_harvest(start, end, HARVEST_PROTECT, ignore, argument);
}

static bool arm(void)
{
	return watch_window() && for_each_piece(heap.base, heap_end(), protect, 0);
}

bool concurrent_preset(void)
{
	struct signal_guard guard;
	bool is_preset;

	mark_set_beside(&marker, cycle_may_go_on);
	page_heap_set_marking(true);
	signals_block(&guard);
	is_preset = mark_preset_beside(PATIENCE_MS * NS_PER_MS);
	signals_restore(&guard);
	mark_set_beside(&marker, 0);
	return is_preset;
}

bool concurrent_begin(bool *ret_is_broken)
{
	concurrent_stats = (struct concurrent_stats){0};
	*ret_is_broken = false;
	when.start_ns = clock_now_ns();
	prepare_hot_ranges();
	if (!page_heap_end_moves(PATIENCE_MS * NS_PER_MS))
		return false;
	*ret_is_broken = !arm();
	if (*ret_is_broken)
		return false;
	if (concurrent_preset())
		return true;
	concurrent_abort();
	return false;
}

static bool reread(uintptr_t start, uintptr_t end, void *argument)
{
	*(uint64_t *)argument += end - start;
	if (CHECKS && roots_are_off("written"))
		return true;
	for (uintptr_t at = start; at < end; at += REREAD_BYTES) {
		if (!mark_reread(&marker, at, min_u64(at + REREAD_BYTES, end)))
			return false;
	}
	return true;
}

static bool reread_hot(uintptr_t start, uintptr_t end, void *argument)
{
	hot_ranges_add(start - heap.base, end - heap.base);
	return reread(start, end, argument);
}

static bool reread_hot_piece(uintptr_t start, uintptr_t end, void *argument)
{
	return tracking_harvest(start, end, HARVEST_PROTECT, reread_hot, argument);
}

/* Beside the program: reads what was written since the last round, which is hot now, and what that reaches. */
static bool catch_up(uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	concurrent_stats.rounds++;
	seen.known_bytes = load_acquire(&heap.used);
	if (!(watch_window() && for_each_piece(heap.base, heap_end(), reread_hot_piece, ret_bytes)))
		return false;
	*ret_bytes += tracked_roots_mark_written(&marker);
	return mark_drain(&marker);
}

/* Threads that allocate are held up more and more until a round finds less than half of what the one before has found. */
static void press_brake(uint32_t *brake_us)
{
	*brake_us = *brake_us ? min_u64(2 * *brake_us, BRAKE_MAX_US) : BRAKE_MIN_US;
	pacer_set_brake(*brake_us);
}

/*
 * Rounds, until little is written in the time of one, or the program writes as fast as we read. Who writes what is old is not held up, and further rounds would only cost
 * it faults; unless the pause would take longer than it may. What was written in the time of the mark says little about what
 * will be in the time of a round: it is hot only if there are no further rounds.
 */
static bool catch_up_beside(void)
{
	uint64_t least = UINT64_MAX, bytes, grown, cpu;
	uint32_t brake_us = 0;
	bool is_fresh;
	int vain = 0;

	do {
		if (concurrent_stats.rounds == 1)
			hot_ranges_clear();
		grown = pacer_grown_bytes();
		cpu = clock_thread_cpu_ns();
		if (!catch_up(&bytes))
			return false;
		cpu = clock_thread_cpu_ns() - cpu;
		is_fresh = pacer_grown_bytes() - grown > bytes / 16;
		if (bytes > LITTLE_BYTES && bytes > least / 2 && is_fresh)
			press_brake(&brake_us);
		vain = bytes < least / 8 * 7 || (is_fresh && brake_us < BRAKE_MAX_US) ? 0
										      : vain + 1;
		least = min_u64(least, bytes);
	} while (bytes > LITTLE_BYTES && concurrent_stats.rounds < ROUNDS_MAX &&
		 (vain < (is_fresh ? VAIN_ROUNDS_MAX : 1) ||
			 cpu > options.pause_max_ms * NS_PER_MS));
	return true;
}

bool concurrent_mark_roots(void)
{
	return tracked_roots_mark(&marker, cycle_may_go_on);
}

bool concurrent_mark(bool *ret_is_broken)
{
	bool is_done;

	mark_set_beside(&marker, cycle_may_go_on);
	is_done = mark_drain(&marker);
	leisure_hurry(LEISURE_NAPS); // the longer it takes, the more is written meanwhile
	is_done = is_done && catch_up_beside();
	mark_set_beside(&marker, 0);
	*ret_is_broken = !is_done && !mark_has_failed(&marker);
	return is_done;
}

static bool reread_in_time(uintptr_t start, uintptr_t end, void *argument)
{
	seen.is_late = seen.is_late || clock_now_ns() > seen.deadline_ns;
	return !seen.is_late && reread(start, end, argument);
}

static bool reread_range(uint64_t start, uint64_t end, void *argument)
{
	return tracking_harvest(
		heap.base + start, heap.base + end, HARVEST_WRITTEN, reread_in_time, argument);
}

enum concurrent_caught_up concurrent_catch_up(uint64_t deadline_ns)
{
	uint64_t *bytes = &concurrent_stats.written_bytes, used = load_acquire(&heap.used);
	bool is_done;

	*bytes = 0;
	concurrent_stats.pauses++;
	if (concurrent_stats.pauses == PAUSES_MAX)
		hot_ranges_add_all();
	hot_ranges_add(seen.known_bytes, used);
	seen.known_bytes = used;
	seen.kept_off = mark_kept_off_count();
	seen.deadline_ns = deadline_ns;
	seen.is_late = false;
	is_done = hot_ranges_for_each(true, used, reread_range, bytes) &&
		  tracking_harvest(
			  heap.base, heap.base + used, HARVEST_UNWATCHED, reread_in_time, bytes);
	concurrent_stats.broken_off += seen.is_late;
	concurrent_stats.pauses -= seen.is_late;
	return is_done                    ? CONCURRENT_CAUGHT_UP
	       : seen.is_late             ? CONCURRENT_TOO_LONG
	       : mark_has_failed(&marker) ? CONCURRENT_UNREADABLE
					  : CONCURRENT_NOT_TRACKED;
}

static bool stop_at_written(uintptr_t start, uintptr_t end, void *argument)
{
	*(bool *)argument = true;
	return ignore(start, end, argument) && false;
}

static bool look_at_piece(uintptr_t start, uintptr_t end, void *argument)
{
	return tracking_harvest(start, end, HARVEST_WRITTEN, stop_at_written, argument);
}

static bool look_at_range(uint64_t start, uint64_t end, void *argument)
{
	return for_each_piece(heap.base + start, heap.base + end, look_at_piece, argument);
}

/* A page that the program has taken away since the pause tells nothing. */
enum concurrent_cold concurrent_look_at_cold(void)
{
	bool is_written = false;

	if (CHECKS && roots_are_off("cold"))
		return CONCURRENT_COLD_UNWRITTEN;
	if (!hot_ranges_for_each(false, seen.known_bytes, look_at_range, &is_written) &&
		!is_written)
		return CONCURRENT_COLD_UNKNOWN;
	return is_written || mark_kept_off_count() != seen.kept_off ? CONCURRENT_COLD_WRITTEN
								    : CONCURRENT_COLD_UNWRITTEN;
}

bool concurrent_mark_again(bool *ret_is_broken)
{
	bool is_done;

	mark_set_beside(&marker, cycle_may_go_on);
	is_done = catch_up_beside();
	mark_set_beside(&marker, 0);
	*ret_is_broken = !is_done && !mark_has_failed(&marker);
	return is_done;
}

static bool release(uintptr_t start, uintptr_t end, void *argument)
{
	tracking_release(start, end);
	return ignore(start, end, argument);
}

/*
 * Until the next cycle nobody needs to know what is written, and a fault for each page would cost the program more than letting go of all. Not so where cycles follow
 * each other closely: soon all will be protected again.
 */
void concurrent_release(void)
{
	uint64_t now = clock_now_ns();

	if (when.start_ns - when.last_end_ns > (now - when.start_ns) / 2)
		for_each_piece(heap.base, heap_end(), release, 0);
	when.last_end_ns = now;
}

bool concurrent_end(void)
{
	pacer_set_brake(0);
	page_heap_set_marking(false);
	return mark_list_spans();
}

void concurrent_abort(void)
{
	pacer_set_brake(0);
	mark_set_beside(&marker, 0);
	page_heap_set_marking(false);
	mark_drop_spans();
}

void concurrent_fork_child(void)
{
	blank_pages_forget();
	pacer_set_brake(0);
	page_heap_set_marking(false);
	page_heap_allow_moves();
	page_heap_forget_moves();
	mark_fork_child();
	tracking_forget();
}
