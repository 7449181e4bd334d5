/*
 * The program's signals: see signals.c.
 */
#pragma once

#include <signal.h>

/*
 * The mask without our signal: `mask` itself if it is not in there (or NULL), else *ret_copy. For masks in which a call waits.
 */
const sigset_t *signals_strip(const sigset_t *mask, sigset_t *ret_copy);

/* The same for a set of signals the program waits for; one that names ours on purpose gets it. */
const sigset_t *signals_strip_waited(const sigset_t *set, sigset_t *ret_copy);

/* The first 8 bytes of such masks, as system calls take them. */
unsigned long signals_strip_word(unsigned long mask);

/* Joins the trampoline to the core. Idempotent. */
void signals_init(void);

/* The lock of rank SIGNALS. */
struct lock *signals_lock(void);
