/*
 * Daemons end by SIGTERM, tests by abort: with report=WHERE the leak check comes before such an end. For each number below whose action is the default one the
 * kernel has our trampoline (signals.c), and the program is told SIG_DFL. A child that is executed has the default action, as after any handler.
 *
 * The handler has the collector thread make the check (core/gc/last_words.h), with a time limit, then puts the default action back and sends itself the
 * signal: the process dies of it as it would have, with the same status. It runs on whatever stack the kernel finds, so it does next to nothing itself.
 *
 *	interrupted inside malloc	our locks are only held with signals blocked (lock.h), so none is held; the cache is taken away by the trampoline
 *	inside libc, with its locks	the check calls no libc, nor does the handler. The program's stdio buffers are not flushed, as without us
 *	at a gate			the trampoline leaves it, the handler enters it again: the thread counts as stopped where it was interrupted
 *	while it looks for leaks	in exit: the handler returns, and the process dies when that check is done
 *	while another thread does	the handler waits for that one
 *	a second such signal		to this thread: it is blocked; to another: that one waits for the same check. The first one's number wins
 *	no collector thread		none can be made here: no check. So one is made as soon as the program waits or allocates, if a report is wanted
 *	a vfork child			runs on its parent's memory: dies at once
 *	a forked child			its own check, unless report_children=off
 *	process 1 of a namespace	such signals do nothing there, and must not end it
 *
 * SIGSEGV and the like are not taken over: the memory that would be looked at may be what is broken. For SIGABRT the limit is a second. With a handler of the
 * program's for it, abort() comes here after that one has returned.
 */
#include "preload/last_signal.h"

#include "core/base/attr.h"
#include "core/base/atomic.h"
#include "core/gc/last_words.h"
#include "core/gc/leak_check.h"
#include "core/os/clock.h"
#include "core/os/kernel_action.h"
#include "core/os/syscall.h"
#include "preload/real.h"
#include "preload/signals.h"
#include "preload/start.h"

#include <stdlib.h>

#define LIMIT_NS (10 * NS_PER_S)
#define ABORT_LIMIT_NS NS_PER_S

static const int numbers[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM};

/* Bit per number: taken over. Written at start. */
static uint64_t taken;

static int32_t waiting_number; // came to a thread that was looking for leaks; 0: none. Atomic

static uint64_t bit_of(int number)
{
	return 1ull << (number - 1);
}

bool last_signal_is_ours(int number)
{
	return (taken & bit_of(number)) != 0;
}

void last_signal_init(void)
{
	if (!start_reports() || !leak_check_is_wanted() || SYSCALL(getpid) == 1)
		return;
	last_words_hook = start_leave;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		taken |= bit_of(numbers[i]);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		signals_take_over(numbers[i]);
}

void last_signal_die(int number)
{
	struct kernel_action standard = {0};
	uint64_t mask = bit_of(number);
	long process = SYSCALL(getpid), thread = SYSCALL(gettid);

	kernel_action_write(number, &standard);
	SYSCALL(tgkill, process, thread, number);
	SYSCALL(rt_sigprocmask, SIG_UNBLOCK, &mask, 0, sizeof(mask));
	for (;;)
		SYSCALL(exit_group, 128 + number);
}

void last_signal_settle(void)
{
	int number = load_seq(&waiting_number);

	if (number != 0)
		last_signal_die(number);
}

void last_signal_handle(int number, siginfo_t *info, void *context)
{
	bool is_abort = number == SIGABRT;

	(void)info;
	(void)context;
	if (SYSCALL(getpid) == 1)
		return;
	if (!start_speak_last(is_abort ? ABORT_LIMIT_NS : LIMIT_NS,
		    is_abort ? FINDINGS_REASON_ABORT : FINDINGS_REASON_SIGNAL)) {
		cas_seq(&waiting_number, 0, number);
		return;
	}
	last_signal_die(number);
}

/* The program's handler has its turn, as ever. When it returns the check is made; what libc does then finds the default action. */
static void abort_after_handler(void)
{
	uint64_t mask = bit_of(SIGABRT);
	long process = SYSCALL(getpid), thread = SYSCALL(gettid);

	SYSCALL(rt_sigprocmask, SIG_UNBLOCK, &mask, 0, sizeof(mask));
	SYSCALL(tgkill, process, thread, SIGABRT);
	if (start_speak_last(ABORT_LIMIT_NS, FINDINGS_REASON_ABORT))
		last_signal_die(SIGABRT);
}

EXPORT void abort(void)
{
	if (last_signal_is_ours(SIGABRT) && !signals_is_vfork_child() &&
		signals_program_handles(SIGABRT))
		abort_after_handler();
	REAL(abort)();
	for (;;)
		SYSCALL(exit_group, 128 + SIGABRT);
}
