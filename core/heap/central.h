/*
 * Central lists: per size class, all its spans and those with free slots. A refill takes a span from here, sweeping spans of the class first if
 * the last cycle left work. Lock: CENTRAL, one per class. Callers have signals blocked, except where said.
 */
#pragma once

#include "core/heap/heap.h"

/* Called at start. */
void central_init(void);

/* A span with (probably) free slots, now SPAN_CURRENT and the caller's; NULL: out of memory. */
struct span *central_take_span(unsigned class);

/* A current span goes back. */
void central_return_span(struct span *span);

/* free=trust: slots of one class become FREE. `entries` are address and state byte. */
struct lifo_entry;
void central_free_slots(unsigned class, const struct lifo_entry *entries, size_t count);

/* free=trust: slots in state CACHED change hands between threads through a bounded stock; what does not fit becomes FREE. */
void central_store_slots(unsigned class, const struct lifo_entry *entries, size_t count);
size_t central_fetch_slots(unsigned class, struct lifo_entry *entries, size_t count);

/* A hint, without the lock. */
bool central_has_stock(unsigned class);

/* free=trust: up to `count` FREE slots of a span that is nobody's current become CACHED and the caller's. 0: out of memory. */
size_t central_share_slots(unsigned class, struct lifo_entry *entries, size_t count);

/* Every slot in stock becomes FREE, so that empty spans are noticed. Returns bytes. */
size_t central_drain_stock(void);

/* Without a cache: one slot, state stored under the lock; NULL: out of memory. Slow: for dying threads and interrupted ones. */
void *central_alloc_slot(unsigned class, enum slot_state state);

/*
 * Applies the last verdict to one span (small or large) if that has not been done: HINTED and unmarked becomes FREE. An empty span that is nobody's
 * current goes back to the page heap (*ret_released). Collector, or the holder of a reason to. Returns bytes freed.
 */
size_t central_sweep_span(struct span *span, bool *ret_released);

/* As central_sweep_span(), without a verdict: every HINTED slot becomes FREE (the policy for processes without verdicts). The span must be SWEPT. */
size_t central_trust_span(struct span *span, bool *ret_released);

/* Slots of the span were made FREE by somebody else (reclaim): lists and release follow from the bytes. True when it was released. */
bool central_settle_span(struct span *span);

/* A verdict stands: refills may sweep spans of their class. */
void central_offer_sweep(void);

/* After fork in the child; and in a pause: every lock is open. */
void central_reset_locks(void);

/* In a child that ran no fork handlers, before the locks are opened: lists of classes whose lock was held are made anew from the spans, or stay empty
 * where the heap cannot be walked. */
void central_repair(bool can_walk);

/* For fork: all class locks in order. */
void central_lock_all(void);
void central_unlock_all(void);
