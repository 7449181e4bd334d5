/*
 * Pointers that only the kernel holds: epoll_event.data, the sigval of a timer or message queue, memory of alternate signal stacks. The wrappers in
 * preload/kernel_held.c enter them here; the scanner reads them as roots.
 *
 * A key names what the kernel files the value under, so that the next value for the same key replaces it. Entries are changed under the lock
 * KERNEL_HELD, hence with signals blocked, hence never halfway in a pause.
 */
#pragma once

#include "core/os/lock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum held_kind { HELD_NONE, HELD_EPOLL, HELD_TIMER, HELD_QUEUE };

/* epoll: the epoll descriptor and the watched one; timer: its id, 0; queue: its descriptor, 0. */
struct held_key {
	uint32_t kind; // enum held_kind
	uint32_t second;
	uint64_t first;
};

/* Takes the lock and blocks signals; give it back with held_end(). Between them the kernel may be called: no pause can begin and find the table and the
 * kernel at odds. */
struct signal_guard;
void held_begin(struct signal_guard *guard);
void held_end(const struct signal_guard *guard);

/*
 * Sets, or replaces, the value of a key; held_begin() is in force. Without memory the table is incomplete from then on, and no cycle will be evidence
 * of leaks (root_scan.requests_in_flight).
 */
void held_set(struct held_key key, uint64_t value);

/* Drops the key, if it is there. */
void held_drop(struct held_key key);

/* True and the value, if the key is there. */
bool held_get(struct held_key key, uint64_t *ret_value);

/* Entries now. */
size_t held_count(void);

/* For fork. */
struct lock *held_lock(void);

