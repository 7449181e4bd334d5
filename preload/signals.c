/*
 * The program's signals. Three things are between it and the kernel:
 *
 * Our stop signal can neither be taken nor blocked. Its number (chosen by core/gc/stop_signal.c near the top of the real-time ones) is taken out of every mask the
 * program sets and of every set it waits for; asked for its mask the program sees what it set. A program that wants the number for itself (installs a
 * handler, waits for it or blocks it by a set of few signals) gets it: ours moves to another one. So it does when somebody sends the number to a thread that
 * has blocked all. When no other is free the number stays ours, and whatever is not sent by us goes to the program's handler from there.
 *
 * Handlers run behind a trampoline, which the kernel calls in their place. A handler may interrupt a thread that counts as stopped (inside a wrapped blocking
 * call): the trampoline leaves the gate first, waiting out a pause, and enters it again after. A handler may interrupt malloc itself: then it runs without
 * the thread's cache. The handler gets number, siginfo and context as from the kernel, on the same stack; leaving it by siglongjmp or by an exception is
 * fine. SA_RESETHAND, SA_NODEFER, SA_RESTART, SA_ONSTACK and masks are left to the kernel.
 *
 * sigaltstack is noted in the thread's record, for only the kernel knows where it is; the trampoline compares, for there is the raw call, too.
 *
 * The table: per signal the program's handler, which is all that the trampoline reads (one word, atomic), and flags and mask as the program gave them, for
 * sigaction's answer (lock SIGNALS, signals blocked). What the kernel says wins: only where it names the trampoline does the table count. A handler is
 * entered in the table before the kernel learns of it, and stays there after it is replaced by SIG_DFL: a delivery under way finds it.
 *
 * Where a report is wanted, and the default action would end the process, the table has a handler of ours (last_signal.c), and the program is told SIG_DFL.
 *
 * Without a collector sections of ours do not block signals, and the trampoline holds handlers off that would run in one (deferred.c). That ends for ever with
 * the first sign that something may run in a section all the same: a handler set by a system call of the program's own, or a thread that may be cancelled at any
 * instruction (libc's handler for that is behind no trampoline).
 *
 * A vfork child shares this memory but not its dispositions: its calls go straight to the kernel.
 */
#include "preload/signals.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/option.h"
#include "core/gc/thread.h"
#include "core/gc/world.h"
#include "core/os/kernel_action.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"
#include "preload/deferred.h"
#include "preload/last_signal.h"
#include "preload/real.h"
#include "preload/signals_inside.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/ucontext.h>
#include <ucontext.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* What the program asked for. */
struct disposition {
	void (*handler)(
		int, siginfo_t *, void *); // atomic; the trampoline reads it without the lock
	int flags;
	sigset_t mask;
	bool is_virtual; // the kernel has our stop handler at this number; this is what the program knows
	bool is_last; // the program has the default action, which ends the process: `handler` is ours (last_signal.c)
	uint32_t changes; // atomic; how often the program has set an action
};

static struct {
	struct lock lock; // rank SIGNALS
	struct disposition table[SIGNAL_COUNT + 1];
	uintptr_t
		restorer; // where libc lets handlers return to; 0: no handler was installed yet. Atomic, lock SIGNALS to write
	bool is_ready;
} signals = {.lock = LOCK_INITIAL(SIGNALS)};

static void trampoline(int number, siginfo_t *info, void *context);

bool signals_is_vfork_child(void)
{
	struct thread *thread = thread_current;

	return thread && load_relaxed(&thread->is_in_vfork) && thread_id_now() != thread->tid;
}

/* ---- dispositions ---- */

static void note(struct disposition *disposition, const struct sigaction *action)
{
	store_seq(&disposition->handler, action->sa_sigaction);
	disposition->flags = action->sa_flags;
	disposition->mask = action->sa_mask;
	disposition->is_last = false;
	mask_set_word(&disposition->mask,
		mask_word(&disposition->mask) &
			~(signal_bit(SIGKILL) |
				signal_bit(SIGSTOP))); // the kernel never blocks these
}

/* `ret_action` is the kernel's answer about the trampoline. It has dropped flags that it does not know. */
static void tell(const struct disposition *disposition, struct sigaction *ret_action)
{
	if (disposition->is_last) {
		*ret_action = (struct sigaction){.sa_handler = SIG_DFL,
			.sa_flags = disposition->flags,
			.sa_mask = disposition->mask};
		return;
	}
	ret_action->sa_sigaction = disposition->handler;
	ret_action->sa_flags =
		(ret_action->sa_flags & ~SA_SIGINFO) | (disposition->flags & SA_SIGINFO);
	mask_set_word(&ret_action->sa_mask, mask_word(&disposition->mask));
}

/* The kernel has our stop handler there. */
static void tell_virtual(const struct disposition *disposition, struct sigaction *ret_action)
{
	*ret_action = (struct sigaction){.sa_sigaction = disposition->handler,
		.sa_flags = disposition->flags,
		.sa_mask = disposition->mask};
}

/* What the kernel is to be told in place of the program's action. */
static struct sigaction behind_trampoline(const struct sigaction *action)
{
	struct sigaction installed = *action;
	sigset_t stripped;

	installed.sa_mask = *signals_strip_readable(&action->sa_mask, &stripped);
	if (signal_is_handler((void *)action->sa_handler)) {
		installed.sa_sigaction = trampoline;
		installed.sa_flags |= SA_SIGINFO;
	}
	return installed;
}

/* The default action, behind ours: all signals wait but the one that stops threads. `action` is what the program is told. */
static struct sigaction behind_last_words(
	struct disposition *disposition, const struct sigaction *action)
{
	const int known = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART |
			  SA_NODEFER | (int)SA_RESETHAND;
	struct sigaction installed = {.sa_sigaction = last_signal_handle, .sa_flags = SA_ONSTACK};

	note(disposition, action);
	store_seq(&disposition->handler, last_signal_handle);
	disposition->flags = (action->sa_flags & known) | SA_RESTORER; // libc's doing
	disposition->is_last = true;
	sigfillset(&installed.sa_mask);
	return behind_trampoline(&installed);
}

/* Our number, which could not be given away: the kernel keeps our handler. */
static int set_virtual_locked(
	struct disposition *disposition, const struct sigaction *action, struct sigaction *ret_old)
{
	if (ret_old)
		tell_virtual(disposition, ret_old);
	if (action) {
		note(disposition, action);
		disposition->flags |= SA_RESTORER; // libc's doing
	}
	return 0;
}

/* libc has one restorer for all handlers, and names it only to the kernel. */
static void note_restorer(int number)
{
	struct kernel_action action;

	if (kernel_action_read(number, &action))
		store_relaxed(&signals.restorer, (uintptr_t)action.restorer);
}

static void note_change(int number, const struct sigaction *action)
{
	if (load_relaxed(&signals.restorer) == 0)
		note_restorer(number);
	if (!signal_is_handler((void *)action->sa_handler))
		deferred_forget(number, action->sa_handler == SIG_IGN);
	add_relaxed(&signals.table[number].changes, 1);
}

static int set_locked(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct disposition *disposition = &signals.table[number];
	struct disposition former = *disposition;
	struct sigaction installed, old;
	int result;

	if (disposition->is_virtual && world_has_signal(number))
		return set_virtual_locked(disposition, action, ret_old);
	if (action && action->sa_handler == SIG_DFL && last_signal_is_ours(number)) {
		installed = behind_last_words(disposition, action);
	} else if (action) {
		installed = behind_trampoline(action);
		if (signal_is_handler((void *)action->sa_handler))
			note(disposition, action);
	}
	result = REAL(sigaction)(number, action ? &installed : 0, &old);
	if (result != 0) {
		*disposition = former;
		return result;
	}
	if (action)
		note_change(number, action);
	if (old.sa_sigaction == trampoline)
		tell(&former, &old);
	else if (former.is_virtual) // it was ours when the program set it
		tell_virtual(&former, &old);
	disposition->is_virtual &= !action;
	if (ret_old)
		*ret_old = old;
	return 0;
}

/* The program means our number, or a former one. It gets it when another is free for us, unless it only asks, or resets the one in use. */
static void give_way(int number, const struct sigaction *action)
{
	bool is_claim = action && (signal_is_handler((void *)action->sa_handler) ||
					  number != signals_own_number());

	if (is_claim && world_yield_signal(number))
		return;
	signals.table[number].is_virtual = true;
	world_prepare(); // from now on what arrives comes to our handler
}

void signals_take_over(int number)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	struct kernel_action now;
	struct signal_guard guard;
	struct sigaction old;

	signals_block(&guard);
	lock_acquire(&signals.lock);
	if (kernel_action_read(number, &now) && now.handler == (void *)SIG_DFL &&
		set_locked(number, &standard, &old) == 0) {
		signals.table[number].flags = (int)now.flags;
		mask_set_word(&signals.table[number].mask, now.mask);
	}
	lock_release(&signals.lock);
	signals_restore(&guard);
}

bool signals_program_handles(int number)
{
	struct sigaction action;

	return sigaction(number, 0, &action) == 0 && signal_is_handler((void *)action.sa_handler);
}

/* A vfork child has dispositions of its own; of its parent's handlers it is told what the parent would be. */
static int set_in_vfork_child(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	int result = REAL(sigaction)(number, action, ret_old);

	if (result == 0 && ret_old && ret_old->sa_sigaction == trampoline)
		tell(&signals.table[number], ret_old);
	return result;
}

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct signal_guard guard;
	struct sigaction wanted, old;
	int result;

	if (number <= 0 || number > SIGNAL_COUNT || number == SIGKILL || number == SIGSTOP)
		return REAL(sigaction)(number, action, ret_old);
	if (signals_is_vfork_child())
		return set_in_vfork_child(number, action, ret_old);
	if (action)
		wanted = *action; // here, where a bad pointer faults without a lock held
	signals_init();
	if (number == signals_own_number() || world_has_signal(number))
		give_way(number, action ? &wanted : 0);
	signals_block(&guard);
	lock_acquire(&signals.lock);
	result = set_locked(number, action ? &wanted : 0, &old);
	lock_release(&signals.lock);
	signals_restore(&guard);
	if (result == 0 && ret_old)
		*ret_old = old;
	return result;
}

SIGNAL_SAME(sigaction, __sigaction)

/* ---- running a handler ---- */

static void trampoline(int number, siginfo_t *info, void *context)
{
	if (signals_are_deferred()) {
		deferred_take(number, info, context, load_relaxed(&signals.table[number].changes));
		return;
	}
	deferred_exchange(number, info);
	if (signals.table[number].is_last && signals_is_vfork_child())
		last_signal_die(number); // on its parent's record nothing must be changed
	signals_run_handler(load_seq(&signals.table[number].handler), number, info, context,
		load_relaxed(&signals.restorer));
}

/* ---- handlers that were held off ---- */

bool signals_is_one_shot(int number)
{
	return (signals.table[number].flags & SA_RESETHAND) != 0;
}

void signals_rearm(int number, uint32_t disposition)
{
	struct disposition *own = &signals.table[number];
	struct sigaction action, now;

	if (!signals_is_one_shot(number))
		return;
	lock_acquire(&signals.lock);
	action = (struct sigaction){
		.sa_sigaction = own->handler, .sa_flags = own->flags, .sa_mask = own->mask};
	if (disposition == own->changes && REAL(sigaction)(number, 0, &now) == 0 &&
		now.sa_handler == SIG_DFL) {
		action = behind_trampoline(&action);
		REAL(sigaction)(number, &action, 0);
	}
	lock_release(&signals.lock);
}

void signals_handle(int number, siginfo_t *info, uint64_t mask)
{
	uint64_t inner = mask, all = UINT64_MAX;
	struct sigaction action, standard = {.sa_handler = SIG_DFL};
	ucontext_t context = {0};

	if (REAL(sigaction)(number, 0, &action) != 0 || action.sa_sigaction != trampoline)
		return;
	if (action.sa_flags & (int)SA_RESETHAND)
		REAL(sigaction)(number, &standard, 0);
	inner |= mask_word(&action.sa_mask);
	if (!(action.sa_flags & SA_NODEFER))
		inner |= signal_bit(number);
	getcontext(&context);
	SYSCALL(sigaltstack, 0, &context.uc_stack);
	mask_set_word(&context.uc_sigmask, mask);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &inner, 0, sizeof(inner));
	signals_run_handler(load_seq(&signals.table[number].handler), number, info, &context,
		load_relaxed(&signals.restorer));
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
}

/* ---- our own number ---- */

/*
 * It came to a thread in which the program believes it blocked. Now it is, and another number stops threads: sent again it waits for whoever asks for it. One
 * sent to the process may come to each such thread in turn, until all block it or one waits for it.
 */
static void keep_pending(int number, siginfo_t *info, ucontext_t *context)
{
	long process = SYSCALL(getpid), thread = SYSCALL(gettid);

	if (!world_move_signal(number))
		return; // no other is free
	signals_correct_wait();
	mask_set_word(&context->uc_sigmask, mask_word(&context->uc_sigmask) | signal_bit(number));
	if (info->si_code == SI_TKILL)
		SYSCALL(rt_tgsigqueueinfo, process, thread, number, info);
	else
		SYSCALL(rt_sigqueueinfo, thread, number,
			info); // by a thread's id it goes to the process, with any si_code
}

/*
 * Our number, but not from us: to the program's handler, if it has one at this number. A stray signal of our own making is dropped; any other has its
 * default effect, which for these numbers is the end of the process.
 */
static bool on_foreign_signal(int number, void *info, void *context)
{
	void (*handler)(int, siginfo_t *, void *) = load_seq(&signals.table[number].handler);
	const siginfo_t *details = info;
	bool is_ours = details->si_code == SI_TKILL && details->si_pid == (int)SYSCALL(getpid);
	const struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} standard = {0};
	unsigned long mask = signal_bit(number);
	long process, thread;

	if (signal_is_handler((void *)handler)) {
		trampoline(number, info, context);
		return false;
	}
	if ((void *)handler == (void *)SIG_IGN || is_ours)
		return true;
	// a thread that has not begun has its creator's belief, but we do not know whose
	if (!thread_current || thread_current->virtual_mask) {
		keep_pending(number, info, context);
		return true;
	}
	process = SYSCALL(getpid);
	thread = SYSCALL(gettid);
	SYSCALL(rt_sigaction, number, &standard, 0, sizeof(mask));
	SYSCALL(tgkill, process, thread, number);
	SYSCALL(rt_sigprocmask, SIG_UNBLOCK, &mask, 0, sizeof(mask));
	return false;
}

static bool is_claimed(int number)
{
	return signal_is_handler((void *)load_seq(&signals.table[number].handler));
}

static bool is_trampoline(uintptr_t handler)
{
	return handler == (uintptr_t)trampoline;
}

void signals_init(void)
{
	if (signals.is_ready)
		return;
	deferred_init();
	world_hooks.signal_is_claimed = is_claimed;
	world_hooks.foreign_signal = on_foreign_signal;
	world_hooks.handler_is_known = is_trampoline;
	world_hooks.signal_frame_bytes = getauxval(AT_MINSIGSTKSZ);
	signals.is_ready = true;
}

__attribute__((constructor(102))) static void signals_constructor(void)
{
	signals_init();
}

struct lock *signals_lock(void)
{
	return &signals.lock;
}
