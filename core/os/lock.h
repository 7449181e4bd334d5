/*
 * Locks of the core. A lock is only ever held with all signals of the holder blocked: a thread that was stopped for a collection, or that
 * runs a signal handler of the program, therefore never holds one, and a siglongjmp can not leave one locked. The order is lock.def.
 *
 *	struct signal_guard guard;
 *	signals_block(&guard);
 *	lock_acquire(&central->lock);
 *	...
 *	lock_release(&central->lock);
 *	signals_restore(&guard);
 */
#pragma once

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

/* The kernel's signal mask of the calling thread while signals were blocked. */
struct signal_guard {
	uint64_t mask;
};

/* Blocks every signal of the calling thread (but none of the kernel's unblockable ones). Nests. errno is left alone. */
void signals_block(struct signal_guard *guard);

/* Puts back the mask that signals_block() saved. */
void signals_restore(const struct signal_guard *guard);

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
