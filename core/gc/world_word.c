/*
 * Waiting until a stop is over, and abandoning it.
 *
 * Whatever happens to the collector (killed, throttled, waiting for one of the threads it has stopped), no thread stands still for ever. The collector beats
 * its heart while it works. Each waiting thread looks at it every WORLD_LOOK_MS, at most; one that has seen the same stop and the same beat at
 * WORLD_LOOKS_MAX looks in a row, each a full time after the one before, writes ABANDONED and wakes all. Its compare-and-swap names the stop it has watched, so
 * it can never end a later one.
 *
 * The collector learns of it at its own next compare-and-swap of the word, or when it asks. It may be reading at that moment, by plain loads: who takes
 * memory away waits until the word is no longer ABANDONED (world_wait_out_abandonment()).
 *
 * Locks: none. Called in signal handlers; calls no libc.
 */
#include "core/gc/world_word.h"

#include "core/base/atomic.h"
#include "core/gc/world.h"
#include "core/os/clock.h"
#include "core/os/futex.h"

uint32_t world_word;
uint64_t world_heartbeat;
uint32_t world_watchers;

void world_wake_all(void)
{
	futex_wake(&world_word, INT32_MAX);
}

static uint64_t choose_period_ns(void)
{
	bool is_early = add_relaxed(&world_watchers, 1u) < WORLD_WATCHERS;

	return (is_early ? WORLD_LOOK_MS : WORLD_RARE_LOOK_MS) * NS_PER_MS;
}

/* One look: true if the heart did not beat since the last one, a full time ago. */
static bool heart_stands_still(struct world_watch *watch, uint32_t word)
{
	uint64_t beat = load_relaxed(&world_heartbeat);
	uint64_t now = clock_now_ns();

	if (watch->time_ns == 0 || watch->word != word || watch->beat != beat) {
		uint64_t period_ns = watch->time_ns == 0 ? choose_period_ns() : watch->period_ns;

		*watch = (struct world_watch){word, beat, now, period_ns, 0};
		return false;
	}
	if (now - watch->time_ns < watch->period_ns)
		return false;
	watch->time_ns = now;
	return ++watch->looks >= WORLD_LOOKS_MAX;
}

void world_wait_for_change(struct world_watch *watch, uint32_t word)
{
	if (heart_stands_still(watch, word)) {
		if (cas_seq(&world_word, word,
			    world_make_word(WORLD_ABANDONED, world_number_of(word)))) {
			add_relaxed(&world_stats.abandoned, 1);
			world_wake_all();
		}
		return;
	}
	futex_wait(&world_word, word, watch->period_ns);
}

bool world_is_abandoned(void)
{
	return world_phase_of(load_seq(&world_word)) == WORLD_ABANDONED;
}

void world_wait_out_abandonment(void)
{
	enum { WAITS = 200 };
	uint32_t word;

	for (int i = 0;
		i < WAITS && world_phase_of(word = load_seq(&world_word)) == WORLD_ABANDONED; i++)
		futex_wait(&world_word, word, 10 * NS_PER_MS);
}
