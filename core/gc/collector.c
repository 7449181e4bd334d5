/*
 * The collector thread: sleeps until it is wanted, runs cycles, gives free pages back, answers commands.
 *
 * It has a descriptor table of its own (nothing of the program is held open by it, and what it opens is seen by nobody), blocks all signals, and is
 * started only when there is something to do. Its sleep is the futex of the public page, so `gasket set` wakes it too.
 *
 * Requests are bits in one word, set by anybody. `thread_state` says whether somebody will see them:
 *	ABSENT -> STARTING -> RUNS -> (cycle_stop_thread) ENDING -> ABSENT
 */
#include "core/gc/collector.h"

#include "core/base/attr.h"
#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/gc/command.h"
#include "core/gc/concurrent.h"
#include "core/gc/cycle.h"
#include "core/gc/gate.h"
#include "core/gc/growth.h"
#include "core/gc/heap_file.h"
#include "core/gc/last_words.h"
#include "core/gc/leak_suspects.h"
#include "core/gc/leisure.h"
#include "core/gc/pacer.h"
#include "core/gc/possible.h"
#include "core/gc/probation.h"
#include "core/gc/thread.h"
#include "core/gc/trust.h"
#include "core/heap/central.h"
#include "core/heap/page_heap.h"
#include "core/heap/thread_cache.h"
#include "core/os/cgroup.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/log.h"
#include "core/os/proc.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/os/tracking.h"
#include "core/profile/stats_page.h"

#include <fcntl.h>
#include <sched.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif
#ifndef SCHED_BATCH
#define SCHED_BATCH 3
#endif

enum thread_state { ABSENT, STARTING, RUNS, ENDING };

enum {
	RETRY_START_MS = 1000,   // after the thread could not be started
	COLLECT_WAIT_MS = 10000, // of who asks for a cycle
	COLLECT_LOOK_MS = 10,    // and how often it sees whether the collector was ended
	THROTTLE_WAIT_MS =
		200, // longest wait of a program thread for a cycle, then it counts as one without a verdict
	PURGE_TICK_MS = 250,
	LIMIT_LOOK_MS = 1000,
	PURGE_KEEP_EIGHTHS = 7, // of the dirty limit survives a tick: 0.5 % is left after 10 s
	LOOK_AGAIN_MS = 250,    // for suspects
	FREED_MS = 250,         // until what was freed is looked at though nobody needs memory
	BACK_OFF_MS_MIN = 10,   // after a cycle without a verdict, doubled each time
	BACK_OFF_MS_MAX = 5000,
};

/* What waits until the collector may use the CPU again, or until the hard limit is reached. */
#define PACED_REQUESTS (1u << CYCLE_FOR_HINTS | 1u << CYCLE_FOR_GROWTH)
#define HINT_REQUESTS (1u << CYCLE_FOR_HINTS | 1u << CYCLE_FOR_FREED)

bool (*cycle_start_hook)(void);
bool cycle_is_wanted_early;

/* Words changed by anybody (compare-and-swap or relaxed stores); the rest is the collector thread's. */
static struct {
	uint32_t requests;     // bit per enum cycle_reason
	uint32_t thread_state; // enum thread_state
	uint32_t done;         // cycles ended, futex of those who wait
	uint32_t shut_down;
	int32_t thread_id;
	uint32_t
		purge_timed; // 1: the thread sleeps no longer than until the next purge, nobody need wake it for one
	uint64_t
		starved_since_ns; // begin of the first wait since the last end of a cycle that saw no end of one; 0: none
	uint64_t retry_start_ns;
	uint32_t is_awaited; // 1: since the last cycle ended some thread has come to the hard limit
	// collector thread
	uint64_t not_before_ns; // next cycle for hints or growth
	uint64_t last_cycle_ns;
	uint64_t back_off_ms;
	uint64_t dirty_limit;
	uint64_t next_purge_ns;
	uint64_t next_look_ns; // for limits of memory
	uint64_t freed_due_ns; // CYCLE_FOR_FREED: when its time comes; 0: not asked
} collector WRITTEN_BY_FORK;

int cycle_thread_id(void)
{
	return load_relaxed(&collector.thread_id);
}

/* False: there is none, and none can be had now. (One that was started may have been ended again since.) */
static bool start_thread(void)
{
	uint64_t now;

	// without a cache this may be a signal handler inside our own code, or a thread that ends: not a place to make a thread
	if (!cycle_start_hook || load_relaxed(&collector.shut_down) ||
		thread_recover_cache() == THREAD_CACHE_NONE)
		return false;
	if (thread_current->in_libc_threads > 0)
		return false;
	now = clock_now_ns();
	if (now < load_relaxed(&collector.retry_start_ns))
		return false;
	// it would be a thread of the vfork child, and go with it (in a sandbox nothing may be asked, and none is made)
	if (sandbox_allows(SANDBOX_COLLECTOR) && !stats_belong_here())
		return false;
	if (!cas_seq(&collector.thread_state, (uint32_t)ABSENT, (uint32_t)STARTING))
		return true;
	store_relaxed(
		&collector.retry_start_ns, 0); // before: a thread that cannot stay says so there
	if (cycle_start_hook())
		return true;
	store_relaxed(&collector.retry_start_ns, now + RETRY_START_MS * NS_PER_MS);
	stats_set(no_verdict, STATS_NO_VERDICT_NO_THREAD);
	store_release(&collector.thread_state, ABSENT);
	return false;
}

void cycle_request(enum cycle_reason reason)
{
	uint32_t bit = 1u << reason;

	if (options.collector == COLLECTOR_OFF && ((PACED_REQUESTS | HINT_REQUESTS) & bit))
		return;
	if (load_relaxed(&collector.thread_state) == ABSENT)
		start_thread();
	// pairs with sleep_ns(): the page heap's lock was released between counting the pages and this load
	if (reason == CYCLE_FOR_PURGE && load_seq(&collector.purge_timed))
		return;
	if (load_relaxed(&collector.requests) & bit)
		return;
	or_relaxed(&collector.requests, bit);
	stats_wake();
}

/* ---- program threads that wait for a verdict ---- */

/* No cycle has ended for as long as three may take. (Not three waits: many threads wait at the same time.) */
static bool is_starved(void)
{
	uint64_t since = load_relaxed(&collector.starved_since_ns);

	return since != 0 &&
	       clock_now_ns() - since >= NO_VERDICT_CYCLES_MAX * THROTTLE_WAIT_MS * NS_PER_MS;
}

static bool verdicts_are_missing(void)
{
	return options.collector == COLLECTOR_OFF ||
	       stats_get(cycles_without_verdict) >= NO_VERDICT_CYCLES_MAX || is_starved() ||
	       (load_relaxed(&collector.thread_state) == ABSENT &&
		       load_relaxed(&collector.retry_start_ns) > 0);
}

/* The thread counts as stopped while it waits: it may be what the cycle waits for. */
static void wait_for_cycle(uint32_t done, uint64_t timeout_ms)
{
	struct gate_frame frame = {0};
	uint64_t deadline = clock_now_ns() + timeout_ms * NS_PER_MS, now;

	gate_publish(&frame);
	gate_enter(&frame);
	while (load_acquire(&collector.done) == done && (now = clock_now_ns()) < deadline)
		futex_wait(&collector.done, done, deadline - now);
	gate_leave(&frame);
}

/*
 * Whoever holds the lock runs a cycle, or makes hints free: both end in time, and until then nobody may allocate more, or the heap would grow without bound
 * while a long cycle runs. Then there may be nothing left to do.
 */
static void trust_oldest(void)
{
	struct gate_frame frame = {0};
	struct signal_guard guard;
	bool is_taken;

	signals_block(&guard);
	gate_publish(&frame);
	gate_enter(&frame);
	is_taken = lock_acquire_timeout(cycle_lock(), THROTTLE_WAIT_MS * NS_PER_MS);
	gate_leave(&frame);
	if (is_taken) {
		// the cycle that was waited for may have given a verdict
		if (verdicts_are_missing() &&
			pacer_hinted_bytes() >= load_relaxed(&pacer_goal()->hard_bytes))
			trust_oldest_locked();
		lock_release(cycle_lock());
	}
	signals_restore(&guard);
}

static void note_wait(uint64_t ns)
{
	uint64_t *longest = &load_acquire(&stats)->max_wait_ns, old = load_relaxed(longest);

	stats_add(waits, 1);
	stats_add(total_wait_ns, ns);
	while (ns > old && !cas_seq(longest, old, ns))
		old = load_relaxed(longest);
}

void cycle_throttle(void)
{
	uint32_t done = load_acquire(&collector.done);
	uint64_t start;

	store_relaxed(&collector.is_awaited, 1u);
	cycle_request(CYCLE_FOR_HINTS);
	stats_wake(); // asked for already, it may wait for its time: that is now
	if (verdicts_are_missing()) {
		trust_oldest();
		return;
	}
	if (load_relaxed(&collector.shut_down) || load_relaxed(&collector.thread_state) == ABSENT)
		return;
	start = clock_now_ns();
	wait_for_cycle(done, THROTTLE_WAIT_MS);
	note_wait(clock_now_ns() - start);
	if (load_acquire(&collector.done) == done)
		cas_seq(&collector.starved_since_ns, (uint64_t)0, start);
}

/* ---- cycles ---- */

bool collector_is_awaited(void)
{
	return load_relaxed(&collector.is_awaited) && threads_count() == 1 && threads_all_wait();
}

static void note_cycle_end(bool verdict)
{
	uint64_t now = clock_now_ns();
	uint64_t rest = cycle_last.cpu_ns * (100 - options.cpu_percent) / options.cpu_percent;

	collector.last_cycle_ns = now;
	growth_note_cycle(now, cycle_last.cpu_ns, cycle_last.is_quick);
	if (verdict) {
		collector.back_off_ms = 0;
		collector.not_before_ns = now + rest;
		stats_set(trusting, 0);
	} else {
		collector.back_off_ms = min_u64(
			max_u64(2 * collector.back_off_ms, BACK_OFF_MS_MIN), BACK_OFF_MS_MAX);
		collector.not_before_ns = now + collector.back_off_ms * NS_PER_MS;
	}
	store_relaxed(&collector.starved_since_ns, (uint64_t)0);
	store_relaxed(&collector.is_awaited, 0u);
	add_seq(&collector.done, 1);
	futex_wake(&collector.done, INT32_MAX);
}

uint32_t cycle_forks_waiting;

/* The lock is not fair: cycle after cycle would keep a fork waiting until it gives up. */
static void let_fork_go_first(void)
{
	enum { TICKS = 50 };
	uint32_t waiting;

	for (int i = 0; i < TICKS && (waiting = load_seq(&cycle_forks_waiting)) != 0; i++)
		futex_wait(&cycle_forks_waiting, waiting, NS_PER_MS);
}

bool cycle_may_go_on(void)
{
	cycle_rest();
	if (load_relaxed(&cycle_forks_waiting) != 0) {
		lock_release(cycle_lock());
		let_fork_go_first();
		lock_acquire(cycle_lock());
	}
	return !load_relaxed(&collector.shut_down) &&
	       load_relaxed(&collector.thread_state) != ENDING;
}

/* Soon threads will have to wait, or there is little room left. */
static bool is_memory_pressing(void)
{
	const struct pacer_goal *goal = pacer_goal();
	uint64_t heap_goal = load_relaxed(&goal->heap_bytes);

	return pacer_hinted_bytes() >= load_relaxed(&goal->hinted_bytes) / 2 +
					       load_relaxed(&goal->hard_bytes) / 2 ||
	       page_heap_used_bytes() / 9 >= heap_goal / 8;
}

enum leisure cycle_leisure(void)
{
	const uint32_t patient = 1u << CYCLE_FOR_TIME | 1u << CYCLE_FOR_PURGE | PACED_REQUESTS;
	uint32_t requests = load_relaxed(&collector.requests);

	if ((requests & ~patient) != 0 || load_relaxed(&cycle_forks_waiting) != 0 ||
		load_relaxed(&collector.shut_down) ||
		load_acquire(&collector.thread_state) != RUNS || stats_command_is_pending() ||
		is_memory_pressing())
		return leisure_hurry(LEISURE_NONE);
	return leisure_hurry(requests & PACED_REQUESTS ? LEISURE_NAPS : LEISURE_FULL);
}

void cycle_rest(void)
{
	uint64_t rest, end;

	if (cycle_is_paused || cycle_leisure() == LEISURE_NONE)
		return;
	rest = leisure_due_ns();
	if (rest == 0)
		return;
	end = clock_now_ns() + rest;
	for (;;) {
		// first: who wants the cycle changes this after what is looked at below
		uint32_t value = stats_wake_value();
		uint64_t now = clock_now_ns();

		if (now >= end || cycle_leisure() == LEISURE_NONE)
			return;
		stats_wait(value, end - now);
	}
}

bool collector_run_cycle(bool may_be_quick)
{
	struct signal_guard guard;
	bool verdict;

	signals_block(&guard);
	let_fork_go_first();
	lock_acquire(cycle_lock());
	verdict = !load_relaxed(&collector.shut_down) && cycle_run_locked(may_be_quick);
	lock_release(cycle_lock());
	signals_restore(&guard);
	note_cycle_end(verdict);
	return verdict;
}

/* Has a cycle run and waits for its end. The collector may be ended meanwhile (preload/guest.c): then it is started again. False: there is none, or no end of it. */
static bool have_cycle(void)
{
	uint32_t done = load_acquire(&collector.done);

	cycle_request(CYCLE_FOR_CALLER);
	for (int i = 0; i < COLLECT_WAIT_MS / COLLECT_LOOK_MS; i++) {
		if (load_relaxed(&collector.thread_state) == ABSENT && !start_thread())
			return false;
		wait_for_cycle(done, COLLECT_LOOK_MS);
		if (load_acquire(&collector.done) != done)
			return true;
	}
	return false;
}

bool cycle_collect(void)
{
	if (!cycle_start_hook)
		return collector_run_cycle(false);
	// the cycle under way may have stopped threads before this call: the one after it counts
	return have_cycle() && have_cycle() && cycle_last.has_verdict;
}

/* ---- pages ---- */

/*
 * Free pages are kept for a while: the limit jumps to what is free and then decays, 7/8 every tick. What was wanted since the last tick is not given back: what is
 * free after a cycle is used up until the next one, and would have to be had from the kernel again.
 */
static void purge_tick(uint64_t now)
{
	const struct page_heap_stats *pages = page_heap_stats();
	uint64_t dirty = load_relaxed(&pages->dirty_unit_count);
	struct signal_guard guard;
	uint64_t wanted;

	if (now < collector.next_purge_ns)
		return;
	collector.next_purge_ns = now + PURGE_TICK_MS * NS_PER_MS;
	signals_block(&guard);
	lock_acquire(
		cycle_lock()); // fork waits for it: a run that is being purged is in no list, and a child would have a hole
	central_drain_stock();
	collector.dirty_limit = dirty > collector.dirty_limit
					? dirty
					: collector.dirty_limit * PURGE_KEEP_EIGHTHS / 8;
	wanted = dirty - min_u64(page_heap_take_idle(), dirty);
	if (dirty > collector.dirty_limit)
		page_heap_purge(max_u64(collector.dirty_limit, wanted));
	lock_release(cycle_lock());
	signals_restore(&guard);
}

/* Limits of control groups may be changed at any time. */
static void look_for_limits(uint64_t now)
{
	if (now < collector.next_look_ns || options.memory_limit != 0)
		return;
	collector.next_look_ns = now + LIMIT_LOOK_MS * NS_PER_MS;
	pacer_set_allowed_bytes(cgroup_memory_limit());
}

/* ---- the thread ---- */

/* Leaves the program's table of descriptors for one that has nothing in it but `kept`. */
static bool leave_descriptors(int kept)
{
	bool has_table =
		kept > 0 && !syscall_failed(SYSCALL(close_range, 0, kept - 1, CLOSE_RANGE_UNSHARE));

	if (has_table && !syscall_failed(SYSCALL(close_range, kept + 1, ~0u, 0)))
		return true;
	if (kept < 0 && !syscall_failed(SYSCALL(close_range, 0, ~0u, CLOSE_RANGE_UNSHARE)))
		return true;
	// before Linux 5.9: the new table is a copy, in which the ends of all pipes would stay open
	return (has_table || !syscall_failed(SYSCALL(unshare, CLONE_FILES))) &&
	       descriptors_close(kept);
}

/* False: it would hold the program's files open. */
static bool become_guest(void)
{
	struct sched_param parameter = {0};
	int duplicate = -1;

	// messages were asked for: keep a way to write them
	if (options.gctrace || options.report[0] == 's')
		duplicate = (int)SYSCALL(fcntl, 2, F_DUPFD_CLOEXEC, 900);
	if (duplicate < 0)
		duplicate = -1;
	if (!leave_descriptors(duplicate)) {
		SYSCALL(close, duplicate);
		return false;
	}
	log_set_thread_descriptor(load_relaxed(&collector.thread_id), duplicate);
	if (sandbox_allows(SANDBOX_PRIORITY))
		SYSCALL(sched_setscheduler, 0, SCHED_BATCH, &parameter);
	proc_open();
	return true;
}

static unsigned allowed_cpus(void)
{
	uint64_t mask[16] = {0}; // of 1024; where there are more, the kernel refuses, and it is one
	long bytes = SYSCALL(sched_getaffinity, 0, sizeof(mask), mask);
	unsigned count = 0;

	for (long i = 0; i < bytes / (long)sizeof(mask[0]); i++)
		count += count_bits(mask[i]);
	return count > 0 ? count : 1;
}

static uint64_t next_timed_cycle_ns(uint64_t now)
{
	uint64_t due = options.leaks == LEAKS_RECLAIM ? probation_wants_cycle_ns() : UINT64_MAX;
	uint64_t look = leak_suspects_want_cycle_ns();

	// a first look comes some time after the thread began, and one that gave no verdict is not made again at once
	if (look != UINT64_MAX)
		due = min_u64(
			due, max_u64(look, collector.last_cycle_ns + LOOK_AGAIN_MS * NS_PER_MS));
	if (options.interval_ms > 0)
		due = min_u64(due,
			collector.last_cycle_ns +
				max_u64(options.interval_ms * NS_PER_MS, cycle_last.pauses_ns));
	return min_u64(due, growth_due_ns(now));
}

static bool cycle_is_due(uint32_t requests, uint64_t now)
{
	if (requests & 1u << CYCLE_FOR_CALLER)
		return true;
	if (options.collector == COLLECTOR_OFF)
		return false;
	if ((requests & PACED_REQUESTS) &&
		(now >= collector.not_before_ns ||
			pacer_hinted_bytes() >= pacer_goal()->hard_bytes))
		return true;
	if (collector.freed_due_ns != 0 &&
		now >= max_u64(collector.freed_due_ns, collector.not_before_ns))
		return true;
	return now >= next_timed_cycle_ns(now);
}

/* A program that ends by freeing everything, one block after the other, needs none of it again. */
static void note_freed(uint32_t requests, uint64_t now)
{
	if (!(requests & 1u << CYCLE_FOR_FREED))
		collector.freed_due_ns = 0;
	else if (collector.freed_due_ns == 0)
		collector.freed_due_ns = now + FREED_MS * NS_PER_MS;
}

/* Nobody wants to know of leaks. */
static bool may_be_quick(uint32_t requests, uint64_t now)
{
	if (options.quick_cycles == QUICK_CYCLES_ALWAYS)
		return !(requests & 1u << CYCLE_FOR_CALLER);
	return requests != 0 && (requests & ~HINT_REQUESTS) == 0 && now < next_timed_cycle_ns(now);
}

void collector_serve(void)
{
	uint64_t now = clock_now_ns();
	uint32_t requests = load_seq(&collector.requests) & PACED_REQUESTS;

	if (requests == 0 || !cycle_is_due(requests, now))
		return;
	and_seq(&collector.requests, ~requests);
	leisure_begin(LEISURE_NAPS);
	collector_run_cycle(may_be_quick(requests, now));
}

/* Nanoseconds until something is to be done without being asked. */
static uint64_t sleep_ns(uint32_t requests, uint64_t now)
{
	uint64_t until = options.collector == COLLECTOR_OFF ? UINT64_MAX : next_timed_cycle_ns(now);

	if (requests & PACED_REQUESTS)
		until = min_u64(until, collector.not_before_ns);
	if (collector.freed_due_ns != 0)
		until = min_u64(until, max_u64(collector.freed_due_ns, collector.not_before_ns));
	// cleared before the look: whoever frees a page behind it sees 0, and wakes us
	store_seq(&collector.purge_timed, 0u);
	if (load_seq(&page_heap_stats()->dirty_unit_count) > 0) {
		store_seq(&collector.purge_timed, 1u);
		until = min_u64(until, collector.next_purge_ns);
	}
	until = min_u64(until, heap_file_next_look_ns(now));
	if (until == UINT64_MAX)
		return FUTEX_NO_TIMEOUT;
	return until > now ? until - now : 1;
}

static void end_thread(void)
{
	stats_set(collector_thread, 0);
	store_relaxed(&collector.thread_id, 0);
	store_release(&collector.thread_state, ABSENT);
	futex_wake(&collector.thread_state, INT32_MAX);
}

void cycle_thread_main(void)
{
	store_relaxed(&collector.thread_id, (int32_t)SYSCALL_0(SYS_gettid));
	if (CHECKS)
		fault_arm(options.fault, __builtin_frame_address(0));
	if (!become_guest()) {
		store_relaxed(&collector.retry_start_ns, UINT64_MAX);
		stats_set(no_verdict, STATS_NO_VERDICT_NO_THREAD);
		end_thread();
		add_seq(&collector.done,
			1); // who waits for a cycle finds that there is nobody to run it
		futex_wake(&collector.done, INT32_MAX);
		return;
	}
	cas_seq(&collector.thread_state, (uint32_t)STARTING, (uint32_t)RUNS);
	collector.last_cycle_ns = clock_now_ns();
	leisure_set_cpus(allowed_cpus());
	for (;;) {
		// first: whoever changes a word that is looked at below changes this one after it
		uint32_t value = stats_wake_value();
		uint64_t now = clock_now_ns();
		// those that wait for their time stay: who has the same request again need not wake anybody
		uint32_t requests = and_seq(&collector.requests, PACED_REQUESTS | HINT_REQUESTS);

		if (load_acquire(&collector.thread_state) != RUNS) {
			or_relaxed(&collector.requests, requests); // for the next one
			break;
		}
		stats_set(collector_thread, 1); // again and again: the page may be moved meanwhile
		heap_file_look();
		command_answer();
		last_words_answer();
		purge_tick(now);
		growth_tick(now);
		note_freed(requests, now);
		if (cycle_is_due(requests, now)) {
			exchange_seq(&collector.requests, 0u);
			look_for_limits(now);
			leisure_begin(requests & 1u << CYCLE_FOR_CALLER ? LEISURE_NONE
				      : requests & PACED_REQUESTS       ? LEISURE_NAPS
									: LEISURE_FULL);
			collector_run_cycle(may_be_quick(requests, now));
			leisure_begin(LEISURE_NONE);
			continue;
		}
		stats_wait(value, sleep_ns(requests, now));
	}
	store_seq(&collector.purge_timed, 0u);
	heap_file_stop();
	possible_stop();
	tracking_close();
	proc_close();
	end_thread();
}

bool cycle_thread_exists(void)
{
	return load_acquire(&collector.thread_state) != ABSENT;
}

bool cycle_stop_thread(uint64_t timeout_ns)
{
	uint64_t deadline = clock_now_ns() + timeout_ns;
	uint32_t state;

	// one that was made just now is on its way, and ends as soon as it has begun
	while ((state = load_acquire(&collector.thread_state)) != ABSENT &&
		clock_now_ns() < deadline) {
		if (state != ENDING && cas_seq(&collector.thread_state, state, (uint32_t)ENDING))
			stats_wake();
		futex_wait(&collector.thread_state, ENDING, NS_PER_MS);
	}
	return !cycle_thread_exists();
}

void cycle_shut_down(void)
{
	struct signal_guard guard;

	store_seq(&collector.shut_down, 1);
	stats_wake();
	signals_block(&guard);
	if (lock_acquire_timeout(cycle_lock(), NS_PER_S))
		lock_release(cycle_lock());
	signals_restore(&guard);
}

void cycle_fork_child(void)
{
	bool shut_down = load_relaxed(&collector.shut_down);

	collector = (__typeof__(collector)){.shut_down = shut_down};
	last_words_fork_child();
	proc_forget();
	growth_fork_child();
	concurrent_fork_child();
	heap_file_fork_child();
	possible_fork_child();
}
