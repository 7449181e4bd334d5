/*
 * When a cycle is due. The count of hinted bytes is one global, added to in quanta of HINT_QUANTUM_BYTES by each thread.
 *
 * Goals: hinted bytes may grow by max(quarantine_bytes, quarantine_percent of the heap) beyond those that the last cycle found
 * still reached (they would only be found again), the heap by `growth` percent. Twice the quarantine is the hard limit.
 */
#include "core/gc/pacer.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/gate.h"
#include "core/gc/growth.h"
#include "core/gc/leak_suspects.h"
#include "core/heap/heap_stats.h"
#include "core/heap/page_heap.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/log.h"
#include "core/profile/stats_page.h"

#define HEAP_BYTES_MIN \
	(16ull << 20) /* a smaller heap does not start a cycle by growing; a leak that filled it unseen counts as old */
#define QUARANTINE_BYTES_MIN (4ull << 20) /* however near the memory limit is */
/* By default: a cycle takes the time of what is live, so that much should be freed until the next; core/README.md has the figures. */
#define QUARANTINE_LEAST (12ull << 20)
#define QUARANTINE_MOST (32ull << 20)
#define QUARANTINE_FOR_ROOTS (64ull << 20)
#define DIRTY_BYTES_MIN (4ull << 20) /* free pages that are worth a thread to give them back */

/* `hinted_bytes` is added to by any thread (relaxed); the goal is written by the collector and read by anybody, torn reads are harmless: each
 * word is a limit of its own. */
static struct {
	uint64_t hinted_bytes;
	uint64_t allowed_bytes; // the collector's; 0: not limited
	uint32_t brake_us;      // written by the collector, a futex of those who wait
	uint64_t brake_count;   // added to by any thread
	uint64_t grown_bytes;   // the same
	struct pacer_goal goal;
} pacer = {.goal = {UINT64_MAX, UINT64_MAX, UINT64_MAX}};

struct pacer_goal pacer_compute(const struct pacer_input *input)
{
	uint64_t least =
		input->quarantine_bytes != OPTION_AUTO
			? input->quarantine_bytes
			: max_u64(QUARANTINE_LEAST, min_u64(input->live_bytes, QUARANTINE_MOST)) +
				  min_u64(input->root_bytes / 4, QUARANTINE_FOR_ROOTS);
	uint64_t quarantine = max_u64(least, input->heap_bytes / 100 * input->quarantine_percent);
	uint64_t heap_goal = max_u64(HEAP_BYTES_MIN,
		input->heap_bytes + input->heap_bytes / 100 * input->growth_percent);

	if (input->memory_limit > 0) {
		uint64_t room = input->memory_limit > input->heap_bytes
					? input->memory_limit - input->heap_bytes
					: 0;

		quarantine = min_u64(quarantine, max_u64(room / 4, QUARANTINE_BYTES_MIN));
		heap_goal = min_u64(heap_goal,
			max_u64(input->memory_limit, input->heap_bytes + QUARANTINE_BYTES_MIN));
	}
	return (struct pacer_goal){
		.hinted_bytes = quarantine, .hard_bytes = 2 * quarantine, .heap_bytes = heap_goal};
}

void pacer_set_allowed_bytes(uint64_t bytes)
{
	pacer.allowed_bytes = bytes;
}

/* The process is more than its heap. */
static uint64_t memory_limit(void)
{
	return options.memory_limit ? options.memory_limit : pacer.allowed_bytes / 10 * 9;
}

void pacer_set(uint64_t heap_bytes, uint64_t hinted_bytes, uint64_t live_bytes, uint64_t root_bytes)
{
	struct pacer_input input = {
		.heap_bytes = heap_bytes,
		.growth_percent = options.growth,
		.quarantine_percent = options.quarantine_percent,
		.quarantine_bytes = options.quarantine_bytes,
		.live_bytes = live_bytes,
		.root_bytes = root_bytes,
		.memory_limit = memory_limit(),
	};
	struct pacer_goal goal = pacer_compute(&input);
	bool verifies = options.free == FREE_HINT;
	bool traces =
		options.collector != COLLECTOR_OFF && (verifies || options.leaks != LEAKS_OFF);

	store_relaxed(
		&pacer.goal.hinted_bytes, verifies ? hinted_bytes + goal.hinted_bytes : UINT64_MAX);
	store_relaxed(
		&pacer.goal.hard_bytes, verifies ? hinted_bytes + goal.hard_bytes : UINT64_MAX);
	store_relaxed(&pacer.goal.heap_bytes, traces ? goal.heap_bytes : UINT64_MAX);
}

const struct pacer_goal *pacer_goal(void)
{
	return &pacer.goal;
}

uint64_t pacer_hinted_bytes(void)
{
	return load_relaxed(&pacer.hinted_bytes);
}

void pacer_forget_hinted(uint64_t bytes)
{
	uint64_t old = load_relaxed(&pacer.hinted_bytes);

	while (!cas_seq(&pacer.hinted_bytes, old, old > bytes ? old - bytes : 0))
		old = load_relaxed(&pacer.hinted_bytes);
	stats_set(hinted_bytes, load_relaxed(&pacer.hinted_bytes));
}

void pacer_note_hinted(uint64_t bytes)
{
	uint64_t total;

	if (load_relaxed(&heap_stats.unreported_hint_bytes) > 0)
		bytes +=
			__atomic_exchange_n(&heap_stats.unreported_hint_bytes, 0, __ATOMIC_RELAXED);
	total = add_relaxed(&pacer.hinted_bytes, bytes) + bytes;

	stats_set(hinted_bytes, total);
	if (total >= load_relaxed(&pacer.goal.hinted_bytes))
		cycle_request(CYCLE_FOR_FREED);
}

void pacer_note_free_pages(void)
{
	if (((uint64_t)load_relaxed(&page_heap_stats()->dirty_unit_count) << UNIT_SHIFT) >=
		DIRTY_BYTES_MIN)
		cycle_request(CYCLE_FOR_PURGE);
}

void pacer_set_brake(uint32_t us)
{
	if (us == load_relaxed(&pacer.brake_us))
		return;
	store_relaxed(&pacer.brake_us, us);
	futex_wake(&pacer.brake_us, INT32_MAX);
}

uint64_t pacer_brake_count(void)
{
	return load_relaxed(&pacer.brake_count);
}

uint64_t pacer_grown_bytes(void)
{
	return load_relaxed(&pacer.grown_bytes);
}

/* The thread counts as stopped while it waits. */
static COLD void brake(uint32_t us)
{
	struct gate_frame frame = {0};

	add_relaxed(&pacer.brake_count, 1);
	gate_publish(&frame);
	gate_enter(&frame);
	futex_wait(&pacer.brake_us, us, us * (NS_PER_MS / 1000));
	gate_leave(&frame);
}

void pacer_note_growth(uint64_t bytes)
{
	uint32_t brake_us = load_relaxed(&pacer.brake_us);
	const struct page_heap_stats *stats_of_pages = page_heap_stats();
	uint64_t heap_bytes = page_heap_used_bytes();

	add_relaxed(&pacer.grown_bytes, bytes);
	stats_set(heap_bytes, heap_bytes);
	if (heap_bytes >= load_relaxed(&pacer.goal.heap_bytes))
		cycle_request(CYCLE_FOR_GROWTH);
	if (pacer_hinted_bytes() >= load_relaxed(&pacer.goal.hinted_bytes))
		cycle_request(CYCLE_FOR_HINTS);
	if (((uint64_t)load_relaxed(&stats_of_pages->dirty_unit_count) << UNIT_SHIFT) >=
		DIRTY_BYTES_MIN)
		cycle_request(CYCLE_FOR_PURGE);
	if (UNLIKELY(((cycle_is_wanted_early || leak_suspects_want_collector(heap_bytes)) &&
			     cycle_thread_id() == 0) ||
		     growth_wants_thread(heap_bytes)))
		cycle_request(CYCLE_FOR_TIME);
	log_flush_pending();
	if (UNLIKELY(stats_command_is_pending()))
		cycle_request(CYCLE_FOR_COMMAND);
	if (UNLIKELY(pacer_hinted_bytes() >= load_relaxed(&pacer.goal.hard_bytes)))
		cycle_throttle();
	else if (UNLIKELY(brake_us != 0))
		brake(brake_us);
}
