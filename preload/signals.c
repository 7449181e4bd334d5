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
#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/gc/thread.h"
#include "core/gc/world.h"
#include "core/os/kernel_action.h"
#include "core/os/lock.h"
#include "core/os/peek.h"
#include "core/os/syscall.h"
#include "preload/deferred.h"
#include "preload/last_signal.h"
#include "preload/real.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/ucontext.h>
#include <ucontext.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

enum {
	SIGNAL_COUNT = 64,
	SMALL_SET = 8, // a set of at most so many real-time signals names ours on purpose
	FIRST_REAL_TIME = 34,
};

#define REAL_TIME_BITS (~0ul << (FIRST_REAL_TIME - 1))

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
	sigset_t
		restarting_off; // siginterrupt(number, 1); guarded by the program's own order, as in libc
	uintptr_t
		restorer; // where libc lets handlers return to; 0: no handler was installed yet. Atomic, lock SIGNALS to write
	bool is_ready;
} signals = {.lock = LOCK_INITIAL(SIGNALS)};

/* Bounds of this library's own code (the linker's). */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

static void trampoline(int number, siginfo_t *info, void *context);

static bool is_handler(const void *handler)
{
	return handler != (void *)SIG_DFL && handler != (void *)SIG_IGN &&
	       handler != (void *)SIG_ERR;
}

bool signals_is_vfork_child(void)
{
	struct thread *thread = thread_current;

	return thread && load_relaxed(&thread->is_in_vfork) && thread_id_now() != thread->tid;
}

/* ---- masks ---- */

static unsigned long bit_of(int number)
{
	return number > 0 ? 1ul << (number - 1) : 0;
}

/* The first word of a sigset_t is all that the kernel takes. */
static unsigned long word_of(const sigset_t *set)
{
	return *(const unsigned long *)set;
}

static void set_word(sigset_t *set, unsigned long word)
{
	*(unsigned long *)set = word;
}

static bool names_on_purpose(unsigned long set, int number)
{
	return (set & bit_of(number)) != 0 && count_bits(set & REAL_TIME_BITS) <= SMALL_SET;
}

/* Without a collector nothing is ever stopped, and the program's masks are its own. */
static int stop_signal(void)
{
	return options.collector == COLLECTOR_OFF ? 0 : world_signal();
}

bool signals_strip_word(const unsigned long *mask, unsigned long *ret_stripped)
{
	int number = stop_signal();

	if (!mask || number == 0 || !peek_is_readable(mask, sizeof(*mask)) ||
		(*mask & bit_of(number)) == 0)
		return false;
	*ret_stripped = *mask & ~bit_of(number);
	return true;
}

/* For masks that libc itself reads. */
static const sigset_t *strip(const sigset_t *mask, sigset_t *ret_copy)
{
	int number = stop_signal();

	if (!mask || (word_of(mask) & bit_of(number)) == 0)
		return mask;
	*ret_copy = (sigset_t){{0}};
	set_word(ret_copy, word_of(mask) & ~bit_of(number));
	return ret_copy;
}

const sigset_t *signals_strip(const sigset_t *mask, sigset_t *ret_copy)
{
	unsigned long stripped;

	if (!signals_strip_word((const unsigned long *)mask, &stripped))
		return mask;
	*ret_copy = (sigset_t){{0}};
	set_word(ret_copy, stripped);
	return ret_copy;
}

const sigset_t *signals_strip_waited(const sigset_t *set, sigset_t *ret_copy)
{
	int number = stop_signal();

	if (set && number != 0 && peek_is_readable(set, sizeof(unsigned long)) &&
		names_on_purpose(word_of(set), number) && world_yield_signal(number))
		return set;
	return signals_strip(set, ret_copy);
}

/* What the program believes of our number in this thread, after setting `set` by `how`. */
static void note_virtual_mask(struct thread *thread, int how, unsigned long set, int number)
{
	bool is_named = (set & bit_of(number)) != 0;

	if (how == SIG_SETMASK)
		thread->virtual_mask = is_named;
	else if (is_named)
		thread->virtual_mask = how == SIG_BLOCK;
}

typedef int mask_function(int how, const sigset_t *set, sigset_t *ret_old);

/* A thread that never allocated has no record yet to keep its belief in. */
static struct thread *thread_for_mask(unsigned long wanted, int number)
{
	if (!thread_current && (wanted & bit_of(number)) != 0 && alloc_init())
		thread_attach();
	return thread_current;
}

static int change_mask(mask_function *change, int how, const sigset_t *set, sigset_t *ret_old)
{
	int number = stop_signal(), former = number;
	struct thread *thread = thread_for_mask(set ? word_of(set) : 0, number);
	bool was_blocked = thread && thread->virtual_mask;
	unsigned long wanted = set ? word_of(set) : 0;
	sigset_t stripped;
	int result;

	if (how != SIG_UNBLOCK && names_on_purpose(wanted, number)) {
		world_yield_signal(number);
		number =
			stop_signal(); // also where signals with the former one are still under way
	}
	result = change(how, strip(set, &stripped), ret_old);
	if (result != 0 || !thread || number == 0 || signals_is_vfork_child())
		return result;
	if (ret_old && was_blocked)
		set_word(ret_old, word_of(ret_old) | bit_of(former));
	if (number != former)
		thread->virtual_mask = 0; // of the new one the kernel's mask tells the truth
	if (set)
		note_virtual_mask(thread, how, wanted, number);
	return 0;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return change_mask(&REAL(sigprocmask), how, set, ret_old);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return change_mask(&REAL(pthread_sigmask), how, set, ret_old);
}

EXPORT int pthread_attr_setsigmask_np(pthread_attr_t *attributes, const sigset_t *mask)
{
	sigset_t stripped;

	return REAL(pthread_attr_setsigmask_np)(attributes, strip(mask, &stripped));
}

EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t stripped;

	return REAL(signalfd)(fd, signals_strip_waited(set, &stripped), flags);
}

/* ---- dispositions ---- */

static void note(struct disposition *disposition, const struct sigaction *action)
{
	store_seq(&disposition->handler, action->sa_sigaction);
	disposition->flags = action->sa_flags;
	disposition->mask = action->sa_mask;
	disposition->is_last = false;
	set_word(&disposition->mask,
		word_of(&disposition->mask) &
			~(bit_of(SIGKILL) | bit_of(SIGSTOP))); // the kernel never blocks these
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
	set_word(&ret_action->sa_mask, word_of(&disposition->mask));
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

	installed.sa_mask = *strip(&action->sa_mask, &stripped);
	if (is_handler((void *)action->sa_handler)) {
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
	if (!is_handler((void *)action->sa_handler))
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
		if (is_handler((void *)action->sa_handler))
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
	bool is_claim =
		action && (is_handler((void *)action->sa_handler) || number != stop_signal());

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
		set_word(&signals.table[number].mask, now.mask);
	}
	lock_release(&signals.lock);
	signals_restore(&guard);
}

bool signals_program_handles(int number)
{
	struct sigaction action;

	return sigaction(number, 0, &action) == 0 && is_handler((void *)action.sa_handler);
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
	if (number == stop_signal() || world_has_signal(number))
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

#define SAME(name, other) \
	extern __typeof__(name) name##_as_##other __asm__(#other) \
		__attribute__((alias(#name), visibility("default"), nothrow, leaf));
SAME(sigaction, __sigaction)

/* ---- the older interfaces, as libc makes them from sigaction ---- */

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
	bool restarts = number > 0 && number <= SIGNAL_COUNT &&
			!sigismember(&signals.restarting_off, number);

	return set_handler(number, handler, restarts ? SA_RESTART : 0, true);
}
SAME(signal, bsd_signal)
SAME(signal, ssignal)

/* The public declarations of these bear versions of their own. */
sighandler_t __sysv_signal(int number, sighandler_t handler);

EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	return set_handler(number, handler, SA_RESETHAND | SA_NODEFER, false);
}
SAME(__sysv_signal, sysv_signal)

EXPORT int siginterrupt(int number, int interrupts)
{
	struct sigaction action;

	if (sigaction(number, 0, &action) != 0)
		return -1;
	if (interrupts) {
		sigaddset(&signals.restarting_off, number);
		action.sa_flags &= ~SA_RESTART;
	} else {
		sigdelset(&signals.restarting_off, number);
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
	set_word(&set, (unsigned)mask);
	return sigprocmask(SIG_BLOCK, &set, &old) == 0 ? (int)word_of(&old) : -1;
}

EXPORT int sigsetmask(int mask)
{
	sigset_t set, old;

	sigemptyset(&set);
	set_word(&set, (unsigned)mask);
	return sigprocmask(SIG_SETMASK, &set, &old) == 0 ? (int)word_of(&old) : -1;
}

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
static bool interrupted_own_code(const ucontext_t *context)
{
#if defined(__x86_64__)
	enum { MOVE_BYTES = 7, NESTING_MAX = 64 }; // mov $15, %rax; syscall
	uintptr_t restorer = load_relaxed(&signals.restorer);

	for (int i = 0; i < NESTING_MAX && restorer != 0; i++) {
		uintptr_t at = interrupted_at(context);

		if (at != restorer && at != restorer + MOVE_BYTES)
			break;
		context = (const ucontext_t *)context->uc_mcontext.gregs[REG_RSP];
	}
#endif
	return is_own_code(interrupted_at(context));
}

/* Runs one of the program's handlers as the kernel would. errno is the handler's business. */
static void run_handler(
	void (*handler)(int, siginfo_t *, void *), int number, siginfo_t *info, void *context)
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
		if (interrupted_own_code(context))
			thread_cache_take_away(
				&interruption.loan, (uintptr_t)__builtin_frame_address(0));
	}
	handler(number, info, context);
}

static void trampoline(int number, siginfo_t *info, void *context)
{
	if (signals_are_deferred()) {
		deferred_take(number, info, context, load_relaxed(&signals.table[number].changes));
		return;
	}
	deferred_exchange(number, info);
	if (signals.table[number].is_last && signals_is_vfork_child())
		last_signal_die(number); // on its parent's record nothing must be changed
	run_handler(load_seq(&signals.table[number].handler), number, info, context);
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
	inner |= word_of(&action.sa_mask);
	if (!(action.sa_flags & SA_NODEFER))
		inner |= bit_of(number);
	getcontext(&context);
	SYSCALL(sigaltstack, 0, &context.uc_stack);
	set_word(&context.uc_sigmask, mask);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &inner, 0, sizeof(inner));
	run_handler(load_seq(&signals.table[number].handler), number, info, &context);
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
	set_word(&context->uc_sigmask, word_of(&context->uc_sigmask) | bit_of(number));
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
	unsigned long mask = bit_of(number);
	long process, thread;

	if (is_handler((void *)handler)) {
		trampoline(number, info, context);
		return false;
	}
	if ((void *)handler == (void *)SIG_IGN || is_ours)
		return true;
	if (thread_current && thread_current->virtual_mask) {
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
	return is_handler((void *)load_seq(&signals.table[number].handler));
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
