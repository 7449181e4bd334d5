/*
 * Start and end of the library in a program.
 */
#pragma once

#include <stdbool.h>

/* True when the program runs with privileges of its file (AT_SECURE): the environment is not trusted. */
bool start_is_secure(void);

/* A function of the libraries behind this one, by name, looked up once and kept in *slot; ends the process if there is none. */
void *start_find_next(void **slot, const char *name);

/* Moves misuse counters of the heap to the public page. */
void start_publish_counters(void);

/*
 * Makes the public page and finds out about sandboxes, if that is still to be done, and starts the collector for a request that was left on the page, or for
 * interval_ms. All of it opens files, which take the lowest descriptors for some moments: called when a process first waits, and before it makes its first
 * thread, that is while mostly nobody else is there to see. errno is kept.
 */
void start_be_seen(void);

/* What must happen before the process goes, whichever way it goes: the public page is removed, statistics are written. Idempotent, async-signal-safe. */
void start_leave(void);
