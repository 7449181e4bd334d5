/*
 * Looks come by themselves, a quarter of a second after the collector has begun, then at twice the distance each time, up to a minute; naming a class starts this
 * anew, for what else leaks has mostly leaked by then. A look takes the time of a cycle: at most a twentieth of all time.
 */
#include "core/gc/leak_suspects.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/profile/suspects.h"

enum {
	HOLD_MS = 10 * 60 * 1000,
	HOLD_DOUBLINGS_MAX = 10,
	LOOK_MS = 250,
	LOOK_DOUBLINGS_MAX = 8,
	LOOK_REST = 19,
	LOG_LINES_MAX = 32,
};

#define HEAP_BYTES_MIN ((uint64_t)1 << 20) /* a smaller heap does not start the collector */

/* One class. */
struct history {
	uint64_t last_ms; // when a new leaked block was found last
	uint32_t fresh;   // new ones in this verdict
	uint32_t named;   // times
};

/* Guard: CYCLE, but for want_ns. */
static struct {
	struct history classes[BLOCK_CLASS_COUNT];
	uint64_t slot_bytes[BLOCK_CLASS_COUNT]; // of one of its blocks
	uint32_t looks;                         // since a class was named
	uint32_t log_lines;
	uint64_t want_ns; // atomic
} state;

static bool is_on(void)
{
	return options.stacks == STACKS_SUSPECTS && options.leaks != LEAKS_OFF;
}

void leak_suspects_note(uint64_t slot_bytes)
{
	unsigned class = block_class_of(slot_bytes);

	if (!is_on())
		return;
	state.classes[class].fresh++;
	state.slot_bytes[class] = slot_bytes;
}

static void name(unsigned class)
{
	struct history *history = &state.classes[class];

	suspects_name(class);
	history->named++;
	state.looks = 0;
	if (options.gctrace && state.log_lines++ < LOG_LINES_MAX)
		log_line("suspected: slots of %lu bytes, of which %u more are leaked",
			state.slot_bytes[class], history->fresh);
}

static uint64_t hold_ms(const struct history *history)
{
	return (uint64_t)HOLD_MS << min_u64(history->named - 1, HOLD_DOUBLINGS_MAX);
}

static void judge_class(unsigned class, uint64_t now_ms)
{
	struct history *history = &state.classes[class];

	if (history->fresh > 0) {
		if (!suspects_contain(class))
			name(class);
		history->last_ms = now_ms;
		history->fresh = 0;
	} else if (suspects_contain(class) && now_ms - history->last_ms >= hold_ms(history)) {
		suspects_clear(class);
	}
}

void leak_suspects_finish(uint64_t now_ms)
{
	uint64_t wait_ns;

	if (!is_on())
		return;
	state.looks++;
	for (unsigned class = 1; class < BLOCK_CLASS_COUNT; class ++)
		judge_class(class, now_ms);
	wait_ns = (uint64_t)LOOK_MS * NS_PER_MS << min_u64(state.looks, LOOK_DOUBLINGS_MAX);
	store_relaxed(
		&state.want_ns, clock_now_ns() + max_u64(wait_ns, LOOK_REST * cycle_last.cpu_ns));
}

uint64_t leak_suspects_want_cycle_ns(void)
{
	return is_on() ? load_relaxed(&state.want_ns) : UINT64_MAX;
}

bool leak_suspects_want_collector(uint64_t heap_bytes)
{
	return is_on() && heap_bytes >= HEAP_BYTES_MIN;
}
