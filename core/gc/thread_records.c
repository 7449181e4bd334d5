/*
 * Where thread records lie and are found.
 *
 * Records are never unmapped and their list only grows, so a signal handler, a scanner in a pause or a forked child can walk it without a lock. What
 * changes under the lock THREADS (signals blocked, so a thread that is stopped or runs a handler never holds it) is who uses a record. `next`
 * is constant once a record is linked; everything else of a new one is written before `life`, which says that it may be looked at.
 *
 * Two filters count records by id and by handle. From them nearly every birth learns that no other record has its key, without a walk over all.
 */
#include "core/gc/thread_records.h"

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/gc/dead_stacks.h"
#include "core/heap/meta.h"
#include "core/heap/thread_cache.h"
#include "core/os/syscall.h"

#include <assert.h>
#include <stddef.h>

enum { FILTER_BITS = 15 };

/* How many records have a key of each hash. */
struct filter {
	uint16_t counts[1 << FILTER_BITS];
};

static struct {
	struct lock lock;           // rank THREADS; guards all below
	struct thread *records;     // all; pushed by compare-and-swap, read without the lock
	struct thread *free;        // FREE ones
	struct thread *dying_first; // DYING ones, oldest first
	struct thread *dying_last;
	uint32_t count;         // not FREE; read without the lock
	uint32_t foreign_count; // made by the collector and not adopted by their thread yet
} threads WRITTEN_BY_FORK = {.lock = LOCK_INITIAL(THREADS)};

/* Guarded by the same lock. Apart, for what is zero at first needs no room in the file. */
static struct filter tids, handles;

struct lock *threads_lock(void)
{
	return &threads.lock;
}

uint32_t threads_count(void)
{
	return load_relaxed(&threads.count);
}

int thread_id_now(void)
{
	return (int)SYSCALL(gettid);
}

void thread_records_lock(struct signal_guard *guard)
{
	signals_block(guard);
	lock_acquire(&threads.lock);
}

void thread_records_unlock(const struct signal_guard *guard)
{
	lock_release(&threads.lock);
	signals_restore(guard);
}

struct thread *thread_records_first(void)
{
	return load_acquire(&threads.records);
}

void threads_for_each(void (*visit)(struct thread *thread, void *argument), void *argument)
{
	for (struct thread *thread = load_acquire(&threads.records); thread;
		thread = thread->next) {
		if (load_acquire(&thread->life) != THREAD_FREE)
			visit(thread, argument);
	}
}

struct thread *thread_find(int tid)
{
	for (struct thread *thread = load_acquire(&threads.records); thread;
		thread = thread->next) {
		if (load_acquire(&thread->tid) == tid && load_acquire(&thread->life) != THREAD_FREE)
			return thread;
	}
	return 0;
}

/* ---- ids and handles ---- */

static uint16_t *filter_count(struct filter *filter, uint64_t key)
{
	return &filter->counts[key * 0x9e3779b97f4a7c15ull >> (64 - FILTER_BITS)];
}

/* A child of raw clone may find a change half made: then a count is too high, or wraps, and costs walks. Never too low. */
void thread_record_set_tid_locked(struct thread *thread, int tid)
{
	int former = thread->tid;

	if (tid != 0)
		++*filter_count(&tids, (uint64_t)tid);
	store_release(&thread->tid, tid);
	if (former != 0)
		--*filter_count(&tids, (uint64_t)former);
}

void thread_record_set_handle_locked(struct thread *thread, uintptr_t handle)
{
	uintptr_t former = thread->handle;

	if (handle != 0)
		++*filter_count(&handles, handle);
	thread->handle = handle;
	if (former != 0)
		--*filter_count(&handles, former);
}

bool thread_records_may_share_locked(const struct thread *self, int tid, uintptr_t handle)
{
	return *filter_count(&tids, (uint64_t)tid) != (self && self->tid == tid) ||
	       (handle != 0 && *filter_count(&handles, handle) != 0);
}

struct thread *thread_record_find_handle_locked(uintptr_t handle)
{
	for (struct thread *thread = load_relaxed(&threads.records); thread;
		thread = thread->next) {
		if (thread->life != THREAD_FREE && thread->handle == handle && handle != 0)
			return thread;
	}
	return 0;
}

struct thread *thread_record_find_foreign_locked(int tid)
{
	for (struct thread *thread = load_relaxed(&threads.records);
		thread && threads.foreign_count > 0; thread = thread->next) {
		if (thread->life == THREAD_LIVE && thread->is_foreign && thread->tid == tid)
			return thread;
	}
	return 0;
}

/* ---- records ---- */

/* A handler may look at the record while it is being made ready: everything but `next` is written before `life`. */
struct thread *thread_record_new_locked(enum thread_life life)
{
	struct thread *thread = threads.free;

	if (thread) {
		threads.free = thread->next_free;
	} else {
		thread = meta_alloc(sizeof(*thread));
		if (!thread)
			return 0;
		do
			thread->next = load_acquire(&threads.records);
		while (!cas_seq(&threads.records, thread->next, thread));
	}
	store_relaxed(&threads.count, threads.count + 1);
	store_release(&thread->life, life);
	return thread;
}

/*
 * All fields but the link in the list of all records become zero. That one is not touched for a moment: whoever walks the list just now would not see the rest
 * of it, and think for instance that the last thread of the program ends.
 */
static void record_clear(struct thread *thread)
{
	static_assert(offsetof(struct thread, next) == 0, "cleared from the second field on");

	thread_record_set_tid_locked(thread, 0);
	thread_record_set_handle_locked(thread, 0);
	store_seq(&thread->gate, GATE_RUNNING);
	__builtin_memset(
		(char *)thread + sizeof(thread->next), 0, sizeof(*thread) - sizeof(thread->next));
}

void thread_record_set_foreign_locked(struct thread *thread, bool is_foreign)
{
	threads.foreign_count += (uint32_t)is_foreign - (uint32_t)thread->is_foreign;
	thread->is_foreign = is_foreign;
}

void thread_record_free_locked(struct thread *thread)
{
	thread_record_set_foreign_locked(thread, false);
	store_release(&thread->life, THREAD_FREE);
	record_clear(thread);
	thread->next_free = threads.free;
	threads.free = thread;
	store_relaxed(&threads.count, threads.count - 1);
}

/* ---- the dying ---- */

void thread_dying_push_locked(struct thread *thread)
{
	thread->next_dying = 0;
	if (threads.dying_last)
		threads.dying_last->next_dying = thread;
	else
		threads.dying_first = thread;
	threads.dying_last = thread;
}

struct thread *thread_dying_pop_locked(void)
{
	struct thread *thread = threads.dying_first;

	if (!thread)
		return 0;
	threads.dying_first = thread->next_dying;
	if (!threads.dying_first)
		threads.dying_last = 0;
	thread->next_dying = 0;
	return thread;
}

bool threads_are_dying(void)
{
	return load_relaxed(&threads.dying_first) != 0;
}

/* ---- fork ---- */

void threads_fork_child(bool flush_caches)
{
	struct thread *self = thread_current;

	threads.dying_first = threads.dying_last = 0;
	dead_stacks_forget();
	threads.free = 0;
	threads.count = 0;
	threads.foreign_count = 0;
	for (struct thread *thread = threads.records; thread; thread = thread->next) {
		struct thread_cache *cache = thread->cache;

		if (thread == self)
			continue;
		thread->life = THREAD_FREE;
		record_clear(thread);
		thread->next_free = threads.free;
		threads.free = thread;
		if (cache && flush_caches)
			thread_cache_inherit(cache);
	}
	if (!self)
		return;
	threads.count = 1;
	thread_record_set_tid_locked(self, thread_id_now());
	self->gate = GATE_RUNNING;
	self->owes = 0;
	self->exempt = 0;
	self->is_in_vfork = 0;
	self->is_main = true;
	self->is_foreign = false;
	self->next_dying = 0;
	if (self->life == THREAD_DYING)
		thread_dying_push_locked(self);
}
