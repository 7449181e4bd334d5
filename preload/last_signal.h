/*
 * Signals whose default action ends the process: the leak check comes first. See last_signal.c.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>

/* At start: takes over those that nobody handles or ignores, if a report is wanted. */
void last_signal_init(void);

/* The program leaves this number to the kernel, and we want to be asked first. */
bool last_signal_is_ours(int number);

/* The handler, behind the trampoline of signals.c. Does not return, but in a process that such signals do not end, or that looks for leaks already. */
void last_signal_handle(int number, siginfo_t *info, void *context);

/* Dies of the signal. In a vfork child too. Async-signal-safe. */
void last_signal_die(int number);

/* The thread that was interrupted while it looked for leaks is through with it: dies of the signal that came. */
void last_signal_settle(void);
