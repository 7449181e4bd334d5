/*
 * The pace: a cycle each growth_interval_ms if spans were handed out since the last one, each three times that if the process used any processor at all (a slow leak
 * takes a span of 64 KiB only now and then), none else; and cycles take a fiftieth of one processor at most.
 */
#include "core/gc/growth.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/pacer.h"
#include "core/os/clock.h"

enum {
	WATCH_S = 3600,
	CPU_FACTOR = 50,
	SLOW_FACTOR = 3,
	IDLE_NS = 200000,        // less is nothing: a timer that is looked at
	HEAP_BYTES_MIN = 1 << 20 // below it nothing has grown
};

static struct {
	uint64_t until_ns;
	uint64_t next_ns, last_ns; // cycles
	uint64_t grown_bytes;      // pacer_grown_bytes() at the last one
	uint64_t used_ns;          // CPU time of the process then, less the collector's
	uint64_t start_ns;         // any thread, relaxed
} growth;

static bool is_watched(uint64_t now_ns)
{
	return options.collector != COLLECTOR_OFF &&
	       (options.mode == MODE_WATCH || now_ns < growth.until_ns);
}

static uint64_t interval_ns(void)
{
	return options.growth_interval_ms * NS_PER_MS;
}

/* The program's own CPU time. */
static uint64_t used_ns(void)
{
	return clock_process_cpu_ns() - clock_thread_cpu_ns();
}

void growth_watch(uint64_t now_ns)
{
	growth.until_ns = now_ns + WATCH_S * NS_PER_S;
	growth.next_ns = min_u64(growth.next_ns, now_ns + interval_ns());
}

uint64_t growth_due_ns(uint64_t now_ns)
{
	return is_watched(now_ns) ? growth.next_ns : UINT64_MAX;
}

void growth_tick(uint64_t now_ns)
{
	bool is_slow = now_ns >= growth.last_ns + SLOW_FACTOR * interval_ns();

	if (growth.next_ns == 0)
		growth.next_ns = now_ns + interval_ns();
	if (!is_watched(now_ns) || now_ns < growth.next_ns)
		return;
	if (pacer_grown_bytes() != growth.grown_bytes ||
		(is_slow && used_ns() > growth.used_ns + IDLE_NS))
		return;
	growth.next_ns = now_ns + interval_ns();
}

void growth_note_cycle(uint64_t now_ns, uint64_t cpu_ns, bool is_quick)
{
	if (is_quick)
		return;
	growth.last_ns = now_ns;
	growth.next_ns = now_ns + max_u64(interval_ns(), CPU_FACTOR * cpu_ns);
	growth.grown_bytes = pacer_grown_bytes();
	growth.used_ns = used_ns();
}

void growth_fork_child(void)
{
	if (growth.start_ns != 0)
		growth.start_ns = clock_now_ns();
	if (growth.until_ns != 0)
		growth.until_ns = 0; // every page that is written is copied
}

bool growth_wants_thread(uint64_t heap_bytes)
{
	uint64_t start, now;

	if (options.mode != MODE_WATCH || heap_bytes < HEAP_BYTES_MIN || cycle_thread_id() != 0)
		return false;
	start = load_relaxed(&growth.start_ns);
	now = clock_now_ns();
	if (start == 0)
		store_relaxed(&growth.start_ns, now);
	return start != 0 && now - start >= interval_ns();
}
