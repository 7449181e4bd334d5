/*
 * The older interfaces to signals, as libc makes them from sigaction() and sigprocmask(): from ours, so that the table of signals.c knows of all.
 */
#include "preload/signals_inside.h"

#include "core/base/attr.h"

#include <errno.h>

/* siginterrupt(number, 1). Guarded by the program's own order, as in libc. */
static sigset_t restarting_off;

static sighandler_t set_handler(int number, sighandler_t handler, int flags, bool blocks_itself)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;

	if (handler == SIG_ERR || number <= 0 || number > SIGNAL_COUNT) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&action.sa_mask);
	if (blocks_itself)
		sigaddset(&action.sa_mask, number);
	return sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
	bool restarts =
		number > 0 && number <= SIGNAL_COUNT && !sigismember(&restarting_off, number);

	return set_handler(number, handler, restarts ? SA_RESTART : 0, true);
}
SIGNAL_SAME(signal, bsd_signal)
SIGNAL_SAME(signal, ssignal)

/* The public declarations of these bear versions of their own. */
sighandler_t __sysv_signal(int number, sighandler_t handler);

EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	return set_handler(number, handler, SA_RESETHAND | SA_NODEFER, false);
}
SIGNAL_SAME(__sysv_signal, sysv_signal)

EXPORT int siginterrupt(int number, int interrupts)
{
	struct sigaction action;

	if (sigaction(number, 0, &action) != 0)
		return -1;
	if (interrupts) {
		sigaddset(&restarting_off, number);
		action.sa_flags &= ~SA_RESTART;
	} else {
		sigdelset(&restarting_off, number);
		action.sa_flags |= SA_RESTART;
	}
	return sigaction(number, &action, 0);
}

static int change_one(int how, int number, sigset_t *ret_old)
{
	sigset_t set;

	sigemptyset(&set);
	if (sigaddset(&set, number) != 0)
		return -1;
	return sigprocmask(how, &set, ret_old);
}

EXPORT int sighold(int number)
{
	return change_one(SIG_BLOCK, number, 0);
}

EXPORT int sigrelse(int number)
{
	return change_one(SIG_UNBLOCK, number, 0);
}

EXPORT int sigignore(int number)
{
	struct sigaction action = {.sa_handler = SIG_IGN};

	sigemptyset(&action.sa_mask);
	return sigaction(number, &action, 0);
}

EXPORT sighandler_t sigset(int number, sighandler_t handler)
{
	sighandler_t former = SIG_DFL;
	struct sigaction action;
	sigset_t old;

	if (handler == SIG_ERR || number <= 0 || number > SIGNAL_COUNT) {
		errno = EINVAL;
		return SIG_ERR;
	}
	if (handler == SIG_HOLD) {
		if (change_one(SIG_BLOCK, number, &old) != 0 ||
			(!sigismember(&old, number) && sigaction(number, 0, &action) != 0))
			return SIG_ERR;
		return sigismember(&old, number) ? SIG_HOLD : action.sa_handler;
	}
	former = set_handler(number, handler, 0, false);
	if (former == SIG_ERR || change_one(SIG_UNBLOCK, number, &old) != 0)
		return SIG_ERR;
	return sigismember(&old, number) ? SIG_HOLD : former;
}

EXPORT int sigblock(int mask)
{
	sigset_t set, old;

	sigemptyset(&set);
	mask_set_word(&set, (unsigned)mask);
	return sigprocmask(SIG_BLOCK, &set, &old) == 0 ? (int)mask_word(&old) : -1;
}

EXPORT int sigsetmask(int mask)
{
	sigset_t set, old;

	sigemptyset(&set);
	mask_set_word(&set, (unsigned)mask);
	return sigprocmask(SIG_SETMASK, &set, &old) == 0 ? (int)mask_word(&old) : -1;
}
