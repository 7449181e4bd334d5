/*
 * The leak check of a process that is about to die of a signal: asked for by the thread that has the signal, made by the collector thread, which has a stack
 * of its own. The protocol is told in core/README.md.
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stdint.h>

/* Set by preload/: what else is done at the end of a process; called by the collector thread after the report. */
extern void (*last_words_hook)(void);

/*
 * Once a process. In a signal handler of the program's thread, on any stack: has the check made and the report written, and counts as stopped meanwhile. False:
 * there is no collector thread, or it has not come to an end in time.
 */
bool last_words_have(uint64_t limit_ns, enum findings_reason reason);

/* The collector thread, between its cycles. */
void last_words_answer(void);

/* In a fork child: nothing was asked. */
void last_words_fork_child(void);
