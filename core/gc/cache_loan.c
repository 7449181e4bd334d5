/*
 * Taking a thread's cache away while a handler of the program runs over interrupted code of ours, and finding it again.
 *
 * The code that was interrupted may stand in the middle of a change of its cache, so the handler allocates without one (slow, under locks). It may be left by
 * siglongjmp: then nobody gives the cache back, and the next slow path, which finds THREAD_CACHE_NONE, sees that the frame of the trampoline that took
 * it is dead, and takes it back.
 *
 * All of it is the calling thread's own; no lock. Async-signal-safe but for thread_recover_cache().
 */
#include "core/gc/cache_loan.h"

#include "core/base/arith.h"
#include "core/base/attr.h"
#include "core/gc/thread.h"
#include "core/heap/thread_cache.h"

/*
 * Is the frame of the trampoline that took the cache still there? Stacks grow down: what runs inside the handler runs below its frame. When the two
 * addresses are on stacks that cannot be compared, the frame counts as alive: allocating goes on without a cache, slower and right.
 */
static NOINLINE bool handler_frame_is_live(const struct thread *thread, uintptr_t frame)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t alt_low = thread->altstack_low;
	uintptr_t alt_high = alt_low + thread->altstack_bytes;
	bool here_on_stack = range_contains(thread->stack_low, thread->stack_high, here);

	if (range_contains(alt_low, alt_high, frame))
		return range_contains(alt_low, alt_high, here) ? here < frame : !here_on_stack;
	if (here_on_stack && range_contains(thread->stack_low, thread->stack_high, frame) &&
		!range_contains(alt_low, alt_high, here))
		return here < frame;
	return true;
}

struct thread_cache *thread_recover_cache(void)
{
	struct thread *thread = thread_current;

	if (!thread || !thread->cache)
		return thread_attach();
	if (thread->handler_frame != 0 && handler_frame_is_live(thread, thread->handler_frame))
		return THREAD_CACHE_NONE;
	thread->handler_frame = 0;
	thread_cache_current = thread->cache;
	return thread->cache;
}

bool thread_is_in_handler(void)
{
	const struct thread *thread = thread_current;

	return thread && thread->outermost_handler != 0 &&
	       handler_frame_is_live(thread, thread->outermost_handler);
}

/*
 * When an outer handler already runs without the cache nothing is to be done, unless its frame is dead (and nobody has asked for the cache since).
 */
void thread_cache_take_away(struct thread_cache_loan *loan, uintptr_t frame)
{
	struct thread *thread = thread_current;

	*loan = (struct thread_cache_loan){.is_taken = false};
	if (!thread || !thread->cache)
		return;
	if (thread->handler_frame != 0 && handler_frame_is_live(thread, thread->handler_frame))
		return;
	*loan = (struct thread_cache_loan){thread_cache_current, thread->handler_frame, true};
	thread->handler_frame = frame;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	thread_cache_current = THREAD_CACHE_NONE;
}

void thread_cache_give_back(const struct thread_cache_loan *loan)
{
	if (!loan->is_taken)
		return;
	thread_cache_current = loan->cache;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	thread_current->handler_frame = loan->outer_frame;
}
