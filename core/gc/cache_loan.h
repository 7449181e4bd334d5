/*
 * Handlers of the program and the cache of the thread they interrupt. A part of thread.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct thread_cache;

/*
 * For the slow path that finds THREAD_CACHE_NONE in thread_cache_current: attaches a new thread; puts the cache back when the handler that ran without
 * it was left by siglongjmp. THREAD_CACHE_NONE: go on without a cache (dying, or inside a handler that interrupted code of ours). Signals open.
 */
struct thread_cache *thread_recover_cache(void);

/* The calling thread runs a handler of the program (or, where stacks cannot be compared, may): whatever it has interrupted may be half done. */
bool thread_is_in_handler(void);

/*
 * A handler of the program is about to run in this thread over interrupted code of ours: takes the cache away until thread_cache_give_back(), or until
 * the frame at `frame` is seen to be dead (the handler was left by siglongjmp). Async-signal-safe.
 */
struct thread_cache_loan {
	struct thread_cache *cache;
	uintptr_t outer_frame;
	bool is_taken;
};
void thread_cache_take_away(struct thread_cache_loan *loan, uintptr_t frame);
void thread_cache_give_back(const struct thread_cache_loan *loan);
