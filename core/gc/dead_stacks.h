/*
 * The stacks of threads that are gone, as long as they are certainly still that. Kept by thread.c; scanners ask by threads_dead_stacks() (thread.h).
 * Lock: THREADS, held by the caller of whatever says so.
 */
#pragma once

#include "core/gc/thread.h"

#include <stdint.h>

/* Runs in the thread's last destructor: leaves the nonce on its stack, if that is known and there is room. */
void dead_stacks_leave_nonce(struct thread *thread);

/* The task is gone and nobody will ask for its result: its stack is dead. */
void dead_stacks_add_locked(const struct thread *thread);

/* A thread lives in [low, high) now. */
void dead_stacks_remove_locked(uintptr_t low, uintptr_t high);

/* In a fork child. */
void dead_stacks_forget(void);
