/*
 * The records of threads as a table: memory, lists, and who is found where. What happens to a thread in its life is thread.c's, which is the only one that
 * changes anything here. Lock: THREADS, held by the caller of whatever says so.
 */
#pragma once

#include "core/gc/thread.h"
#include "core/os/lock.h"

#include <stdbool.h>
#include <stdint.h>

/* Signals of the caller are blocked in between. */
void thread_records_lock(struct signal_guard *guard);
void thread_records_unlock(const struct signal_guard *guard);

/* All records, FREE ones too, by `next`. No lock. */
struct thread *thread_records_first(void);

/* A record that was FREE, all zero but for `life`. NULL: no memory. */
struct thread *thread_record_new_locked(enum thread_life life);
void thread_record_free_locked(struct thread *thread);

/* 0: none, any more. */
void thread_record_set_tid_locked(struct thread *thread, int tid);
void thread_record_set_handle_locked(struct thread *thread, uintptr_t handle);

/* Made by the collector for a task that has not asked for it, or no longer only that. */
void thread_record_set_foreign_locked(struct thread *thread, bool is_foreign);

/* False: no record but the calling thread's own, `self` (or NULL), has this id, and none this handle (0: any). True: perhaps one has. */
bool thread_records_may_share_locked(const struct thread *self, int tid, uintptr_t handle);

struct thread *thread_record_find_handle_locked(uintptr_t handle);

/* The record the collector made for the calling thread before it had one of its own. */
struct thread *thread_record_find_foreign_locked(int tid);

/* The queue of DYING records, oldest first. NULL: empty. */
void thread_dying_push_locked(struct thread *thread);
struct thread *thread_dying_pop_locked(void);

/* Is there any? No lock. */
bool threads_are_dying(void);
