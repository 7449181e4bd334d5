/*
 * A wrapper around a call that may block: the frame it publishes, and the gate around it. blocking.c tells what for; exec.c has those that end the program.
 *
 * `GATED(WORDS(arguments));` is the first line of a wrapper behind its declarations: from there to the end of the scope the thread counts as stopped.
 */
#pragma once

#include "core/base/attr.h"
#include "core/gc/cycle.h"
#include "core/gc/gate.h"
#include "core/profile/stats_page.h"
#include "preload/jump.h"
#include "preload/start.h"

#include <errno.h>
#include <stdint.h>

/* A call under way. */
struct blocked {
	struct gate_frame frame;
	int error; // errno before it
	uint64_t
		deadline; // of a socket with a time-out of its own, set when the call was interrupted first; 0: none
};

static inline void leave(struct blocked *blocked)
{
	gate_leave(&blocked->frame);
}

/* A process that waits is one that somebody may want to look at: it gets its public page, and its collector if that is to be there. */
static inline void be_seen(void)
{
	if (UNLIKELY(!stats_publish_was_tried() || stats_command_is_pending() || cycle_is_missed()))
		start_be_seen();
}

#define WORD(value) (uintptr_t)(value)
#define WORDS_1(a) \
	{ \
		WORD(a) \
	}
#define WORDS_2(a, b) \
	{ \
		WORD(a), WORD(b) \
	}
#define WORDS_3(a, b, c) \
	{ \
		WORD(a), WORD(b), WORD(c) \
	}
#define WORDS_4(a, b, c, d) \
	{ \
		WORD(a), WORD(b), WORD(c), WORD(d) \
	}
#define WORDS_5(a, b, c, d, e) \
	{ \
		WORD(a), WORD(b), WORD(c), WORD(d), WORD(e) \
	}
#define WORDS_6(a, b, c, d, e, f) \
	{ \
		WORD(a), WORD(b), WORD(c), WORD(d), WORD(e), WORD(f) \
	}
#define WORDS_PICK(_1, _2, _3, _4, _5, _6, name, ...) name
#define WORDS(...) \
	WORDS_PICK(__VA_ARGS__, WORDS_6, WORDS_5, WORDS_4, WORDS_3, WORDS_2, WORDS_1)(__VA_ARGS__)

/* Publishes the caller's frame and enters the gate; `blocked` leaves it at the end of its scope. */
#define GATED(...) \
	struct blocked blocked __attribute__((cleanup(leave))) = {.frame.arguments = __VA_ARGS__}; \
	blocked.error = errno; \
	gate_publish(&blocked.frame); \
	gate_enter(&blocked.frame)

/* The same for calls in which a process waits; a program that is about to be replaced needs no page. */
#define BLOCKED(...) \
	be_seen(); \
	GATED(__VA_ARGS__)

/* Another name libc gives the same function. */
#define SAME(name, other) \
	extern __typeof__(name) name##_as_##other __asm__(#other) \
		__attribute__((alias(#name), visibility("default")));
