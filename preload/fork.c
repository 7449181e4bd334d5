/*
 * fork. The handlers are registered right after the first allocation, before any library's constructor can have registered its own: so ours run last before
 * the fork and first after it, and other handlers may allocate (those that come earlier all the same pass our locks, see lock_fork_begin).
 *
 * Before: the lock of libc's list of streams is taken (libc takes it after our handler, and who holds it in fflush(NULL) may call malloc in a stream's write
 * function), a collection under way is waited for (inside a gate, for it may want to stop this thread; not for ever), then every lock is taken in the order of
 * lock.def, so that the child finds nothing half done. After, in the child: only this thread is left, there is no collector and no stop, the other threads'
 * caches go back to the heap.
 *
 * A process with one thread that never had a collector takes no lock, and its child repairs only what belongs to the task: see is_alone().
 *
 * A child made by raw clone or _Fork notices on its first slow path that it is one (core/os/process.h) and repairs what it can: the locks are opened, other
 * threads' caches are abandoned.
 *
 * A vfork child runs on its parent's thread record: the gate and the tables of signals are left alone there. clone() with CLONE_VM that is neither a thread
 * nor a vfork makes a process that nobody can stop: no verdict from then on.
 */
#include "preload/fork.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/gate.h"
#include "core/gc/probation.h"
#include "core/gc/root_regions.h"
#include "core/gc/thread.h"
#include "core/gc/world.h"
#include "core/heap/central.h"
#include "core/heap/heap.h"
#include "core/heap/meta.h"
#include "core/heap/page_heap.h"
#include "core/heap/thread_cache.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/process.h"
#include "core/os/sandbox.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/stats_page.h"
#include "preload/collector.h"
#include "preload/deferred.h"
#include "preload/jump.h"
#include "preload/real.h"
#include "preload/signals.h"
#include "preload/start.h"
#include "scanners/kernel_held.h"

#define CYCLE_WAIT_NS (500 * NS_PER_MS)

/* Used by the thread that forks, between prepare and the end. Its own, so that the parent writes to no page but what is written to anyway. */
static __thread struct {
	struct signal_guard guard;
	bool is_alone;
	bool has_cycle_lock;
	bool has_list_lock;
} forking __attribute__((tls_model("initial-exec")));

/* Of libc. Which fork locks and, in the child, resets, is decided by whether the process has had threads. */
static struct {
	const char *is_single_threaded; // since 2.32
	uint32_t had_threads;           // in place of it; fork of libc before 2.28 always locks
} libc;

static struct lock *(*const locks[LOCK_RANK_COUNT])(void) = {
#define LOCK(name, function, guards) function,
#include "core/os/lock.def"
#undef LOCK
};

/* All locks but CYCLE, which is the first, in order or in reverse. */
static void take_locks(void)
{
	for (int rank = LOCK_RANK_CYCLE + 1; rank < LOCK_RANK_COUNT; rank++) {
		if (rank == LOCK_RANK_CENTRAL)
			central_lock_all();
		else
			lock_acquire(locks[rank]());
	}
}

static void release_locks(void)
{
	for (int rank = LOCK_RANK_COUNT - 1; rank > LOCK_RANK_CYCLE; rank--) {
		if (rank == LOCK_RANK_CENTRAL)
			central_unlock_all();
		else
			lock_release(locks[rank]());
	}
}

/* The collector may stop this thread while it waits. */
static bool wait_for_cycle(void)
{
	struct gate_frame frame = {.thread = 0};
	bool is_taken;

	add_seq(&cycle_forks_waiting, 1);
	stats_wake(); // it may rest
	gate_publish(&frame);
	gate_enter(&frame);
	is_taken = lock_acquire_timeout(cycle_lock(), CYCLE_WAIT_NS);
	gate_leave(&frame);
	sub_seq(&cycle_forks_waiting, 1);
	return is_taken;
}

__attribute__((constructor(102))) static void fork_constructor(void)
{
	// not by name, which would be a symbol too new; from the first object that has it, for the program's copy is the one in use
	libc.is_single_threaded = dlsym(RTLD_DEFAULT, "__libc_single_threaded");
}

void fork_note_thread(void)
{
	sandbox_note_clone();
	store_relaxed(&libc.had_threads, 1);
}

/* Only if libc locks too, for with one thread it leaves the lock alone. Signals open: the owner may be stopped. */
static bool lock_list_of_streams(void)
{
	bool has_threads = libc.is_single_threaded ? !load_relaxed(libc.is_single_threaded)
						   : load_relaxed(&libc.had_threads) != 0;

	if (has_threads)
		REAL(_IO_list_lock)();
	return has_threads;
}

/* There is nobody who could hold a lock, and never was a collector: nothing but what is this task's own has to be repaired in the child. */
static bool is_alone(void)
{
	return libc.is_single_threaded && load_relaxed(libc.is_single_threaded) &&
	       threads_count() <= 1 && !world_has_foreign_task() && !cycle_thread_exists() &&
	       cycle_last.number == 0;
}

static void before(void)
{
	bool has_list_lock = lock_list_of_streams();
	struct signal_guard guard;

	sandbox_note_clone();
	signals_block_really(&guard); // what would be deferred the child would have, too
	forking.guard = guard;        // not before: a handler may fork
	forking.has_list_lock = has_list_lock;
	forking.is_alone = is_alone();
	if (forking.is_alone)
		return;
	forking.has_cycle_lock = wait_for_cycle();
	take_locks();
	lock_fork_begin();
}

static void after_in_parent(void)
{
	struct signal_guard guard = forking.guard;
	bool has_list_lock = forking.has_list_lock;

	if (!forking.is_alone) {
		lock_fork_end();
		release_locks();
		if (forking.has_cycle_lock)
			lock_release(cycle_lock());
	}
	signals_restore(&guard);
	if (has_list_lock)
		REAL(_IO_list_unlock)();
}

static void open_locks(void)
{
	lock_fork_end();
	for (int rank = 0; rank < LOCK_RANK_COUNT; rank++) {
		if (rank == LOCK_RANK_CENTRAL)
			central_reset_locks();
		else
			lock_reset(locks[rank]());
	}
}

/* What belongs to the task: this is another one. */
static void become_task(bool is_clean)
{
	signals_fork_child();
	deferred_fork_child();
	threads_fork_child(is_clean);
	stats_after_fork_in_child();
	start_fork_child();
}

/* In the child, signals blocked. The heap first: thread caches are flushed into it. */
static void repair(bool is_clean, bool can_walk)
{
	open_locks();
	cycle_forks_waiting = 0;
	world_fork_child();
	if (can_walk)
		heap_fork_child();
	cycle_fork_child();
	collector_fork_child();
	probation_after_fork();
	become_task(is_clean);
}

/* Part of the heap is lost: what is there can be used, new memory can be had, nothing is taken back. */
static void live_without_collector(void)
{
	collector_forbid();
	options.free = FREE_IGNORE;
	alloc_apply_options();
}

static void on_unknown_child(void)
{
	struct signal_guard guard;
	bool can_walk;

	signals_block(&guard);
	can_walk = page_heap_repair();
	central_repair(can_walk);
	repair(false, can_walk);
	if (!can_walk)
		live_without_collector();
	signals_restore(&guard);
}

static void after_in_child(void)
{
	struct signal_guard guard = forking.guard;
	bool has_list_lock = forking.has_list_lock;

	process_note();
	if (!forking.is_alone)
		repair(true, true);
	else if (threads_count() <= 1)
		become_task(true);
	else // another fork handler made a second thread, which stayed behind
		on_unknown_child();
	signals_restore(&guard);
	// libc has done it, unless the process had one thread until another fork handler made the second
	if (has_list_lock)
		REAL(_IO_list_resetlock)();
}

void thread_first_hook(void)
{
	process_child_hook = on_unknown_child;
	process_note();
	pthread_atfork(before, after_in_parent, after_in_child);
}

/* ---- children that share the memory ---- */

/* The child runs on the parent's record; if there were none, its first malloc would leave one with its own id in the parent's place. */
static void note_vfork(void)
{
	sandbox_note_clone();
	signals_note_vfork();
	if (thread_current || (alloc_init() && thread_register()))
		store_relaxed(&thread_current->is_in_vfork, 1);
}

void *jump_vfork(void)
{
	note_vfork();
	return (void *)&REAL(vfork);
}

/* It may share this thread's thread-local data, too, and runs beside it. */
static void note_foreign_task(void)
{
	signals_defer_end();
	world_note_foreign_task();
}

void *jump_clone(int flags)
{
	if ((flags & CLONE_VM) != 0 && (flags & CLONE_VFORK) != 0)
		note_vfork();
	else if ((flags & CLONE_VM) != 0 && (flags & CLONE_THREAD) == 0)
		note_foreign_task();
	sandbox_note_clone();
	return (void *)&REAL(clone);
}
