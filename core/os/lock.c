/*
 * Futex mutex (the three-state one of U. Drepper, "Futexes Are Tricky", mutex2) and the signal mask around it.
 */
#include "core/os/lock.h"

#include "core/base/atomic.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/process.h"
#include "core/os/syscall.h"

#include <signal.h>

enum { OPEN, HELD, CONTENDED, SPIN_COUNT = 64 };

static const uint64_t all_signals = UINT64_MAX;

/* The thread that holds all locks for a fork, by the address of its `self`; 0: none. The address is the same in the child. */
static uintptr_t fork_owner;
static __thread char self __attribute__((tls_model("initial-exec")));

static bool is_fork_owner(void)
{
	return UNLIKELY(load_relaxed(&fork_owner) != 0) &&
	       load_relaxed(&fork_owner) == (uintptr_t)&self;
}

void lock_fork_begin(void)
{
	store_seq(&fork_owner, (uintptr_t)&self);
}

void lock_fork_end(void)
{
	store_seq(&fork_owner, (uintptr_t)0);
}

void signals_block(struct signal_guard *guard)
{
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all_signals, &guard->mask, sizeof(guard->mask));
}

void signals_restore(const struct signal_guard *guard)
{
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &guard->mask, 0, sizeof(guard->mask));
}

/* Checking builds: how many locks of each rank the calling thread holds. */
static __thread uint8_t held_counts[LOCK_RANK_COUNT] __attribute__((tls_model("initial-exec")));

static void note_holder(struct lock *lock)
{
	if (!CHECKS)
		return;
	lock->holder = (int32_t)SYSCALL(gettid);
	held_counts[lock->rank]++;
}

/* Before waiting: nothing later is held, nor the same rank but for the classes' locks. (A try does not wait, so it may come out of order.) */
static void check_rank(const struct lock *lock)
{
	for (uint32_t rank = lock->rank; CHECKS && rank < LOCK_RANK_COUNT; rank++) {
		if (held_counts[rank] > 0 && !(rank == lock->rank && rank == LOCK_RANK_CENTRAL))
			fatal("check failed: a lock was taken out of order");
	}
}

bool lock_try(struct lock *lock)
{
	if (is_fork_owner())
		return true;
	if (!cas_seq(&lock->word, OPEN, HELD))
		return false;
	note_holder(lock);
	return true;
}

bool lock_acquire_timeout(struct lock *lock, uint64_t timeout_ns)
{
	uint64_t deadline = 0;

	if (is_fork_owner())
		return true;
	check_rank(lock);
	for (int i = 0; i < SPIN_COUNT; i++) {
		if (load_relaxed(&lock->word) == OPEN && lock_try(lock))
			return true;
		cpu_relax();
	}
	process_check(); // the holder may have stayed behind in the parent
	while (exchange_seq(&lock->word, CONTENDED) != OPEN) {
		if (timeout_ns != FUTEX_NO_TIMEOUT) {
			uint64_t now = clock_now_ns();

			deadline = deadline ? deadline : now + timeout_ns;
			if (now >= deadline)
				return false;
			futex_wait(&lock->word, CONTENDED, deadline - now);
		} else {
			futex_wait(&lock->word, CONTENDED, FUTEX_NO_TIMEOUT);
		}
	}
	note_holder(lock);
	return true;
}

void lock_acquire(struct lock *lock)
{
	lock_acquire_timeout(lock, FUTEX_NO_TIMEOUT);
}

void lock_release(struct lock *lock)
{
	if (is_fork_owner())
		return;
	if (CHECKS) {
		lock->holder = 0;
		held_counts[lock->rank]--;
	}
	if (exchange_seq(&lock->word, OPEN) == CONTENDED)
		futex_wake(&lock->word, 1);
}

bool lock_is_contended(const struct lock *lock)
{
	return load_relaxed(&lock->word) == CONTENDED;
}

void lock_reset(struct lock *lock)
{
	lock->word = OPEN;
	lock->holder = 0;
	held_counts[lock->rank] = 0;
}

bool lock_is_held(const struct lock *lock)
{
	return load_relaxed(&lock->word) != OPEN;
}

void lock_assert_held(const struct lock *lock)
{
	if (is_fork_owner())
		return;
	check(load_relaxed(&lock->word) != OPEN);
	if (CHECKS && lock->holder != (int32_t)SYSCALL(gettid))
		fatal("check failed: lock not held by the caller");
}
