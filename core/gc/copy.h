/*
 * A child that is a copy of the process's memory as it stands, for work that must not be done while the program waits.
 *
 * The child makes raw system calls only, with all signals blocked, and ends with its body. It dies with the thread that made it, and goes first when memory is short.
 * The program's wait() does not see it (no exit signal), except with __WALL. No descriptor of the program is open in it, only the collector thread's.
 *
 * Collector thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Makes one, which is called `name` in lists of processes, calls `body`, with files of /proc that tell of itself, and exits with its result. Returns its id; 0: the kernel
 * makes none. (That the child came too late to see its parent alive, or finds no /proc, is seen by its end: status COPY_NO_START.)
 */
long copy_make(const char *name, int (*body)(void *argument), void *argument);

/* Why no copy of one moment is made of this process, in words; NULL: it may be tried. */
const char *copy_refusal(void);

/*
 * The same of one moment: all threads stand still meanwhile, and their registers and stacks can be read in the copy as in a pause; roots_prepare() was called. The lock CYCLE
 * is held, signals are blocked, protection keys open. 0 also if threads do not stop.
 */
long copy_make_still(const char *name, int (*body)(void *argument), void *argument);

enum { COPY_NO_START = 120, COPY_KILLED = 256, COPY_UNSEEN };

struct copy_end {
	int status; // what body returned, COPY_KILLED, or COPY_UNSEEN: the program (by __WALL) saw the end, not we
	uint64_t cpu_ns;
};

/* True: it has ended, and is no more. */
bool copy_has_ended(long child, struct copy_end *ret_end);

/* Ends it, whatever it does. */
void copy_kill(long child);
