/*
 * Stacks. Of a thread that stands on its own stack, everything from its stack pointer up is live and everything below is dead: that is taken out of
 * what `mappings` reads, or the remains of finished calls would keep blocks for ever.
 *
 * - x86-64: 128 bytes below the pointer of an interrupted thread are live (red zone); not of one that published its pointer before a call.
 * - A stack pointer elsewhere (a fibre's stack, an alternate signal stack, even one that is a piece of the thread's own stack): the whole original
 *   stack is live, for its own pointer is saved we know not where. What it stands on is read as the memory it is: a mapping, a data segment, or a
 *   block of the heap, which the stack pointer itself names as a root.
 * - Bounds are those the thread was born with, cut to the mapping that holds the pointer: the kernel joins neighbouring mappings, and the main
 *   thread's lower bound is only a limit. A thread of unknown bounds has nothing dead: `mappings` reads all of its stack.
 * - Stacks of finished threads that libc keeps for the next one are dead, if that is proved (threads_dead_stacks).
 */
#include "scanners/scanners.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/gc/thread.h"
#include "core/os/pages.h"

#if defined(__x86_64__)
enum { RED_ZONE_BYTES = 128 };
#else
enum { RED_ZONE_BYTES = 0 };
#endif

/* Where a thread stands. */
struct position {
	uintptr_t pointer;
	uintptr_t live; // lowest live byte
	bool is_on_own_stack;
};

static bool is_within(uintptr_t address, uintptr_t low, size_t bytes)
{
	return address - low < bytes;
}

/* False: it is not stopped, for its task is gone. */
static bool find_position(const struct thread *thread, struct position *ret_position)
{
	enum thread_gate gate = thread_gate_state(thread);
	const struct gate_frame *frame = load_acquire(&thread->frame);
	uintptr_t pointer;
	bool is_elsewhere;

	if (gate == GATE_HELD &&
		frame) // none: the pause was abandoned, and registers.c fails for it
		pointer = frame->stack_pointer;
	else if (gate == GATE_PARKED)
		pointer = thread->stop_pointer;
	else
		return false;
	is_elsewhere = thread->has_inner_stacks ||
		       is_within(pointer, thread->altstack_low, thread->altstack_bytes) ||
		       (gate == GATE_PARKED && is_within(pointer, thread->stop_altstack_low,
						       thread->stop_altstack_bytes));
	ret_position->pointer = pointer;
	ret_position->live = pointer - (gate == GATE_PARKED ? RED_ZONE_BYTES : 0);
	ret_position->is_on_own_stack =
		!is_elsewhere && pointer >= thread->stack_low && pointer < thread->stack_high;
	return true;
}

static void claim_live(struct thread *thread, void *argument)
{
	struct position position;

	if (!find_position(thread, &position))
		return;
	if (position.is_on_own_stack && thread_keeps_stack(thread))
		root_claim_stack(argument, position.live, thread->stack_high);
	else
		root_claim(argument, position.is_on_own_stack ? position.live : thread->stack_low,
			thread->stack_high);
}

static void exclude_dead(struct thread *thread, void *argument)
{
	struct root_scan *scan = argument;
	const struct mapping *mapping;
	struct position position;

	if (!find_position(thread, &position) || !position.is_on_own_stack)
		return;
	mapping = maps_find(scan->maps, position.live);
	if (mapping)
		root_exclude(scan, max_u64(mapping->start, thread->stack_low), position.live);
}

static bool read_word(uintptr_t address, uint64_t *ret_word)
{
	return memory_read(ret_word, address, sizeof(*ret_word));
}

static void exclude_finished(uintptr_t low, uintptr_t high, void *argument)
{
	root_exclude(argument, low, high);
}

static bool claim_stacks(struct root_scan *scan)
{
	threads_for_each(claim_live, scan);
	if (scan->failure != ROOTS_NOT_FAILED || !root_claims_done(scan))
		return false;
	threads_for_each(exclude_dead, scan);
	threads_dead_stacks(read_word, exclude_finished, scan);
	return scan->failure == ROOTS_NOT_FAILED;
}

static void scan_pointer(struct thread *thread, void *argument)
{
	struct position position;

	if (find_position(thread, &position))
		root_scan_words_of(argument, thread->tid, 0,
			(uintptr_t[]){position.pointer, position.live}, 2);
}

static bool scan_stacks(struct root_scan *scan)
{
	threads_for_each(scan_pointer, scan);
	return true;
}

const struct scanner scanner_stacks = {
	.name = "stacks", .claim = claim_stacks, .scan = scan_stacks};
