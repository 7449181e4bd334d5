/*
 * One word says how far it is. The one that dies waits at its gate, so that cycles take it for stopped where it stands; it does not wait longer than it
 * was told to, whatever the collector does.
 */
#include "core/gc/last_words.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/gc/collector.h"
#include "core/gc/cycle.h"
#include "core/gc/gate.h"
#include "core/gc/leak_check.h"
#include "core/gc/possible.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/profile/stats_page.h"

enum words_state { WORDS_NONE, WORDS_ASKED, WORDS_SPOKEN, WORDS_DONE };

void (*last_words_hook)(void);

static struct {
	uint32_t state;       // enum words_state; futex of the one who asked
	uint64_t deadline_ns; // written before ASKED
} words;

static bool is_over(uint32_t *ret_state, uint64_t *ret_left_ns)
{
	uint64_t now = clock_now_ns();

	*ret_state = load_acquire(&words.state);
	*ret_left_ns = words.deadline_ns - now;
	return *ret_state == WORDS_DONE || now >= words.deadline_ns || !cycle_thread_exists();
}

bool last_words_have(uint64_t limit_ns, enum findings_reason reason)
{
	struct gate_frame frame = {0};
	uint32_t state;
	uint64_t left_ns;

	if (!cycle_thread_exists())
		return false;
	words.deadline_ns = clock_now_ns() + limit_ns;
	leak_check_end_reason = reason;
	if (!cas_seq(&words.state, (uint32_t)WORDS_NONE, (uint32_t)WORDS_ASKED))
		return false;
	stats_wake();
	gate_publish(&frame);
	gate_enter(&frame);
	// a collector that is ended meanwhile wakes nobody
	while (!is_over(&state, &left_ns))
		futex_wait(&words.state, state, min_u64(left_ns, 10 * NS_PER_MS));
	gate_leave(&frame);
	return state == WORDS_DONE;
}

/* A cycle that judges leaks, or false. */
static bool have_verdict(void)
{
	enum { TRIES = 5 };
	static uint32_t never;

	for (int i = 0; i < TRIES && clock_now_ns() < words.deadline_ns; i++) {
		if (collector_run_cycle(false) && cycle_last.leaks_judged)
			return true;
		futex_wait(&never, 0, NS_PER_MS << i);
	}
	return false;
}

static void speak(void)
{
	struct signal_guard guard;
	uint64_t leaks;
	bool complete;

	leak_check_prepare(options.report, (words.deadline_ns - clock_now_ns()) / 2);
	complete = have_verdict();
	possible_await(collector_serve);
	signals_block(&guard);
	lock_acquire(cycle_lock());
	complete = complete && cycle_last.leaks_judged;
	leaks = leak_check_report(options.report, complete);
	lock_release(cycle_lock());
	signals_restore(&guard);
	stats_set(exit_check, leaks > 0  ? STATS_EXIT_CHECK_LEAKS
			      : complete ? STATS_EXIT_CHECK_CLEAN
					 : STATS_EXIT_CHECK_NO_VERDICT);
	if (last_words_hook)
		last_words_hook();
}

void last_words_answer(void)
{
	if (load_relaxed(&words.state) != WORDS_ASKED ||
		!cas_seq(&words.state, (uint32_t)WORDS_ASKED, (uint32_t)WORDS_SPOKEN))
		return;
	speak();
	store_release(&words.state, WORDS_DONE);
	futex_wake(&words.state, INT32_MAX);
}

void last_words_fork_child(void)
{
	words.state = WORDS_NONE;
}
