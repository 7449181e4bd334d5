/*
 * The stop signal: which number it has, giving it up to a program that wants it, and who else has a handler. preload/signals.c keeps it out of the
 * program's sight; its handler is stop_handler.c.
 */
#pragma once

#include <stdbool.h>

/*
 * Chooses the stop signal and installs its handler. By the collector thread before its first stop; may be called again (a no-op). False: no verdicts
 * for now. Nothing is changed in processes that never collect.
 */
bool world_prepare(void);

/* The stop signal, 0: none chosen (yet). */
int world_signal(void);

/* The same without choosing one: 0 or below is none. Collector thread, once STOPPING is written: pairs with world_yield_signal(). */
int stop_signal_number(void);

/* Is our handler there, or may it be? So of the number in use, and of former ones that were not given back yet. */
bool world_has_signal(int number);

/*
 * The program wants this number for itself: choose another. True: the number is the program's now, its disposition is the default. False: our handler stays
 * there (no other number is free; or there is, and world_signal() has it, but what was sent with this one is still under way), and whatever is not from us is
 * passed on by world_hooks.foreign_signal. It may be asked again later.
 */
bool world_yield_signal(int number);

/* The same from a signal handler, without waiting: what was sent with this number may still arrive, so our handler stays there (until
 * world_yield_signal()). False: it is used on. */
bool world_move_signal(int number);

/*
 * This thread is about to replace the program by exec: no signal of ours may be pending. Between gate_enter() and gate_leave() of that call.
 * Returns when none is.
 */
void gate_forbid_signals(void);

/*
 * May BLOCKED threads be taken for stopped? If a foreign handler is in the kernel's table, gates_distrust(). Asked before anybody is stopped, and again when
 * all stand still: a handler that was set in between may be running on a thread that is HELD.
 */
void stop_signal_read_back(void);
