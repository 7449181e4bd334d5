/*
 * Threads of the program: birth and death.
 *
 * The end of a thread is seen twice. Its last key destructor calls thread_detach(): the cache goes back, the record is DYING; libc goes on to free
 * things for a while, served without a cache. When the kernel does not know the task any more, the record is reaped, by the next creation of a thread
 * or by the collector. A thread without destructor (no key was left, or it ended by a raw exit) is found the same way, later.
 *
 * Beside it: thread_records.c (where records lie and are found), dead_stacks.c (what a thread leaves behind), cache_loan.c (handlers of the program).
 *
 * Lock: THREADS, open whenever a hook is called or a cache destroyed.
 */
#include "core/gc/thread.h"

#include "core/base/atomic.h"
#include "core/gc/dead_stacks.h"
#include "core/gc/thread_records.h"
#include "core/heap/thread_cache.h"
#include "core/os/process.h"
#include "core/os/syscall.h"
#include "core/profile/unwind.h"

#include <errno.h>

enum {
	REAP_PER_BIRTH = 4,
	FULL_REAP_BIRTHS =
		256, // births between two looks at all records, when some thread has no destructor
};

__thread struct thread *thread_current __attribute__((tls_model("initial-exec")));
struct thread_hooks thread_hooks;

/* Atomic. */
static struct {
	uint32_t is_begun;       // thread_first_hook() was called
	uint32_t unhooked_count; // threads that will not call thread_detach()
	uint32_t births;
} threads;

/* ---- death ---- */

static uint32_t died_at_gate; // wraps around; written under THREADS

uint32_t threads_died_at_gate(void)
{
	return load_seq(&died_at_gate);
}

/*
 * The task of a record that is not STARTING is gone. A live thread that were buried would lose its cache to another: so the answer must be the same twice, and not
 * be given of the caller as well (a filter of system calls may answer for the kernel).
 */
static bool task_is_gone(int tid)
{
	long process = SYSCALL(getpid), self = SYSCALL(gettid);

	return SYSCALL(tgkill, process, tid, 0) == -ESRCH &&
	       !syscall_failed(SYSCALL(tgkill, process, self, 0)) &&
	       SYSCALL(tgkill, process, tid, 0) == -ESRCH;
}

/* Nobody will ask for its result, and its stack is the next thread's. */
static void forget_dead_locked(struct thread *thread)
{
	dead_stacks_add_locked(thread);
	thread_record_free_locked(thread);
}

/* The task is gone, the record in no list. Returns the cache to destroy, if any, once the lock is open. */
static struct thread_cache *bury_locked(struct thread *thread)
{
	struct thread_cache *cache = thread->cache;

	thread->cache = 0;
	thread_record_set_tid_locked(thread, 0);
	store_seq(&thread->owes, 0); // a signal that was not handled died with the task
	if ((load_seq(&thread->gate) & GATE_STATE_MASK) != GATE_RUNNING)
		add_seq(&died_at_gate, 1u);
	store_seq(&thread->gate, GATE_RUNNING);
	store_release(&thread->life, THREAD_DEAD);
	if (!thread->is_finished || thread->is_detached)
		forget_dead_locked(thread);
	return cache;
}

static void reap_dying(unsigned count)
{
	struct signal_guard guard;
	struct thread_cache *cache;

	while (count-- > 0) {
		struct thread *thread;

		thread_records_lock(&guard);
		thread = thread_dying_pop_locked();
		cache = 0;
		if (thread && (thread->tid == 0 || task_is_gone(thread->tid)))
			cache = bury_locked(thread);
		else if (thread)
			thread_dying_push_locked(thread);
		thread_records_unlock(&guard);
		if (cache)
			thread_cache_destroy(cache);
		if (!thread)
			return;
	}
}

/* Looks for LIVE records whose task ended without a word. */
static void reap_silent(void)
{
	for (struct thread *thread = thread_records_first(); thread; thread = thread->next) {
		struct thread_cache *cache = 0;
		struct signal_guard guard;

		if (load_relaxed(&thread->life) != THREAD_LIVE ||
			!task_is_gone(load_relaxed(&thread->tid)))
			continue;
		thread_records_lock(&guard);
		if (thread->life == THREAD_LIVE && thread->tid != 0 && task_is_gone(thread->tid))
			cache = bury_locked(thread);
		thread_records_unlock(&guard);
		if (cache)
			thread_cache_destroy(cache);
	}
}

void threads_reap(unsigned count)
{
	if (threads_are_dying())
		reap_dying(count);
	if (load_relaxed(&threads.unhooked_count) > 0 &&
		add_relaxed(&threads.births, 1) % FULL_REAP_BIRTHS == 0)
		reap_silent();
}

void threads_reap_all(void)
{
	reap_dying(threads_count());
	reap_silent();
}

static void clear_if_running(struct thread *thread, void *argument)
{
	if (thread_gate_state(thread) == GATE_RUNNING)
		*(bool *)argument = false;
}

bool threads_all_wait(void)
{
	bool all_wait = true;

	threads_for_each(clear_if_running, &all_wait);
	return all_wait;
}

/* ---- birth ---- */

struct thread *thread_announce(void *(*start_routine)(void *), void *argument, bool detached)
{
	struct signal_guard guard;
	struct thread *thread;

	process_check();
	threads_reap(REAP_PER_BIRTH);
	thread_records_lock(&guard);
	thread = thread_record_new_locked(THREAD_STARTING);
	if (thread) {
		thread->start_routine = start_routine;
		thread->start_argument = argument;
		thread->is_detached = detached;
		thread->virtual_mask =
			thread_current && thread_current->virtual_mask; // masks are inherited
	}
	thread_records_unlock(&guard);
	return thread;
}

void thread_withdraw(struct thread *announced)
{
	struct signal_guard guard;

	thread_records_lock(&guard);
	thread_record_free_locked(announced);
	thread_records_unlock(&guard);
}

/* Nobody can ask for the result of a thread whose handle another one has. */
static void forget_handle_locked(struct thread *thread)
{
	thread_record_set_handle_locked(thread, 0);
	store_release(&thread->result, 0);
	thread->is_detached = true;
	if (thread->life == THREAD_DEAD)
		forget_dead_locked(thread);
}

/*
 * Records of threads that must be gone, since the calling thread has their id or their handle, lose both. One may be LIVE: its thread ended by a raw exit, and
 * what it owes nobody would ever pay. Such a one is buried; returns its cache, which is to be destroyed once the lock is open, before this is called again.
 */
static struct thread_cache *forget_predecessors_locked(int tid, uintptr_t handle)
{
	struct thread *self = thread_current;

	if (!thread_records_may_share_locked(self, tid, handle))
		return 0;
	for (struct thread *thread = thread_records_first(); thread; thread = thread->next) {
		struct thread_cache *cache = 0;

		if (thread == self)
			continue;
		if (handle != 0 && thread->handle == handle)
			forget_handle_locked(thread);
		if (thread->tid != tid ||
			thread->is_foreign) // a foreign one is the collector's for this very thread
			continue;
		if (thread->life == THREAD_LIVE)
			cache = bury_locked(thread);
		else
			thread_record_set_tid_locked(thread, 0);
		if (cache)
			return cache;
	}
	return 0;
}

/* Under the lock, which is open for moments. */
static void forget_predecessors(int tid, uintptr_t handle)
{
	struct thread_cache *cache;

	while ((cache = forget_predecessors_locked(tid, handle)) != 0) {
		lock_release(threads_lock());
		thread_cache_destroy(cache);
		lock_acquire(threads_lock());
	}
}

/* Makes `thread` the calling thread's. */
static void take_record_locked(struct thread *thread, int tid)
{
	thread_record_set_foreign_locked(thread, false);
	thread->is_main = tid == (int)SYSCALL(getpid);
	thread_record_set_tid_locked(thread, tid);
	store_release(&thread->life, THREAD_LIVE);
	thread_current = thread;
}

/* Moves what the creator wrote into the record that the thread already has: the collector found it first (and may have signalled it), or a handler of the
 * program ran in it first and allocated. */
static void merge_locked(struct thread *announced, struct thread *thread)
{
	thread->start_routine = announced->start_routine;
	store_release(&thread->start_argument, announced->start_argument);
	thread->is_detached = announced->is_detached;
	thread->virtual_mask |= announced->virtual_mask;
	if (!thread->is_hooked || announced->is_own_stack) {
		thread->stack_low = announced->stack_low;
		thread->stack_high = announced->stack_high;
		thread->is_own_stack = announced->is_own_stack;
	}
	thread_record_free_locked(announced);
}

/* The hooks call libc, so no lock is held and signals are open; what they allocate finds the record (and the cache, if it came by a malloc). */
static void call_hooks(struct thread *thread)
{
	struct signal_guard guard;

	if (thread->is_hooked || !thread_hooks.attached)
		return;
	thread->is_hooked = true;
	if (thread_hooks.stack_bounds && thread_hooks.stack_bounds(thread)) {
		thread_records_lock(&guard);
		dead_stacks_remove_locked(thread->stack_low, thread->stack_high);
		thread_records_unlock(&guard);
		unwind_set_stack(thread->stack_low, thread->stack_high);
	}
	thread->will_detach = thread_hooks.attached(thread);
	if (!thread->will_detach)
		add_relaxed(&threads.unhooked_count, 1);
}

/* Between thread_detach(), which is waited after, and its end a thread is DYING. The main thread's stack stays when it ends. */
bool thread_keeps_stack(const struct thread *thread)
{
	return load_relaxed(&thread->life) == THREAD_LIVE &&
	       (thread->is_main || (thread->will_detach && !thread->is_own_stack));
}

struct thread *thread_begin(struct thread *announced, uintptr_t handle)
{
	struct signal_guard guard;
	struct thread *thread;
	int tid = thread_id_now();

	thread_records_lock(&guard);
	forget_predecessors(tid, handle);
	thread = thread_current ? thread_current : thread_record_find_foreign_locked(tid);
	if (thread)
		merge_locked(announced, thread);
	else
		thread = announced;
	thread_record_set_handle_locked(thread, handle);
	take_record_locked(thread, tid);
	thread_records_unlock(&guard);
	call_hooks(thread);
	return thread;
}

/* A record for a thread that nobody announced, with signals blocked. */
static struct thread *take_new_record(void)
{
	int tid = thread_id_now();
	struct thread *thread;

	lock_acquire(threads_lock());
	forget_predecessors(tid, 0);
	thread = thread_record_find_foreign_locked(tid);
	if (!thread)
		thread = thread_record_new_locked(THREAD_LIVE);
	if (thread) {
		thread->is_detached = true; // no result is known
		take_record_locked(thread, tid);
	}
	lock_release(threads_lock());
	return thread;
}

struct thread *thread_adopt(int tid)
{
	struct thread *thread;

	lock_acquire(threads_lock());
	thread = thread_find(tid); // whatever it is called now: the handler will find the same one
	if (!thread) {
		thread = thread_record_new_locked(THREAD_LIVE);
		if (thread) {
			thread_record_set_foreign_locked(thread, true);
			thread->is_detached = true;
			thread_record_set_tid_locked(thread, tid);
		}
	}
	lock_release(threads_lock());
	return thread;
}

/* ---- what needs libc, and the cache ---- */

/* Once the thread can allocate: what needs libc. */
static void begin(struct thread *thread)
{
	if (thread_first_hook && exchange_seq(&threads.is_begun, 1u) == 0)
		thread_first_hook();
	call_hooks(thread);
}

bool thread_register(void)
{
	struct signal_guard guard;
	struct thread *thread;

	signals_block(&guard);
	thread = thread_current ? thread_current : take_new_record();
	signals_restore(&guard);
	if (thread)
		begin(thread);
	return thread != 0;
}

struct thread_cache *thread_attach(void)
{
	struct signal_guard guard;
	struct thread *thread;

	signals_block(&guard);
	thread = thread_current;
	if (!thread)
		thread = take_new_record();
	if (!thread || load_relaxed(&thread->life) == THREAD_DYING) {
		signals_restore(&guard);
		return THREAD_CACHE_NONE;
	}
	if (!thread->cache) {
		struct thread_cache *cache = thread_cache_create();

		thread->cache = cache == THREAD_CACHE_NONE ? 0 : cache;
		if (thread->cache)
			thread_cache_current = cache;
	}
	signals_restore(&guard);
	begin(thread);
	return thread_cache_current;
}

/* ---- end ---- */

void thread_detach(void)
{
	struct thread *thread = thread_current;
	struct thread_cache *cache;
	struct signal_guard guard;

	if (!thread || load_relaxed(&thread->life) != THREAD_LIVE)
		return;
	thread_records_lock(&guard);
	cache = thread->cache;
	thread->cache = 0;
	thread->handler_frame = 0;
	thread_cache_current = THREAD_CACHE_NONE;
	dead_stacks_leave_nonce(thread);
	store_release(&thread->life, THREAD_DYING);
	thread_dying_push_locked(thread);
	lock_release(threads_lock());
	if (cache)
		thread_cache_destroy(cache);
	signals_restore(&guard);
}

void thread_finish(void *result)
{
	struct thread *thread = thread_current;
	struct signal_guard guard;

	if (!thread)
		return;
	thread_records_lock(&guard);
	store_release(&thread->result, thread->is_detached ? 0 : result);
	thread->is_finished = true;
	thread_records_unlock(&guard);
}

void thread_detached(uintptr_t handle)
{
	struct signal_guard guard;
	struct thread *thread;

	thread_records_lock(&guard);
	thread = thread_record_find_handle_locked(handle);
	if (thread) {
		store_release(&thread->result, 0);
		thread->is_detached = true;
		if (thread->life == THREAD_DEAD)
			forget_dead_locked(thread);
	}
	thread_records_unlock(&guard);
}

/* Nobody has the handle any more; a new thread may get the same one at once. */
void thread_joined(uintptr_t handle)
{
	struct signal_guard guard;
	struct thread *thread;

	thread_records_lock(&guard);
	thread = thread_record_find_handle_locked(handle);
	if (thread)
		forget_handle_locked(thread);
	thread_records_unlock(&guard);
}
