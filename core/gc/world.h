/*
 * Stopping the world without the program noticing.
 *
 * A thread that waits in a wrapped call has published its registers and counts as stopped by one compare-and-swap (BLOCKED -> HELD): no signal, no
 * EINTR. A running one gets one signal and parks in the handler. Whoever does not answer in time spoils this stop, never the program: all are let go
 * and there is no verdict. And whatever happens to the collector, no thread waits for ever: when world_heartbeat stands still for 200 ms a parked
 * thread abandons the stop and all go on; the collector learns of it at world_commit().
 *
 *	if (!world_stop(timeout_ns, may_count))
 *		return NO_VERDICT;              // everything runs again
 *	... mark, calling world_beat() at least every 20 ms; no libc, no lock a program thread may hold (they never hold one here) ...
 *	bool verdict = world_commit();          // false: abandoned, what was read may have changed
 *	world_start();
 *	verdict = verdict && world_stood_still();
 *
 * After world_commit() threads may be running again at any moment (abandonment); what must happen while they stand comes before it.
 * One collector thread; it is never stopped itself. The protocol is told in world.c.
 */
#pragma once

#include "core/gc/gate.h"
#include "core/gc/stop_handler.h"
#include "core/gc/stop_signal.h"
#include "core/gc/world_word.h"

#include <stdbool.h>
#include <stdint.h>

/* Why the last world_stop() failed (a cycle's no_verdict says it to the user). */
enum world_failure {
	WORLD_NOT_FAILED,
	WORLD_NO_SIGNAL, // no signal number is free, or the handler cannot be installed
	WORLD_NO_PROC,   // the list of tasks is not readable
	WORLD_NO_ANSWER, // a thread did not stop in time
	WORLD_NOT_SENT,  // the kernel refused the signal (RLIMIT_SIGPENDING)
	WORLD_NO_MEMORY,
	WORLD_MANY_TASKS, // so many have been made since room for them was reserved; the next stop has more room
	WORLD_LOST_TASK,    // one that stood still has ended
	WORLD_FOREIGN_TASK, // a process that shares our memory cannot be stopped
	WORLD_WAS_ABANDONED,
	WORLD_FAILURE_COUNT
};

/* Figures; written by the collector, read anywhere. */
struct world_stats {
	uint64_t stops; // world_stop() that returned true
	uint64_t failures[WORLD_FAILURE_COUNT];
	uint64_t abandoned;
	uint64_t signals;          // sent
	uint64_t counted;          // stops in which the number of tasks told that all stood still
	uint64_t held;             // threads stopped without a signal
	uint64_t ungated;          // blocking calls inside blocking calls (by raw handlers)
	uint64_t foreign_handlers; // stops in which gates did not count
	int32_t last_silent_tid;   // who did not answer
};
extern struct world_stats world_stats HIDDEN;

/*
 * True: every other task of the process stands still, HELD or PARKED. False: all run again. timeout_ns counts in the collector's own wake-ups. With may_count
 * that is so only if world_stood_still() confirms it when threads run again: nothing that cannot be undone may be done before.
 */
bool world_stop(uint64_t timeout_ns, bool may_count);

/* When the last world_stop() told the first thread to stand still (clock_now_ns()). */
uint64_t world_stopping_ns(void);

/* Declares that all that was read since world_stop() was read in standstill. False: the stop was abandoned meanwhile. */
bool world_commit(void);

/* Lets everybody go. */
void world_start(void);

/* After world_start(), before the next stop: it was everybody who stood still. False: what was read counts for nothing. */
bool world_stood_still(void);

enum world_failure world_last_failure(void);

/* A process that shares our memory without being a thread was made: no verdict as long as it may live. */
void world_note_foreign_task(void);
bool world_has_foreign_task(void);

/* In a fork child: nobody is stopped, no phase. The stop signal keeps its number: the child has the parent's dispositions. */
void world_fork_child(void);
