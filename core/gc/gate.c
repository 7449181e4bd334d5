/*
 * The gate of a thread: RUNNING -> BLOCKED before a call that may wait, back after it, and not while a stop holds it. (1) and (2) are those of world.c.
 *
 * Gates count only if every handler in the kernel's table is known to be ours (stop_signal.c reads it): any other may run on a thread that we take for
 * stopped. Once they do not count they never do again: a thread may have left a call by a long jump and stand there BLOCKED.
 *
 * Locks: none. Called in signal handlers; calls no libc and touches no thread-local storage but thread_current.
 */
#include "core/gc/gate.h"

#include "core/base/atomic.h"
#include "core/gc/world.h"
#include "core/gc/world_word.h"
#include "core/profile/suspects.h"

static uint32_t are_distrusted; // 1: a handler of unknown origin was seen

bool gates_count(void)
{
	return load_seq(&are_distrusted) == 0;
}

void gates_distrust(void)
{
	store_seq(&are_distrusted, 1);
}

/* RUNNING -> BLOCKED, and (1). */
static void gate_block(struct thread *thread)
{
	struct world_watch watch = {.time_ns = 0};
	uint32_t word;

	store_seq(&thread->gate, GATE_BLOCKED); // from RUNNING, which only the thread itself leaves
	while (world_word_is_in_force(word = load_seq(&world_word)))
		world_wait_for_change(&watch, word);
}

/* BLOCKED or HELD -> RUNNING: (2). */
static void gate_unblock(struct thread *thread)
{
	struct world_watch watch = {.time_ns = 0};

	for (;;) {
		uint32_t gate = load_seq(&thread->gate);
		uint32_t word = load_seq(&world_word);

		if (gate_state(gate) == GATE_RUNNING)
			return;
		if (gate_state(gate) == GATE_HELD && gate_is_in_force(gate, word))
			world_wait_for_change(&watch, word);
		else if (cas_seq(&thread->gate, gate, GATE_RUNNING))
			return;
	}
}

/*
 * Is the record in thread_current this task's? A vfork child and a task made by raw clone run on somebody else's. A frame on the record's own stack
 * proves it; any other (fibre, alternate stack, unknown bounds) costs a system call.
 */
static bool record_is_mine(struct thread *thread, const void *frame)
{
	uintptr_t address = (uintptr_t)frame;

	if (load_relaxed(&thread->is_in_vfork)) {
		if (thread_id_now() != thread->tid)
			return false;
		store_relaxed(&thread->is_in_vfork, 0);
		return true;
	}
	if (address >= thread->stack_low && address < thread->stack_high)
		return true;
	return thread_id_now() == thread->tid;
}

void gate_enter(struct gate_frame *frame)
{
	struct thread *thread = thread_current;

	frame->thread = 0;
	if (!thread || !record_is_mine(thread, frame))
		return;
	if (gate_state(load_relaxed(&thread->gate)) != GATE_RUNNING) {
		add_relaxed(&world_stats.ungated, 1);
		return;
	}
	frame->thread = thread;
	frame->outer = thread->frame;
	frame->stops = thread->stops;
	frame->handlers = thread->handlers;
	store_release(&thread->frame, frame);
	gate_block(thread);
}

void gate_leave(struct gate_frame *frame)
{
	struct thread *thread = frame->thread;

	if (!thread)
		return;
	gate_unblock(thread);
	thread->frame = frame->outer;
	suspects_obey(
		thread_cache_current); // it may sleep again, and again, before it needs a slow path
	if (UNLIKELY(load_relaxed(&thread->exempt)))
		store_seq(&thread->exempt, 0);
}

bool gate_suspend(struct gate_frame **ret_frame)
{
	struct thread *thread = thread_current;

	if (!thread || gate_state(load_relaxed(&thread->gate)) == GATE_RUNNING ||
		!record_is_mine(thread, __builtin_frame_address(0)))
		return false;
	*ret_frame = thread->frame;
	gate_unblock(thread);
	return true;
}

void gate_resume(struct gate_frame *frame)
{
	struct thread *thread = thread_current;

	store_release(&thread->frame, frame);
	gate_block(thread);
}
