/*
 * Futex mutex (the three-state one of U. Drepper, "Futexes Are Tricky", mutex2) and the signal mask around it. A wait that a signal interrupts is only made
 * again: the handler was held off.
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

/* ---- signals ---- */

enum deferring { DEFERRING_NOT_YET, DEFERRING, DEFERRING_NEVER_MORE };

/* enum deferring. Any thread; a section that sees an old value stays what it is. */
static uint32_t deferring;
void (*signals_due_hook)(uint64_t mask);
__thread struct signal_deferral signal_deferral
	__attribute__((tls_model("initial-exec"))) = {.mask = UINT64_MAX};

void signals_defer_begin(void)
{
	cas_seq(&deferring, (uint32_t)DEFERRING_NOT_YET, (uint32_t)DEFERRING);
}

void signals_defer_end(void)
{
	store_seq(&deferring, (uint32_t)DEFERRING_NEVER_MORE);
}

static void set_mask(uint64_t mask)
{
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof(mask));
}

/* A child may die of a signal in the middle of a section, and its parent lives on with what it left. */
static bool is_vfork_child(void)
{
	struct signal_deferral *own = &signal_deferral;

	if (LIKELY(own->vfork_parent == 0))
		return false;
	if ((int32_t)SYSCALL(gettid) != own->vfork_parent)
		return true;
	own->vfork_parent = 0; // the parent runs, so the child has gone
	return false;
}

void signals_block_really(struct signal_guard *guard)
{
	guard->is_deferred = false;
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all_signals, &guard->mask, sizeof(guard->mask));
}

/* The depth is up before anything in the section happens. A handler in between is not held off and leaves the depth as it was. */
void signals_block(struct signal_guard *guard)
{
	if (load_relaxed(&deferring) != DEFERRING || is_vfork_child()) {
		signals_block_really(guard);
		return;
	}
	guard->is_deferred = true;
	store_relaxed(&signal_deferral.depth, signal_deferral.depth + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* At depth 0, all signals blocked. Nothing is left to be done here once the mask is back: a handler may jump away. */
static NOINLINE void come_due(void)
{
	struct signal_deferral *own = &signal_deferral;
	uint64_t mask = own->mask;
	int32_t stop_number = own->stop_number;

	own->is_due = 0;
	own->stop_number = 0;
	own->mask = UINT64_MAX;
	if (stop_number != 0) {
		long process = SYSCALL(getpid), thread = SYSCALL(gettid);

		SYSCALL(tgkill, process, thread, stop_number);
	}
	if (signals_due_hook)
		signals_due_hook(mask);
	set_mask(mask);
}

/* The depth is down before the look: a handler is either held off and seen here, or runs. */
void signals_restore(const struct signal_guard *guard)
{
	struct signal_deferral *own = &signal_deferral;

	if (!guard->is_deferred) {
		set_mask(guard->mask);
		return;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	store_relaxed(&own->depth, own->depth - 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (UNLIKELY(load_relaxed(&own->is_due) != 0) && own->depth == 0)
		come_due();
}

/*
 * Until the kernel blocks all, another signal may interrupt this very handler and be held off first. Its mask is this one and more, so what is common to all is
 * that of the section.
 */
void signals_hold(uint64_t *mask)
{
	set_mask(all_signals);
	signal_deferral.mask &= *mask;
	signal_deferral.is_due = 1;
	*mask = all_signals;
}

void signals_hold_stop(int number, uint64_t *mask)
{
	signals_hold(mask);
	signal_deferral.stop_number = number;
}

void signals_note_vfork(void)
{
	signal_deferral.vfork_parent = (int32_t)SYSCALL(gettid);
}

void signals_fork_child(void)
{
	signal_deferral.vfork_parent = 0;
}

/* ---- locks ---- */

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
