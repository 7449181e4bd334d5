/*
 * The number of the stop signal, and what the kernel's table of handlers says.
 *
 * It is chosen late, when the first collection wants it: the number the user wished for, or else the first from SIGNAL_HIGH down that nobody handles
 * or claims. When the program wants that very number, ours moves to another one: new stops use the new number, the old one is given back once no stop is in
 * force and nobody owes an answer to a signal that was sent with it. Why that is enough: the collector reads the number after it has written STOPPING.
 * A number that was taken behind our back is left to whoever took it.
 *
 * A program about to exec must not have our signal pending, or it would kill the new program: gate_forbid_signals() sets `exempt`, then looks at `owes`;
 * the collector sets `owes`, then looks at `exempt` (stop_tasks.c). One of the two sees the other. What is owed is taken out of the pending signals, under the
 * number it was sent with; if it is not there it is lost, and nothing is waited for.
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

/* The numbers we have, a bit each: our handler is there, or about to be. Who sets a bit owns the number: nobody else writes its disposition for us. Atomic. */
static uint64_t taken_numbers;

/* ---- the number ---- */

static uint64_t bit_of(int number)
{
	return 1ull << (number - 1);
}

static bool signal_is_free(int number)
{
	struct kernel_action action;

	if (world_hooks.signal_is_claimed && world_hooks.signal_is_claimed(number))
		return false;
	return kernel_action_read(number, &action) && action.handler == (void *)SIG_DFL;
}

static void forget_signal(int number)
{
	and_seq(&taken_numbers, ~bit_of(number));
}

static bool take_signal_if_free(int number)
{
	if (or_seq(&taken_numbers, bit_of(number)) & bit_of(number))
		return false;
	if (signal_is_free(number))
		return true;
	forget_signal(number);
	return false;
}

/* A free number, which is ours from here on, or 0. */
static int take_free_signal(void)
{
	int wished = (int)options.stop_signal;

	if (wished != 0 && wished != SIGKILL && wished != SIGSTOP && take_signal_if_free(wished))
		return wished;
	for (int number = SIGNAL_HIGH; number >= SIGNAL_LOW; number--) {
		if (take_signal_if_free(number))
			return number;
	}
	return 0;
}

/* The standard disposition again: no signal that we sent with this number may be under way. */
static bool give_signal_back(int number)
{
	struct kernel_action standard = {.handler = 0};
	bool is_given = kernel_action_write(number, &standard);

	forget_signal(number);
	return is_given;
}

/* A free number with our handler, or 0. */
static int take_and_install(void)
{
	int number = take_free_signal();

	if (number == 0 || stop_handler_install(number))
		return number;
	forget_signal(number);
	return 0;
}

/*
 * The handler is there before the number is named: who asks for the number takes it out of the program's masks, and then the program's own signals of that
 * number come to us.
 */
int world_signal(void)
{
	int number = load_acquire(&signal_number);

	if (number == 0) {
		int found = take_and_install();

		if (!cas_seq(&signal_number, 0, found ? found : -1) && found)
			give_signal_back(found); // another thread chose
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
	if (action.handler == (void *)SIG_DFL || action.handler == (void *)SIG_IGN)
		return stop_handler_install(number);
	// taken behind our back: leave it to whoever took it
	if (!world_move_signal(number))
		return false;
	forget_signal(number);
	return true;
}

/* A collector that reads the number may send at once. */
bool world_move_signal(int number)
{
	int other;

	if (load_seq(&signal_number) != number)
		return true;
	other = take_and_install();
	if (other == 0)
		return false;
	if (!cas_seq(&signal_number, number, other))
		give_signal_back(other); // it moved meanwhile; with this one nothing was sent
	return true;
}

bool world_has_signal(int number)
{
	return (load_seq(&taken_numbers) & bit_of(number)) != 0;
}

/* Does anybody owe an answer to a signal of this number? */
struct debts {
	uint32_t number;
	bool there_are;
};

static uint32_t owed_number(struct thread *thread)
{
	return load_seq(&thread->owes) & ~(uint32_t)OWES_UNSENT;
}

static void note_debt(struct thread *thread, void *argument)
{
	struct debts *debts = argument;

	debts->there_are |= owed_number(thread) == debts->number;
}

/* The collector reads signal_number after it has set STOPPING: once the word is seen at rest, later stops use the new number. */
bool world_yield_signal(int number)
{
	enum { ATTEMPTS = 200, ATTEMPT_NS = 1000000 };

	if (!world_has_signal(number))
		return true;
	if (!world_move_signal(number))
		return false;
	for (int i = 0; i < ATTEMPTS; i++) {
		static uint32_t never;
		struct debts debts = {.number = (uint32_t)number};

		threads_for_each(note_debt, &debts);
		if (!world_word_is_in_force(load_seq(&world_word)) && !debts.there_are)
			return give_signal_back(number);
		futex_wait(&never, 0, ATTEMPT_NS);
	}
	return false;
}

/* ---- exec ---- */

static void send_again(int number, siginfo_t *info)
{
	long process = SYSCALL(getpid), thread = SYSCALL(gettid);

	if (info->si_code == SI_TKILL)
		SYSCALL(rt_tgsigqueueinfo, process, thread, number, info);
	else
		SYSCALL(rt_sigqueueinfo, thread, number, info); // to the process, as it mostly was
}

/*
 * Takes our signal out of what is pending for this thread. Nothing if it is lost. The program's own with that number, if it has blocked them by a system call,
 * stay in their order.
 */
static void take_pending(int number)
{
	enum { OTHERS_MAX = 16 };
	uint64_t set = bit_of(number);
	struct timespec at_once = {0, 0};
	siginfo_t others[OTHERS_MAX], info;
	size_t count = 0;

	while (count < OTHERS_MAX &&
		!syscall_failed(SYSCALL(rt_sigtimedwait, &set, &info, &at_once, sizeof(set))) &&
		(info.si_code != SI_TKILL || info.si_pid != (int)SYSCALL(getpid)))
		others[count++] = info;
	for (size_t i = 0; i < count; i++)
		send_again(number, &others[i]);
}

/* The collector stands between two instructions of its own there; after seconds it stands for ever. */
static void wait_until_sent(struct thread *thread)
{
	enum { WAITS = 20000, WAIT_NS = 100000 };
	static uint32_t never;

	for (int i = 0; i < WAITS && (load_seq(&thread->owes) & OWES_UNSENT) != 0; i++)
		futex_wait(&never, 0, WAIT_NS);
}

void gate_forbid_signals(void)
{
	struct thread *thread = thread_current;
	uint32_t number;

	if (!thread || thread->tid != thread_id_now())
		return;
	store_seq(&thread->exempt, 1); // the collector looks at it again after it has set `owes`
	wait_until_sent(thread);
	number = owed_number(thread);
	if (number == 0)
		return;
	take_pending((int)number);
	store_seq(&thread->owes, 0);
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
