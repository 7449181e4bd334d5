/*
 * What a program made for LeakSanitizer may define for it: see lsan.c.
 */
#pragma once

#include <stdbool.h>

/* At start, in a constructor: finds the program's functions where the loader knows them. */
void lsan_init(void);

/*
 * Before a leak check, in the thread that wants it, no lock held: asks the program's functions. False: it wants no check (__lsan_is_turned_off, or
 * detect_leaks=0 in its options). May be called in a signal handler.
 */
bool lsan_check_is_wanted(void);
