/*
 * SIGINT and SIGTERM taken as a wish: a command that has begun something puts it in order, or shows what is known so far, and then dies of the signal as if it had been
 * left alone. The second one ends it at once.
 *
 * System calls are interrupted, not made again. What the command starts has the default actions: a handler does not outlive exec.
 */
#pragma once

/* From now on. */
void interrupt_expect(void);

/* The signal that came, 0: none. */
int interrupt_signal(void);

/* Dies of it if one came; what was printed is out. */
void interrupt_end(void);
