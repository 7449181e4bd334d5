/*
 * Start and end of the library in a program.
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* True when the program runs with privileges of its file (AT_SECURE): the environment is not trusted. */
bool start_is_secure(void);

/* A function of the libraries behind this one, by name, looked up once and kept in *slot; ends the process if there is none. */
void *start_find_next(void **slot, const char *name);

/* Moves misuse counters of the heap to the public page. */
void start_publish_counters(void);

/*
 * Makes the public page and finds out about sandboxes, if that is still to be done, and starts the collector for a request that was left on the page, or
 * where it is to be there early. All of it opens files, which take the lowest descriptors for some moments: called when a process first waits, and before it makes its first
 * thread, that is while mostly nobody else is there to see. errno is kept.
 */
void start_be_seen(void);

/*
 * What the end of the process would do about leaks, now: checks, reports, and ends the process (by exit, for buffered output) if there are leaks and exitcode
 * says so. Once; the end does no more then.
 */
void start_check_leaks(void);

/* The same look, but the process goes on to its end: for the last thread, of which exit() is called when it cannot have a collector made any more. */
void start_look_before_exit(void);

/* A report is wanted, and of this process: it is no forked child, or report_children=on. */
bool start_reports(void);

/*
 * The same for a process that dies of a signal, in its handler, with a time limit. False: this thread was interrupted while it looked for leaks, which goes on when
 * the handler returns; it calls last_signal_settle() then.
 */
bool start_speak_last(uint64_t limit_ns, enum findings_reason reason);

/* After fork, in the child. */
void start_fork_child(void);

/* What must happen before the process goes, whichever way it goes: the public page is removed, statistics are written. Idempotent, async-signal-safe. */
void start_leave(void);
