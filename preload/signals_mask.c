/*
 * Masks and sets of signals, which never have our stop signal in them: it is taken out before the kernel sees them, and asked for its mask the program sees what it set.
 * signals.c tells the whole.
 */
#include "preload/signals_inside.h"

#include "core/alloc/alloc.h"
#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/gc/thread.h"
#include "core/gc/world.h"
#include "core/os/peek.h"
#include "preload/real.h"
#include "preload/signals.h"

#include <sys/signalfd.h>

enum {
	SMALL_SET = 8, // a set of at most so many real-time signals names ours on purpose
	FIRST_REAL_TIME = 34,
};

#define REAL_TIME_BITS (~0ul << (FIRST_REAL_TIME - 1))

static bool names_on_purpose(unsigned long set, int number)
{
	return (set & signal_bit(number)) != 0 && count_bits(set & REAL_TIME_BITS) <= SMALL_SET;
}

int signals_own_number(void)
{
	return options.collector == COLLECTOR_OFF ? 0 : world_signal();
}

bool signals_strip_word(const unsigned long *mask, unsigned long *ret_stripped)
{
	int number = signals_own_number();

	if (!mask || number == 0 || !peek_is_readable(mask, sizeof(*mask)) ||
		(*mask & signal_bit(number)) == 0)
		return false;
	*ret_stripped = *mask & ~signal_bit(number);
	return true;
}

const sigset_t *signals_strip_readable(const sigset_t *mask, sigset_t *ret_copy)
{
	int number = signals_own_number();

	if (!mask || (mask_word(mask) & signal_bit(number)) == 0)
		return mask;
	*ret_copy = (sigset_t){{0}};
	mask_set_word(ret_copy, mask_word(mask) & ~signal_bit(number));
	return ret_copy;
}

const sigset_t *signals_strip(const sigset_t *mask, sigset_t *ret_copy)
{
	unsigned long stripped;

	if (!signals_strip_word((const unsigned long *)mask, &stripped))
		return mask;
	*ret_copy = (sigset_t){{0}};
	mask_set_word(ret_copy, stripped);
	return ret_copy;
}

/* A handler between the loads and the store of `waited` is seen by the number, a later one sees `waited`. */
bool signals_strip_waited_word(
	struct gate_frame *frame, const unsigned long *set, unsigned long *ret_stripped)
{
	int number;

	do {
		number = signals_own_number();
		store_relaxed(&frame->waited, (unsigned long *)0);
		if (!signals_strip_word(set, ret_stripped))
			return false;
		frame->waited_word = *set;
		store_release(&frame->waited, ret_stripped);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	} while (signals_own_number() != number);
	return true;
}

/* A frame counts while its thread is at the gate: whoever leaves it by a jump is not. */
void signals_correct_wait(void)
{
	const struct thread *thread = thread_current;
	enum thread_gate state = thread ? thread_gate_state(thread) : GATE_RUNNING;
	const struct gate_frame *frame = thread ? thread->frame : 0;

	if ((state == GATE_BLOCKED || state == GATE_HELD) && frame && load_acquire(&frame->waited))
		*frame->waited = frame->waited_word & ~signal_bit(signals_own_number());
}

const sigset_t *signals_strip_waited(
	struct gate_frame *frame, const sigset_t *set, sigset_t *ret_copy)
{
	unsigned long *copy = (unsigned long *)ret_copy;
	int number = signals_own_number();

	if (set && number != 0 && peek_is_readable(set, sizeof(unsigned long)) &&
		names_on_purpose(mask_word(set), number) && world_yield_signal(number))
		return set;
	if (!frame)
		return signals_strip(set, ret_copy);
	*ret_copy = (sigset_t){{0}};
	return signals_strip_waited_word(frame, (const unsigned long *)set, copy) ? ret_copy : set;
}

/* What the program believes of our number in this thread, after setting `set` by `how`. */
static void note_virtual_mask(struct thread *thread, int how, unsigned long set, int number)
{
	bool is_named = (set & signal_bit(number)) != 0;

	if (how == SIG_SETMASK)
		thread->virtual_mask = is_named;
	else if (is_named)
		thread->virtual_mask = how == SIG_BLOCK;
}

typedef int mask_function(int how, const sigset_t *set, sigset_t *ret_old);

/* A thread that never allocated has no record yet to keep its belief in. */
static struct thread *thread_for_mask(unsigned long wanted, int number)
{
	if (!thread_current && (wanted & signal_bit(number)) != 0 && alloc_init())
		thread_attach();
	return thread_current;
}

static int change_mask(mask_function *change, int how, const sigset_t *set, sigset_t *ret_old)
{
	int number = signals_own_number(), former = number;
	struct thread *thread = thread_for_mask(set ? mask_word(set) : 0, number);
	bool was_blocked = thread && thread->virtual_mask;
	unsigned long wanted = set ? mask_word(set) : 0;
	sigset_t stripped;
	int result;

	if (how != SIG_UNBLOCK && names_on_purpose(wanted, number)) {
		world_yield_signal(number);
		number =
			signals_own_number(); // also where signals with the former one are still under way
	}
	result = change(how, signals_strip_readable(set, &stripped), ret_old);
	if (result != 0 || !thread || number == 0 || signals_is_vfork_child())
		return result;
	if (ret_old && was_blocked)
		mask_set_word(ret_old, mask_word(ret_old) | signal_bit(former));
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

	return REAL(pthread_attr_setsigmask_np)(
		attributes, signals_strip_readable(mask, &stripped));
}

EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t stripped;

	return REAL(signalfd)(fd, signals_strip_waited(NULL, set, &stripped), flags);
}
