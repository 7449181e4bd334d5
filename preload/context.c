/*
 * Contexts (makecontext). A fibre whose stack is a piece of its thread's own, say an array of main's, moves the stack pointer up and down within one stack:
 * what lies below the pointer may be the frames of whoever waits for the fibre. Of such a thread the whole stack counts as live.
 */
#include "core/gc/thread.h"
#include "preload/jump.h"
#include "preload/real.h"

void *jump_makecontext(const ucontext_t *context)
{
	uintptr_t low = (uintptr_t)context->uc_stack.ss_sp;
	struct thread *thread = thread_current;

	if (thread && low < thread->stack_high &&
		low + context->uc_stack.ss_size > thread->stack_low)
		thread->has_inner_stacks = true;
	return (void *)&REAL(makecontext);
}
