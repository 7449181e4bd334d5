/*
 * The kernel's own table of signal handlers, past libc's functions (which may be wrapped, and hide two signals).
 */
#pragma once

#include "core/os/syscall.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

/* What rt_sigaction takes. */
struct kernel_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static inline bool kernel_action_read(int number, struct kernel_action *ret_action)
{
	return !syscall_failed(
		SYSCALL(rt_sigaction, number, 0, ret_action, sizeof(ret_action->mask)));
}

static inline bool kernel_action_write(int number, const struct kernel_action *action)
{
	return !syscall_failed(SYSCALL(rt_sigaction, number, action, 0, sizeof(action->mask)));
}
