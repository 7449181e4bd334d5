/*
 * The number of the stop signal, and what the kernel's table of handlers says.
 *
 * It is chosen late, when the first collection wants it: the number the user wished for, or else the first from SIGNAL_HIGH down that nobody handles
 * or claims. When the program wants that very number, ours moves to another one: new stops use the new number, the old one is given back once no stop is in
 * force and nobody owes an answer to a signal that was sent with it. Why that is enough: the collector reads the number after it has written STOPPING.
 * A number that was taken behind our back is left to whoever took it.
 *
 * A program about to exec must not have our signal pending, or it would kill the new program: gate_forbid_signals() sets `exempt`, then looks at `owes`;
 * the collector sets `owes`, then looks at `exempt` (stop_tasks.c). One of the two sees the other.
 *
 * Locks: none.
 */
#include "core/gc/stop_signal.h"

#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/gc/gate.h"
#include "core/gc/stop_handler.h"
#include "core/gc/thread.h"
#include "core/gc/world_word.h"
#include "core/os/futex.h"
#include "core/os/kernel_action.h"
#include "core/os/syscall.h"

#include <signal.h>

enum {
	SIGNAL_COUNT = 64,
	SIGNAL_HIGH =
		62, // 64 is valgrind's, SIGRTMAX - n are agreed between programs; 32 and 33 are libc's
	SIGNAL_LOW = 36,
};

static int32_t signal_number; // 0: not chosen, -1: none is free; compare-and-swap

/* ---- the number ---- */

static bool signal_is_free(int number)
{
	struct kernel_action action;

	if (world_hooks.signal_is_claimed && world_hooks.signal_is_claimed(number))
		return false;
	return kernel_action_read(number, &action) && action.handler == (void *)SIG_DFL;
}

/* A free number other than `except`, or 0. */
static int find_free_signal(int except)
{
	int wished = (int)options.stop_signal;

	if (wished != 0 && wished != except && wished != SIGKILL && wished != SIGSTOP &&
		signal_is_free(wished))
		return wished;
	for (int number = SIGNAL_HIGH; number >= SIGNAL_LOW; number--) {
		if (number != except && signal_is_free(number))
			return number;
	}
	return 0;
}

int world_signal(void)
{
	int number = load_acquire(&signal_number);

	if (number == 0) {
		int found = find_free_signal(0);

		cas_seq(&signal_number, 0, found ? found : -1);
		number = load_acquire(&signal_number);
	}
	return number > 0 ? number : 0;
}

int stop_signal_number(void)
{
	return load_seq(&signal_number);
}

bool world_prepare(void)
{
	struct kernel_action action;
	int number = world_signal();

	if (number == 0 || !kernel_action_read(number, &action))
		return false;
	if (world_is_stop_handler((uintptr_t)action.handler))
		return true;
	if (action.handler != (void *)SIG_DFL && action.handler != (void *)SIG_IGN) {
		// taken behind our back: leave it to whoever took it
		int other = find_free_signal(number);

		if (other == 0)
			return false;
		store_seq(&signal_number, other);
		return stop_handler_install(other);
	}
	return stop_handler_install(number);
}

bool world_move_signal(int number)
{
	int other;

	if (load_seq(&signal_number) != number)
		return true;
	other = find_free_signal(number);
	return other != 0 && stop_handler_install(other) && cas_seq(&signal_number, number, other);
}

static void note_debt(struct thread *thread, void *argument)
{
	*(bool *)argument |= load_seq(&thread->owes) != 0;
}

/* The collector reads signal_number after it has set STOPPING: once the word is seen at rest, later stops use the new number. */
bool world_yield_signal(int number)
{
	enum { ATTEMPTS = 200, ATTEMPT_NS = 1000000 };
	struct kernel_action former = {.handler = 0};

	if (load_seq(&signal_number) != number)
		return true;
	if (!world_move_signal(number))
		return false;
	for (int i = 0; i < ATTEMPTS; i++) {
		static uint32_t never;
		bool somebody_owes = false;

		threads_for_each(note_debt, &somebody_owes);
		if (!world_word_is_in_force(load_seq(&world_word)) && !somebody_owes)
			return kernel_action_write(number, &former);
		futex_wait(&never, 0, ATTEMPT_NS);
	}
	return false;
}

void gate_forbid_signals(void)
{
	struct thread *thread = thread_current;
	uint64_t number = 1ull << ((load_relaxed(&signal_number) - 1) & (SIGNAL_COUNT - 1));
	uint64_t former;

	if (!thread || thread->tid != thread_id_now())
		return;
	store_seq(&thread->exempt, 1); // the collector looks at it again after it has set `owes`
	if (load_seq(&thread->owes) == 0)
		return;
	SYSCALL(rt_sigprocmask, SIG_UNBLOCK, &number, &former, sizeof(former));
	while (load_seq(&thread->owes) != 0)
		SYSCALL(sched_yield);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &former, 0, sizeof(former));
}

/* ---- other handlers ---- */

static bool handler_is_known(const struct kernel_action *action)
{
	if (action->handler == (void *)SIG_DFL || action->handler == (void *)SIG_IGN ||
		world_is_stop_handler((uintptr_t)action->handler))
		return true;
	return world_hooks.handler_is_known &&
	       world_hooks.handler_is_known((uintptr_t)action->handler);
}

void stop_signal_read_back(void)
{
	for (int number = 1; number <= SIGNAL_COUNT && gates_count(); number++) {
		struct kernel_action action;

		if (number == SIGKILL || number == SIGSTOP || number == SIGNAL_CANCEL ||
			number == SIGNAL_SETXID)
			continue;
		if (kernel_action_read(number, &action) && !handler_is_known(&action))
			gates_distrust();
	}
}
