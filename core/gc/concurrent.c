/*
 * The concurrent tier. Everything here runs in the collector's thread; what the program's threads see of it is the flag of the page heap (spans are born MARKING,
 * large blocks keep their pages), spans that nobody sweeps, and mark_keep_off().
 */
#include "core/gc/concurrent.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/mark.h"
#include "core/gc/roots.h"
#include "core/heap/page_heap.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/tracking.h"

enum {
	PATIENCE_MS = 50, // for threads that hold a span BUSY, or move pages
	ROUNDS_MAX = 10,
	LITTLE_BYTES = 1 << 20, // written: left to the pause
};

struct concurrent_stats concurrent_stats;

bool concurrent_is_available(void)
{
	// with free=trust a slot gets its next owner without a sweep, and a freed large block would stay until the cycle after
	return options.free != FREE_TRUST && tracking_open();
}

/* Again in each round: what mmap has made since is not watched. */
static bool watch_window(void)
{
	uintptr_t start, end;

	page_heap_window(&start, &end);
	return tracking_register(start, end);
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

static bool beside(void)
{
	return cycle_may_go_on();
}

static bool arm(void)
{
	return watch_window() &&
	       tracking_harvest(heap.base, heap_end(), HARVEST_PROTECT, ignore, 0);
}

bool concurrent_begin(bool *ret_is_broken)
{
	struct signal_guard guard;
	bool is_preset;

	concurrent_stats = (struct concurrent_stats){0};
	*ret_is_broken = false;
	if (!page_heap_end_moves(PATIENCE_MS * NS_PER_MS))
		return false;
	*ret_is_broken = !arm();
	if (*ret_is_broken)
		return false;
	mark_set_beside(&marker, beside);
	page_heap_set_marking(true);
	signals_block(&guard);
	is_preset = mark_preset_beside(PATIENCE_MS * NS_PER_MS);
	signals_restore(&guard);
	mark_set_beside(&marker, 0);
	if (!is_preset)
		concurrent_abort();
	return is_preset;
}

static bool reread(uintptr_t start, uintptr_t end, void *argument)
{
	*(uint64_t *)argument += end - start;
	if (CHECKS && roots_are_off("written"))
		return true;
	return mark_reread(&marker, start, end);
}

/* Reads what was written since the last harvest. */
static bool harvest(enum tracking_harvest how, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	return tracking_harvest(heap.base, heap_end(), how, reread, ret_bytes);
}

/* Rounds, until little is written in the time of one, or hardly less than in the one before. */
static bool catch_up_beside(void)
{
	uint64_t before = UINT64_MAX, bytes = UINT64_MAX;

	while (concurrent_stats.rounds < ROUNDS_MAX && bytes > LITTLE_BYTES &&
		(before == UINT64_MAX || bytes < before / 8 * 7)) {
		before = bytes;
		concurrent_stats.rounds++;
		if (!watch_window() || !harvest(HARVEST_PROTECT, &bytes) || !mark_drain(&marker))
			return false;
	}
	return true;
}

bool concurrent_mark(bool *ret_is_broken)
{
	bool is_done;

	mark_set_beside(&marker, beside);
	is_done = mark_drain(&marker) && catch_up_beside();
	mark_set_beside(&marker, 0);
	*ret_is_broken = !is_done && !mark_has_failed(&marker);
	return is_done;
}

bool concurrent_catch_up(bool *ret_is_broken)
{
	bool is_done = harvest(HARVEST_LOOK, &concurrent_stats.written_bytes);

	*ret_is_broken = !is_done && !mark_has_failed(&marker);
	return is_done;
}

bool concurrent_end(void)
{
	page_heap_set_marking(false);
	return mark_list_spans();
}

void concurrent_abort(void)
{
	mark_set_beside(&marker, 0);
	page_heap_set_marking(false);
	mark_drop_spans();
}

void concurrent_fork_child(void)
{
	page_heap_set_marking(false);
	page_heap_allow_moves();
	mark_fork_child();
	tracking_forget();
}
