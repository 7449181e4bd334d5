/*
 * Futex wait and wake on a 32-bit word of this process.
 */
#pragma once

#include <stdint.h>

#define FUTEX_NO_TIMEOUT UINT64_MAX

/* Sleeps while *word == value, at most timeout_ns (FUTEX_NO_TIMEOUT: for ever). May return early; callers re-check. */
void futex_wait(const uint32_t *word, uint32_t value, uint64_t timeout_ns);

/* Wakes at most `count` sleepers. */
void futex_wake(const uint32_t *word, int count);

/* The same on a word in memory shared with other processes. */
void futex_wait_shared(const uint32_t *word, uint32_t value, uint64_t timeout_ns);
void futex_wake_shared(const uint32_t *word, int count);
