/*
 * Stopping the world without the program noticing.
 *
 * A thread that waits in a wrapped call has published its registers and counts as stopped by one compare-and-swap (BLOCKED -> HELD): no signal, no
 * EINTR. A running one gets one signal and parks in the handler. Whoever does not answer in time spoils this stop, never the program: all are let go
 * and there is no verdict. And whatever happens to the collector, no thread waits for ever: when world_heartbeat stands still for 200 ms a parked
 * thread abandons the stop and all go on; the collector learns of it at world_commit().
 *
 *	if (!world_stop(timeout_ns))
 *		return NO_VERDICT;              // everything runs again
 *	... mark, calling world_beat() at least every 20 ms; no libc, no lock a program thread may hold (they never hold one here) ...
 *	bool verdict = world_commit();          // false: abandoned, what was read may have changed
 *	world_start();
 *
 * After world_commit() threads may be running again at any moment (abandonment); what must happen while they stand comes before it.
 * One collector thread; it is never stopped itself. The protocol is told in world.c.
 */
#pragma once

#include "core/gc/thread.h"

#include <stdbool.h>
#include <stdint.h>

enum world_phase { WORLD_RUNS, WORLD_STOPPING, WORLD_PAUSED, WORLD_DONE, WORLD_ABANDONED };

/* How often a waiting thread looks at the heartbeat, and how many looks without a beat end the stop: 4 x 50 ms. */
enum { WORLD_LOOK_MS = 50, WORLD_LOOKS_MAX = 4 };

/* Why the last world_stop() failed (a cycle's no_verdict says it to the user). */
enum world_failure {
	WORLD_NOT_FAILED,
	WORLD_NO_SIGNAL, // no signal number is free, or the handler cannot be installed
	WORLD_NO_PROC,   // the list of tasks is not readable
	WORLD_NO_ANSWER, // a thread did not stop in time
	WORLD_NOT_SENT,  // the kernel refused the signal (RLIMIT_SIGPENDING)
	WORLD_NO_MEMORY,
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
	uint64_t held;             // threads stopped without a signal
	uint64_t ungated;          // blocking calls inside blocking calls (by raw handlers)
	uint64_t foreign_handlers; // stops in which gates did not count
	int32_t last_silent_tid;   // who did not answer
};
extern struct world_stats world_stats HIDDEN;

/*
 * Chooses the stop signal and installs its handler. By the collector thread before its first stop; may be called again (a no-op). False: no verdicts
 * for now. Nothing is changed in processes that never collect.
 */
bool world_prepare(void);

/* True: every other task of the process stands still, HELD or PARKED. False: all run again. timeout_ns counts in the collector's own wake-ups. */
bool world_stop(uint64_t timeout_ns);

/* Declares that all that was read since world_stop() was read in standstill. False: the stop was abandoned meanwhile. */
bool world_commit(void);

/*
 * True: the pause under way was abandoned, threads run, what is read now may vanish: stop reading, there will be no verdict. Collector thread; asked wherever
 * the heart beats.
 */
bool world_is_abandoned(void);

/*
 * A thread of the program is about to take memory away that the collector reads by plain loads (a block's pages, its own stack). Returns at once unless a pause
 * was abandoned and the collector has not noticed yet; then when it has, or after 2 s. Any thread, no lock held.
 */
void world_wait_out_abandonment(void);

/* Lets everybody go. */
void world_start(void);

/* "The collector lives." Called often in a pause; also by world_stop() itself. */
extern uint64_t world_heartbeat HIDDEN;
static inline void world_beat(void)
{
	__atomic_store_n(&world_heartbeat, world_heartbeat + 1, __ATOMIC_RELAXED);
}

enum world_failure world_last_failure(void);

/* ---- gates (preload/blocking.c) ---- */

/*
 * Publishes the frame and lets the collector count this thread as stopped until gate_leave(). The caller has filled registers, arguments and
 * stack_pointer. If a stop is under way, waits it out first. Never fails: without a record, or inside another gated call that a raw handler
 * interrupted, the call simply runs ungated (frame->thread is NULL).
 */
void gate_enter(struct gate_frame *frame);
void gate_leave(struct gate_frame *frame);

/* Fills registers and stack_pointer of a gate_frame in the function where it stands. A macro, for they must be this function's. */
#if defined(__x86_64__)
#define gate_publish(frame) \
	__asm__ volatile("mov %%rbx, 0(%0)\n\tmov %%rbp, 8(%0)\n\tmov %%r12, 16(%0)\n\t" \
			 "mov %%r13, 24(%0)\n\tmov %%r14, 32(%0)\n\tmov %%r15, 40(%0)\n\t" \
			 "mov %%rsp, %c1(%0)" \
			 : \
			 : "r"(frame), "i"(offsetof(struct gate_frame, stack_pointer)) \
			 : "memory")
#elif defined(__aarch64__)
/* x19-x28 and x29 are saved by the prologue of a function that clobbers them, above its stack pointer. */
#define gate_publish(frame) \
	__asm__ volatile("mov x9, sp\n\tstr x9, [%0, %1]" \
			 : \
			 : "r"(frame), "i"(offsetof(struct gate_frame, stack_pointer)) \
			 : "memory", "x9", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", \
			 "x27", "x28")
#endif

/* A handler of the program interrupts this thread: true if it was inside a gated call, which is left (waiting out a pause) until gate_resume(). */
bool gate_suspend(struct gate_frame **ret_frame);
void gate_resume(struct gate_frame *frame);

/*
 * This thread is about to replace the program by exec: no signal of ours may be pending. Between gate_enter() and gate_leave() of that call.
 * Returns when none is.
 */
void gate_forbid_signals(void);

/* ---- signals (preload/signals.c) ---- */

/* The stop signal, 0: none chosen (yet). */
int world_signal(void);

/*
 * The program wants this number for itself: choose another. True: the number is the program's now, its disposition is the default. False: it stays
 * ours (no other is free) and whatever is not from us is passed on by world_hooks.foreign_signal.
 */
bool world_yield_signal(int number);

/* The same from a signal handler, without waiting: what was sent with this number may still arrive, so our handler stays there. False: it is used on. */
bool world_move_signal(int number);

/* Is this handler, found in the kernel's table, the one that stops threads? */
bool world_is_stop_handler(uintptr_t handler);

/* True when the program handles or claims a number although the kernel shows the default; preload/signals.c knows. May be NULL. */
struct world_hooks {
	bool (*signal_is_claimed)(int number);
	/* Our number arrived and it was not us who sent it. siginfo_t *, ucontext_t *. True: the program is not to learn of it, but by asking. */
	bool (*foreign_signal)(int number, void *info, void *context);
	/* The handler addresses that are ours (the trampoline): any other in the kernel's table means gates do not count. */
	bool (*handler_is_known)(uintptr_t handler);
	/* What the kernel needs on a stack for a signal (AT_MINSIGSTKSZ), 0: not known. */
	size_t signal_frame_bytes;
};
extern struct world_hooks world_hooks HIDDEN;

/* A process that shares our memory without being a thread was made: no verdict as long as it may live. */
void world_note_foreign_task(void);

/* In a fork child: nobody is stopped, no phase, no handler known to be installed. */
void world_fork_child(void);
