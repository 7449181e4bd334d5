/*
 * The program's signals: see signals.c.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>

/*
 * The mask without our signal: `mask` itself if it is not in there (or NULL, or not to be read), else *ret_copy. For masks in which a call waits.
 */
const sigset_t *signals_strip(const sigset_t *mask, sigset_t *ret_copy);

/* The same for a set of signals the program waits for; one that names ours on purpose gets it. */
const sigset_t *signals_strip_waited(const sigset_t *set, sigset_t *ret_copy);

/* The first 8 bytes of such masks, as system calls take them. False: our signal is not in there, or they cannot be read: the kernel's matter. */
bool signals_strip_word(const unsigned long *mask, unsigned long *ret_stripped);

/* Joins the trampoline to the core. Idempotent. */
void signals_init(void);

/* The lock of rank SIGNALS. */
struct lock *signals_lock(void);
