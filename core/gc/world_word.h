/*
 * The word that says what is going on, how a thread waits on it, and the way out when the collector does not live any more. The bottom of the stop protocol,
 * which world.c tells: `world_word` = phase | number of the stop << WORLD_PHASE_BITS; a thread's gate = state | number << GATE_STATE_BITS, the number only with
 * HELD and PARKED.
 */
#pragma once

#include "core/base/attr.h"
#include "core/gc/thread.h"

#include <stdbool.h>
#include <stdint.h>

enum world_phase { WORLD_RUNS, WORLD_STOPPING, WORLD_PAUSED, WORLD_DONE, WORLD_ABANDONED };

/*
 * How often a waiting thread looks at the heartbeat, and how many looks without a beat end the stop: 4 x 50 ms. The first who wait look so often; the others
 * would take the processor from the collector (5000 at 50 ms: all of it), and only look in case the first are gone.
 */
enum { WORLD_LOOK_MS = 50, WORLD_LOOKS_MAX = 4, WORLD_WATCHERS = 32, WORLD_RARE_LOOK_MS = 1000 };

enum {
	WORLD_PHASE_BITS = 3,
	WORLD_PHASE_MASK = (1 << WORLD_PHASE_BITS) - 1,
	WORLD_NUMBER_MASK = (1 << 29) - 1,
};

/* Written by the collector, and by whoever abandons a stop; futex of those who stand still. Sequentially consistent. */
extern uint32_t world_word HIDDEN;

static inline uint32_t world_phase_of(uint32_t word)
{
	return word & WORLD_PHASE_MASK;
}

static inline uint32_t world_number_of(uint32_t word)
{
	return word >> WORLD_PHASE_BITS;
}

static inline uint32_t world_make_word(enum world_phase phase, uint32_t number)
{
	return (uint32_t)phase | number << WORLD_PHASE_BITS;
}

static inline uint32_t gate_make(enum thread_gate state, uint32_t number)
{
	return (uint32_t)state | number << GATE_STATE_BITS;
}

static inline uint32_t gate_state(uint32_t gate)
{
	return gate & GATE_STATE_MASK;
}

/* A stop is in force: threads stand still, or are to. */
static inline bool world_word_is_in_force(uint32_t word)
{
	uint32_t phase = world_phase_of(word);

	return phase == WORLD_STOPPING || phase == WORLD_PAUSED || phase == WORLD_DONE;
}

/* A gate HELD or PARKED for a stop that is not over. */
static inline bool gate_is_in_force(uint32_t gate, uint32_t word)
{
	return world_word_is_in_force(word) && gate >> GATE_STATE_BITS == world_number_of(word);
}

/* What one who waits has seen; {.time_ns = 0} before the first look. */
struct world_watch {
	uint32_t word; // what was seen at the last look
	uint64_t beat;
	uint64_t time_ns;
	uint64_t period_ns;
	unsigned looks;
};

/* How many have begun to wait since the last stop began. The collector resets it; the others count, relaxed. */
extern uint32_t world_watchers HIDDEN;

/* Sleeps while world_word == word, at most one look; abandons a stop whose collector is gone. Called again and again, until the word is another. */
void world_wait_for_change(struct world_watch *watch, uint32_t word);

/* Everybody who waits looks at the word again. */
void world_wake_all(void);

/*
 * True: the pause under way was abandoned, threads run, what is read now may vanish: stop reading, there will be no verdict. Collector thread; asked wherever
 * the heart beats.
 */
bool world_is_abandoned(void);

/*
 * A thread of the program is about to take memory away that the collector reads by plain loads (a block's pages, its own stack). Returns at once unless a pause
 * was abandoned and the collector has not noticed yet; then when it has, or after 2 s. Any thread, no lock held.
 */
void world_wait_out_abandonment(void);

/* "The collector lives." Called often in a pause; also by world_stop() itself. */
extern uint64_t world_heartbeat HIDDEN;
static inline void world_beat(void)
{
	__atomic_store_n(&world_heartbeat, world_heartbeat + 1, __ATOMIC_RELAXED);
}
