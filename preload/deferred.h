/*
 * Signals whose handlers were held off: see deferred.c.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Joins this to the core. Idempotent. */
void deferred_init(void);

/*
 * For the trampoline, whose thread is in a section. `disposition` is the number of changes of the program's action so far. Nothing is left to be done: either
 * the signal comes again, or it was a fault.
 */
void deferred_take(int number, siginfo_t *info, void *context, uint32_t disposition);

/* For the trampoline otherwise: what came may be another signal of that number than the one whose turn it is. *info becomes that one's. */
void deferred_exchange(int number, siginfo_t *info);

/* The program ignores the number, or leaves it to the kernel: so are signals of this thread that wait. */
void deferred_forget(int number, bool is_ignored);

/* In a fork child: no signal of the parent's waits. */
void deferred_fork_child(void);
