/*
 * The handler of the stop signal: the thread parks in it until the stop is over. Whose signal it is, stop_signal.h chooses; who is sent one, stop_tasks.c.
 */
#pragma once

#include "core/base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SIGNAL_CANCEL = 32, // libc's own two
	SIGNAL_SETXID = 33,
	STOP_HANDLER_STACK_BYTES = 1024, // what the handler needs besides the signal frame
};

/* Set once by preload/signals.c; every one may be NULL. */
struct world_hooks {
	/* True when the program handles or claims a number although the kernel shows the default. */
	bool (*signal_is_claimed)(int number);
	/* Our number arrived and it was not us who sent it. siginfo_t *, ucontext_t *. True: the program is not to learn of it, but by asking. */
	bool (*foreign_signal)(int number, void *info, void *context);
	/* The handler addresses that are ours (the trampoline): any other in the kernel's table means gates do not count. */
	bool (*handler_is_known)(uintptr_t handler);
	/* What the kernel needs on a stack for a signal (AT_MINSIGSTKSZ), 0: not known. */
	size_t signal_frame_bytes;
};
extern struct world_hooks world_hooks HIDDEN;

/* Makes it the handler of that signal. False: the kernel refuses. */
bool stop_handler_install(int number);

/* Is this handler, found in the kernel's table, the one that stops threads? */
bool world_is_stop_handler(uintptr_t handler);

/* Threads that parked, ever, and the count at which the collector, which sleeps on `count`, wants to be woken. Sequentially consistent. */
struct stop_answers {
	uint32_t count;
	uint32_t wanted;
};
extern struct stop_answers stop_answers HIDDEN;
