/*
 * Stopping the world: the protocol.
 *
 * One word says what is going on: `world_word` = phase | number of the stop << WORLD_PHASE_BITS. A stop is *in force* while the phase is STOPPING, PAUSED or
 * DONE. One word per thread says where the thread stands: `gate` = state | number << GATE_STATE_BITS, the number only with HELD and PARKED: it names
 * the stop for which the thread stands still. All accesses are sequentially consistent.
 *
 *	thread      enter    publish the frame; RUNNING -> BLOCKED; if a stop is in force wait until it is not           (1)
 *	            leave    BLOCKED -> RUNNING; or HELD,n -> RUNNING if stop n is not in force, else wait               (2)
 *	            handler  if a stop n is in force: RUNNING -> PARKED,n; wait until n is not in force; PARKED,n -> RUNNING
 *	                     (BLOCKED or HELD: nothing to do, the thread comes to (1) or (2) by itself)
 *	collector   stop     word = STOPPING,n; each task: BLOCKED -> HELD,n, or else one signal and wait for PARKED,n
 *	                     all tasks that /proc lists are HELD,n or PARKED,n: STOPPING,n -> PAUSED,n
 *	            commit   PAUSED,n -> DONE,n
 *	            start    word = RUNS,n; wake everybody: each thread lets itself go
 *	anybody     abandon  the heartbeat stood still for WORLD_LOOKS_MAX looks: STOPPING/PAUSED/DONE,n -> ABANDONED,n; wake everybody
 *
 * Why (1) is enough (Dekker): the collector writes the word, then reads the gate; the thread writes the gate, then reads the word. Either the collector
 * sees BLOCKED and no signal is sent, or the thread sees the stop and waits *outside* the system call, where a signal can interrupt nothing. So no call
 * is interrupted by us, but for a signal that was delayed by a raw signal mask; the wrapper repeats such a call.
 *
 * Why the numbers: a thread that was told "stop 7 is over" may be preempted before it acts on it. Its compare-and-swap on the gate names stop 7; if stop
 * 8 holds it meanwhile, the swap fails. The same for an abandonment decided in stop 7 and executed in stop 8.
 *
 * Why a commit: all that was read counts only if nobody went on meanwhile. Threads go on only after the word left PAUSED,n, and the collector's
 * compare-and-swap PAUSED,n -> DONE,n proves that it had not.
 *
 * Gates count only if every handler in the kernel's table is known to be ours (or libc's own for cancellation and setuid): another one was installed
 * behind our back and may run on a thread that we take for stopped. Then BLOCKED threads are signalled like the others.
 *
 * The rooms, lowest first; this one has only the sequence.
 *
 *	world_word	the word, waiting on it, the heartbeat and abandonment
 *	gate		enter and leave
 *	stop_handler	the handler
 *	stop_signal	its number; whose handlers are in the kernel's table
 *	stop_tasks	asking everybody, and knowing that it was everybody
 *
 * Locks: none while stopping, but THREADS for moments.
 */
#include "core/gc/world.h"

#include "core/base/atomic.h"
#include "core/gc/stop_tasks.h"
#include "core/os/clock.h"
#include "core/os/proc.h"

struct world_stats world_stats;

static struct {
	uint32_t number;       // of the stop under way or the last one; the collector's
	uint32_t foreign_task; // world_note_foreign_task()
	enum world_failure failure;
	uint64_t stopping_ns;
} world;

static bool stop_fails(enum world_failure failure)
{
	world.failure = failure;
	world_stats.failures[failure]++;
	return false;
}

static bool may_stop(void)
{
	if (load_relaxed(&world.foreign_task))
		return stop_fails(WORLD_FOREIGN_TASK);
	if (!proc_open())
		return stop_fails(WORLD_NO_PROC);
	if (!stop_tasks_reserve())
		return stop_fails(WORLD_NO_MEMORY);
	return true;
}

static bool gates_counted_to_the_end(bool counted)
{
	if (counted)
		stop_signal_read_back();
	return !counted || gates_count();
}

static bool stop_and_pause(uint64_t timeout_ns, bool may_count)
{
	uint32_t stopping = world_make_word(WORLD_STOPPING, world.number);
	bool counted = gates_count();

	if (!stop_tasks_all(timeout_ns, may_count) || !gates_counted_to_the_end(counted)) {
		if (load_seq(&world_word) != stopping)
			return stop_fails(WORLD_WAS_ABANDONED);
		stop_tasks_find_silent(&world_stats.last_silent_tid);
		return stop_fails(stop_tasks_failure());
	}
	if (!cas_seq(&world_word, stopping, world_make_word(WORLD_PAUSED, world.number)))
		return stop_fails(WORLD_WAS_ABANDONED);
	world.failure = WORLD_NOT_FAILED;
	world_stats.stops++;
	return true;
}

bool world_stop(uint64_t timeout_ns, bool may_count)
{
	struct signal_guard guard;
	bool is_stopped;

	signals_block(&guard);
	threads_reap_all();
	is_stopped = may_stop();
	if (is_stopped) {
		world.number = (world_number_of(world_word) + 1) & WORLD_NUMBER_MASK;
		stop_tasks_begin(world.number);
		store_relaxed(&world_watchers, 0u);
		world_beat();
		world.stopping_ns = clock_now_ns();
		store_seq(&world_word, world_make_word(WORLD_STOPPING, world.number));
		stop_signal_read_back();
		world_stats.foreign_handlers += !gates_count();
		is_stopped = world_prepare() ? stop_and_pause(timeout_ns, may_count)
					     : stop_fails(WORLD_NO_SIGNAL);
		if (!is_stopped)
			world_start();
	}
	signals_restore(&guard);
	return is_stopped;
}

bool world_commit(void)
{
	bool is_mine = cas_seq(&world_word, world_make_word(WORLD_PAUSED, world.number),
		world_make_word(WORLD_DONE, world.number));

	world_beat();
	if (!is_mine)
		stop_fails(WORLD_WAS_ABANDONED);
	return is_mine;
}

void world_start(void)
{
	store_seq(&world_word, world_make_word(WORLD_RUNS, world.number));
	world_wake_all();
}

bool world_stood_still(void)
{
	return stop_tasks_were_all() || stop_fails(WORLD_LOST_TASK);
}

uint64_t world_stopping_ns(void)
{
	return world.stopping_ns;
}

enum world_failure world_last_failure(void)
{
	return world.failure;
}

void world_note_foreign_task(void)
{
	store_relaxed(&world.foreign_task, 1);
}

bool world_has_foreign_task(void)
{
	return load_relaxed(&world.foreign_task) != 0;
}

void world_fork_child(void)
{
	store_seq(&world_word, world_make_word(WORLD_RUNS, world_number_of(world_word)));
	stop_answers.wanted = 0;
	world.foreign_task = 0;
}
