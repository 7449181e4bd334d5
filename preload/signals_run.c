/*
 * Running the program's handlers, behind the trampoline of signals.c, and the alternate stacks they may run on.
 */
#include "preload/signals_inside.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/gc/gate.h"
#include "core/gc/thread.h"
#include "core/os/peek.h"
#include "preload/real.h"
#include "preload/signals.h"

#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

/* ---- alternate stacks ---- */

static void set_alternate_stack(struct thread *thread, uintptr_t low, size_t bytes)
{
	store_relaxed(&thread->altstack_low, low);
	store_relaxed(&thread->altstack_bytes, bytes);
}

/* Noted before the call, for the kernel's is the only other copy; put back if the call fails. */
EXPORT int sigaltstack(const stack_t *stack, stack_t *ret_old)
{
	bool is_readable = stack && peek_is_readable(stack, sizeof(*stack));
	bool has_record =
		is_readable && alloc_init() && thread_register() && !signals_is_vfork_child();
	struct thread *thread = has_record ? thread_current : 0;
	uintptr_t former_low = thread ? thread->altstack_low : 0;
	size_t former_bytes = thread ? thread->altstack_bytes : 0;
	bool is_set = thread && (stack->ss_flags & SS_DISABLE) == 0;
	int result;

	if (thread)
		set_alternate_stack(
			thread, is_set ? (uintptr_t)stack->ss_sp : 0, is_set ? stack->ss_size : 0);
	result = REAL(sigaltstack)(stack, ret_old);
	if (result != 0 && thread)
		set_alternate_stack(thread, former_low, former_bytes);
	return result;
}

/*
 * The kernel says at each signal which alternate stack the thread has: the program may have set it by a system call of its own. A stack that the kernel takes
 * away while its handler runs (SS_AUTODISARM) and that is a piece of the thread's own stack may be followed by another one, unseen.
 */
static void compare_alternate_stack(struct thread *thread, const stack_t *stack)
{
	uintptr_t low = (uintptr_t)stack->ss_sp;

	if ((stack->ss_flags & SS_DISABLE) != 0)
		return;
	if ((stack->ss_flags & (int)SS_AUTODISARM) != 0 && low < thread->stack_high &&
		low + stack->ss_size > thread->stack_low)
		thread->has_inner_stacks = true;
	if (low == thread->altstack_low && stack->ss_size == thread->altstack_bytes)
		return;
	if (thread->tid == thread_id_now())
		set_alternate_stack(thread, low, stack->ss_size);
}

/* Bounds of this library's own code (the linker's). */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* ---- running a handler ---- */

/* What has to be put back, also when an exception or a cancellation leaves the handler. */
struct interruption {
	struct thread_cache_loan loan;
	struct gate_frame *frame;
	bool is_outermost; // of the handlers that run in this thread
	bool was_blocked;
};

static void end_interruption(struct interruption *interruption)
{
	if (interruption->is_outermost)
		thread_current->outermost_handler = 0;
	thread_cache_give_back(&interruption->loan);
	if (interruption->was_blocked)
		gate_resume(interruption->frame);
}

static uintptr_t interrupted_at(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#else
	return (uintptr_t)context->uc_mcontext.pc;
#endif
}

static bool is_own_code(uintptr_t address)
{
	return address >= (uintptr_t)__ehdr_start && address < (uintptr_t)etext;
}

/*
 * Was it our own code that was interrupted? A handler that has just returned stands in libc's restorer, one or two instructions before it goes on with what
 * *it* interrupted, whose context the stack pointer names. So that is what counts.
 */
static bool interrupted_own_code(const ucontext_t *context, uintptr_t restorer)
{
#if defined(__x86_64__)
	enum { MOVE_BYTES = 7, NESTING_MAX = 64 }; // mov $15, %rax; syscall

	for (int i = 0; i < NESTING_MAX && restorer != 0; i++) {
		uintptr_t at = interrupted_at(context);

		if (at != restorer && at != restorer + MOVE_BYTES)
			break;
		context = (const ucontext_t *)context->uc_mcontext.gregs[REG_RSP];
	}
#endif
	return is_own_code(interrupted_at(context));
}

void signals_run_handler(void (*handler)(int, siginfo_t *, void *), int number, siginfo_t *info,
	void *context, uintptr_t restorer)
{
	struct thread *thread = thread_current;
	struct interruption interruption
		__attribute__((cleanup(end_interruption))) = {.was_blocked = false};

	if (thread) {
		compare_alternate_stack(thread, &((const ucontext_t *)context)->uc_stack);
		store_relaxed(&thread->handlers, thread->handlers + 1);
		interruption.was_blocked = gate_suspend(&interruption.frame);
		interruption.is_outermost = !thread_is_in_handler();
		if (interruption.is_outermost)
			thread->outermost_handler = (uintptr_t)__builtin_frame_address(0);
		if (interrupted_own_code(context, restorer))
			thread_cache_take_away(
				&interruption.loan, (uintptr_t)__builtin_frame_address(0));
	}
	handler(number, info, context);
}
