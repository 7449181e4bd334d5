/*
 * What the files of the program's signals share: signals.c (dispositions, the trampoline), signals_mask.c, signals_run.c (handlers, alternate stacks) and signals_old.c.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum { SIGNAL_COUNT = 64 };

/* The number's bit in a mask's first word; 0 for what is no signal's. */
static inline unsigned long signal_bit(int number)
{
	return number > 0 ? 1ul << (number - 1) : 0;
}

/* The first word of a sigset_t is all that the kernel takes. */
static inline unsigned long mask_word(const sigset_t *set)
{
	return *(const unsigned long *)set;
}

static inline void mask_set_word(sigset_t *set, unsigned long word)
{
	*(unsigned long *)set = word;
}

static inline bool signal_is_handler(const void *handler)
{
	return handler != (void *)SIG_DFL && handler != (void *)SIG_IGN &&
	       handler != (void *)SIG_ERR;
}

/* The number that stops threads; 0 without a collector: nothing is ever stopped then, and the program's masks are its own. */
int signals_own_number(void);

/* As signals_strip(), for masks that libc itself reads. */
const sigset_t *signals_strip_readable(const sigset_t *mask, sigset_t *ret_copy);

/*
 * Runs one of the program's handlers as the kernel would. errno is the handler's business. `restorer` is where libc lets handlers return to, 0: not known. Async-signal-safe.
 */
void signals_run_handler(void (*handler)(int, siginfo_t *, void *), int number, siginfo_t *info,
	void *context, uintptr_t restorer);

/* Another name libc gives the same function. */
#define SIGNAL_SAME(name, other) \
	extern __typeof__(name) name##_as_##other __asm__(#other) \
		__attribute__((alias(#name), visibility("default"), nothrow, leaf));
