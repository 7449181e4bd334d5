/*
 * Locks of the core. A lock is only ever held with all signals of the holder blocked: a thread that was stopped for a collection, or that
 * runs a signal handler of the program, therefore never holds one, and a siglongjmp can not leave one locked. The order is lock.def.
 *
 * Blocked means by the kernel, or, once signals_defer_begin() was called, deferred: the kernel is not told, and a handler that finds its thread's depth above
 * zero does nothing but note the signal and return to a mask with everything blocked (signals_hold). So at most a few are noted in a section, mostly none
 * or one, and all others wait in the kernel. The end of the outermost section sends the noted ones to the thread again, and only then puts the mask back:
 * the kernel delivers them as if they had waited there all the time.
 *
 *	struct signal_guard guard;
 *	signals_block(&guard);
 *	lock_acquire(&central->lock);
 *	...
 *	lock_release(&central->lock);
 *	signals_restore(&guard);
 */
#pragma once

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/check.h"

#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
#define LOCK(name, function, guards) LOCK_RANK_##name,
#include "core/os/lock.def"
#undef LOCK
	LOCK_RANK_COUNT
};

/* A futex mutex. Zero bytes (and the right rank) are an open lock. */
struct lock {
	uint32_t word;  // 0 open, 1 held, 2 held and somebody waits; changed by atomics only
	uint32_t rank;  // enum lock_rank, constant
	int32_t holder; // thread id of the holder, checking builds only
};

#define LOCK_INITIAL(rank_name) \
	{ \
		.rank = LOCK_RANK_##rank_name \
	}

/* How signals were blocked, which is how they are opened again: deferring may begin or end meanwhile. */
struct signal_guard {
	uint64_t mask;    // the kernel's, if they were blocked by it
	bool is_deferred; // else
};

/*
 * Blocks every signal of the calling thread (but none of the kernel's unblockable ones), or defers them. A handler that is not behind the program's
 * trampoline (preload/signals.c) may run in spite of deferring. Nests. errno is left alone.
 */
void signals_block(struct signal_guard *guard);

/* As signals_block(), but always by the kernel: for whatever the mask passes to, a fork child or a new thread. */
void signals_block_really(struct signal_guard *guard);

/* Puts back what signals_block() found. */
void signals_restore(const struct signal_guard *guard);

/* ---- deferring ---- */

/* Of a thread; it and the handlers that interrupt it are the only ones who look. */
struct signal_deferral {
	uint32_t depth;  // sections that defer, one within the other
	uint32_t is_due; // a handler was held off: the kernel's mask blocks all
	int32_t vfork_parent; // this thread has called vfork, by its id: who has another is the child; 0: none known
	int32_t stop_number; // the stop signal was held off, 0: not
	uint64_t mask;       // what the kernel's mask was then
};
extern __thread struct signal_deferral signal_deferral HIDDEN
	__attribute__((tls_model("initial-exec")));

/* From now on signals are deferred, unless that has ended already. Every handler of the program must be behind the trampoline. */
void signals_defer_begin(void);

/* From now on signals are blocked, for ever. Sections under way stay what they are. */
void signals_defer_end(void);

/* For handlers: the interrupted code is in a section, whatever it is to be spared must be held off. */
static inline bool signals_are_deferred(void)
{
	return UNLIKELY(load_relaxed(&signal_deferral.depth) != 0);
}

/* For handlers, in a section: all is blocked from now on, and after the return from the handler by way of *mask, the word in its context. */
void signals_hold(uint64_t *mask);

/* The stop signal, in a section: it comes again at the end. */
void signals_hold_stop(int number, uint64_t *mask);

/*
 * The end of a section in which a handler was held off, all signals blocked by the kernel: sends the thread what was noted. `mask` is put back after. Set by
 * preload/.
 */
extern void (*signals_due_hook)(uint64_t mask) HIDDEN;

/* The calling thread is about to vfork: the child runs on its thread-local data, and has handlers of its own. */
void signals_note_vfork(void);

/* In a fork child. */
void signals_fork_child(void);

/* Signals are blocked by the caller; the lock is not held by the caller. Waits on a futex. */
void lock_acquire(struct lock *lock);

/* As lock_acquire(), but gives up at once (or after timeout_ns). True when the lock was taken. */
bool lock_try(struct lock *lock);
bool lock_acquire_timeout(struct lock *lock, uint64_t timeout_ns);

void lock_release(struct lock *lock);

/* True when somebody waits for it: long work under a lock looks now and then, and puts itself off. A hint. */
bool lock_is_contended(const struct lock *lock);

/*
 * Fork: the calling thread holds all locks while libc forks, and handlers that others registered may allocate meanwhile in this thread. Between these two
 * calls it passes every lock as its holder. lock_fork_end() comes in the parent and in the child, before any lock is released or reset.
 */
void lock_fork_begin(void);
void lock_fork_end(void);

/* After fork, in the child, where the holder may not exist any more: the lock is open. */
void lock_reset(struct lock *lock);

/* Somebody holds it. In a child that ran no fork handlers: what it guards may be half changed. */
bool lock_is_held(const struct lock *lock);

/* Checking builds: ends the process unless the caller holds the lock. */
void lock_assert_held(const struct lock *lock);
