/*
 * Before anything is taken back: one linear pass over all present memory for disguised forms of the condemned addresses. Collector thread, lock
 * CYCLE held, the program runs.
 *
 * At every 4th byte the low 30 bits of the word there are compared with those of the address as it is (digits of Python's integers, pointers in
 * 32 bits, pointers at odd places), shifted left by 1 (tagged integers), right by 1 and by 3, and with its bytes reversed. A word that is a plain pointer
 * into the heap explains itself and is no disguise.
 */
#pragma once

#include "core/gc/leak_set.h"

#include <stdbool.h>

/*
 * Sets LEAKED_KEPT on every block of the set that has LEAKED_CHOSEN and of which a disguised form was found (or a plain one, outside the leaked
 * blocks). Returns the number of blocks kept; -1: memory could not be read, or somebody waits for the lock
 * CYCLE, so nothing can be said.
 */
long second_look(struct leak_set *set);
