/*
 * The collector thread as libc sees it.
 */
#pragma once

#include <stdbool.h>

/* Joins the collector to the core. Constructor. */
void collector_init(void);

/* Before calls that fail, or leave a thread outside a sandbox, when the process has several threads (unshare, setns, seccomp, capset ...): ends the collector
 * thread. It comes back when it is wanted. True: there was one. */
bool collector_pause_for_syscall(void);

/* By the last thread of the program, at its end: ends the collector, or libc would wait for it for ever. */
void collector_end_with_last_thread(void);

/* In a fork child. */
void collector_fork_child(void);

/* No collector from now on (the program sandboxed itself), until collector_allow(). True: there might have been one. */
bool collector_forbid(void);
void collector_allow(void);
