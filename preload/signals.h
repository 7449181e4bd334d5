/*
 * The program's signals: see signals.c.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct gate_frame;

/*
 * The mask without our signal: `mask` itself if it is not in there (or NULL, or not to be read), else *ret_copy. For masks in which a call waits.
 */
const sigset_t *signals_strip(const sigset_t *mask, sigset_t *ret_copy);

/*
 * The same for a set of signals the program waits for; one that names ours on purpose gets it. `frame`: NULL, or as in signals_strip_waited_word().
 */
const sigset_t *signals_strip_waited(
	struct gate_frame *frame, const sigset_t *set, sigset_t *ret_copy);

/* The first 8 bytes of such masks, as system calls take them. False: our signal is not in there, or they cannot be read: the kernel's matter. */
bool signals_strip_word(const unsigned long *mask, unsigned long *ret_stripped);

/*
 * The same for a wait, for which the frame's gate was entered. If our number changes before the wait has begun, `ret_stripped` changes with it: a signal of the
 * number that was ours may have come for the program, and nothing would interrupt the wait any more.
 */
bool signals_strip_waited_word(
	struct gate_frame *frame, const unsigned long *set, unsigned long *ret_stripped);

/* In a handler, when our number has changed: does so. */
void signals_correct_wait(void);

/* It runs on its parent's record, and on its thread-local data. */
bool signals_is_vfork_child(void);

/*
 * A signal was held off (deferred.c) after the kernel had taken its action for delivered: with SA_RESETHAND the handler is gone. It is installed again, unless the
 * program has changed the action since there were `disposition` changes.
 */
void signals_rearm(int number, uint32_t disposition);

/* The program wants the number to be delivered once (SA_RESETHAND). */
bool signals_is_one_shot(int number);

/* Runs the program's handler from here, with the mask the kernel would add to `mask`. All signals are blocked before and after. */
void signals_handle(int number, siginfo_t *info, uint64_t mask);

/* At start: a number whose action is the default one comes to last_signal_handle() from now on; the program goes on seeing the default. */
void signals_take_over(int number);

/* The program has a handler there. */
bool signals_program_handles(int number);

/* Joins the trampoline to the core. Idempotent. */
void signals_init(void);

/* The lock of rank SIGNALS. */
struct lock *signals_lock(void);
