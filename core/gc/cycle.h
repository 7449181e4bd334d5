/*
 * The collector: its thread, its phases, and what program threads may ask of it.
 */
#pragma once

#include "core/gc/leisure.h"
#include "core/heap/heap.h"
#include "core/os/lock.h"
#include "core/profile/stats_page.h"

#include <stdbool.h>
#include <stdint.h>

/* Threads that wait for CYCLE in order to fork; a new cycle lets them go first. */
extern uint32_t cycle_forks_waiting HIDDEN;

enum { NO_VERDICT_CYCLES_MAX = 3 }; // in a row, before hints are trusted

/* Why the collector is wanted. */
enum cycle_reason {
	CYCLE_FOR_HINTS,   // hinted bytes have reached their goal, and memory is asked for
	CYCLE_FOR_FREED,   // they have; who knows whether what was freed will ever be needed
	CYCLE_FOR_GROWTH,  // the heap did
	CYCLE_FOR_COMMAND, // `gasket set` wrote a request
	CYCLE_FOR_PURGE,   // free pages may go back to the kernel
	CYCLE_FOR_CALLER,  // a program thread asked and waits
	CYCLE_FOR_TIME,    // interval_ms, or blocks on probation mature
	CYCLE_REASON_COUNT
};

/* What one cycle found. Written by the thread that ran it (lock CYCLE); read after it under the same lock. */
struct cycle_result {
	bool has_verdict;
	bool is_awaited; // stopped the world while its only thread waited for the cycle
	bool is_quick; // only hinted blocks were judged; what it says of leaks is the last cycle's
	uint32_t no_verdict;      // enum stats_no_verdict
	const char *root_failure; // no verdict for the sake of roots: why, or NULL
	const char *root_scanner; // whose
	uintptr_t root_address;   // which
	enum stats_tier tier;
	bool leaks_judged;                   // false: pointers may be in flight, or leaks=off
	uint64_t number;                     // cycles begun so far
	uint64_t stop_ns, roots_ns, mark_ns; // of the last pause
	uint64_t pause_ns;                   // the longest one
	uint64_t pauses_ns;                  // all of them
	uint64_t pause_cpu_ns;               // the collector's in the longest one, by that
	uint64_t beside_ns;                  // marking while the program ran
	uint32_t rounds;                     // of reading again what it wrote
	uint32_t pauses;                     // concurrent tier
	uint64_t written_bytes;              // what of that was left to the last pause
	uint64_t tracked_root_bytes;         // roots read beside the program
	uint64_t verdict_ns, sweep_ns, cpu_ns;
	uint64_t heap_bytes_before, heap_bytes_after; // in spans
	uint64_t live_blocks, live_bytes;
	uint64_t hinted_bytes; // at the start
	uint64_t dangling_blocks, dangling_bytes;
	uint64_t leaked_blocks, leaked_bytes;
	uint64_t reused_bytes; // hinted bytes made free by this cycle
	uint32_t threads;
};

extern struct cycle_result cycle_last;

/* The lock of rank CYCLE: held while a cycle runs. */
struct lock *cycle_lock(void);

/*
 * Wakes the collector thread, or has it started (hook) if there is none. Any thread, no lock held, signals open; cheap when it was asked for already.
 */
void cycle_request(enum cycle_reason reason);

/*
 * The calling thread allocates while hinted bytes are at the hard limit: waits for the end of one cycle; when no cycle can run or the last three
 * gave no verdict, makes the oldest hints free unproved. Returns in the time of one cycle at most.
 */
void cycle_throttle(void);

/* free is trusted from now on: every hinted slot becomes free unproved. Not while the caller holds CYCLE. */
void cycle_trust_all(void);

/* Runs a full cycle now, in the collector thread, and waits for its end. True: it gave a verdict. */
bool cycle_collect(void);

/* Set by preload/: starts the collector thread (all signals blocked in it), which calls cycle_thread_main(). False: not now (retried later). Called with
 * no lock held. NULL in static test programs, where cycle_collect() runs the cycle in the calling thread. */
extern bool (*cycle_start_hook)(void);

/* Set by preload/ before main: the thread is to be there as soon as may be, also while there is nothing to collect. */
extern bool cycle_is_wanted_early;

/* Set by core/alloc: obeys free=trust and collector=off, which change the allocator (collector thread, no lock). */
extern enum stats_reply (*cycle_obey_hook)(enum stats_request request);

/* Body of the collector thread. Returns when cycle_stop_thread() asked for it. */
void cycle_thread_main(void);

/* Ends the collector thread, even one that has not begun, and waits for it (it is started again when wanted). False: still there, but it will end. */
bool cycle_stop_thread(uint64_t timeout_ns);

/* From before its making to its end, which comes soon after cycle_stop_thread(). */
bool cycle_thread_exists(void);

/* It is to be there early, and is not: none was made yet, or it was ended for a call that wants a process of one thread. */
static inline bool cycle_is_missed(void)
{
	return cycle_is_wanted_early && !cycle_thread_exists();
}

/* The process is ending: no further cycle begins. Waits for the one that runs (bounded). */
void cycle_shut_down(void);

/*
 * For the cycle that marks beside the program, asked again and again: rests as cycle_rest() does; false when the process is ending or the collector thread is to end. Lets forks that wait
 * for the lock CYCLE, which the caller holds, go first.
 */
bool cycle_may_go_on(void);

/* Threads stand still. The collector's. */
extern bool cycle_is_paused;

/* What leisure the cycle under way has left. The holder of the lock CYCLE asks. */
enum leisure cycle_leisure(void);

/* Rests as long as the cycle has to after what it worked, or until somebody waits for it. The collector's thread; in a pause nothing
 * happens. */
void cycle_rest(void);

/* In a fork child: there is no collector, and no cycle was under way. */
void cycle_fork_child(void);

/* The collector thread's id, 0: none. */
int cycle_thread_id(void);
