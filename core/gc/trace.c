/*
 * The trace line. Milliseconds are printed from integers: our formatter knows no floating point.
 */
#include "core/gc/trace.h"

#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/profile/stats_page.h"

#define STATS_ENTRY(name, words) words,
static const char *const reasons[] = {STATS_NO_VERDICT_REASONS(STATS_ENTRY)};
#undef STATS_ENTRY

/* The three kinds of line. Formats are arrays, so the compiler still compares them with what is printed. */
#define LEFT_OUT(text, help)
#define TAKEN(text, help) text

#define TRACE_HEAD TAKEN
#define TRACE_VERDICT TAKEN
#define TRACE_NO_VERDICT LEFT_OUT
#define TRACE_ROOT LEFT_OUT
static const char verdict_line[] =
#include "core/gc/trace.def"
	;
#undef TRACE_VERDICT
#undef TRACE_NO_VERDICT

#define TRACE_VERDICT LEFT_OUT
#define TRACE_NO_VERDICT TAKEN
static const char no_verdict_line[] =
#include "core/gc/trace.def"
	;
#undef TRACE_ROOT

#define TRACE_ROOT TAKEN
static const char root_line[] =
#include "core/gc/trace.def"
	;

static const char *const tiers[2][STATS_TIER_COUNT] = {{"none", "stw", "concurrent", "snapshot"},
	{"none", "stw-quick", "concurrent-quick", "snapshot-quick"}};
static const char *const awaited[2] = {"awaited", "awaited-quick"};

/* The numbers of TRACE_HEAD. */
#define MILLISECONDS(ns) (ns) / NS_PER_MS, (ns) / 1000 % 1000
#define HEAD(result, age) \
	(result)->number, (age) / NS_PER_S, (age) / NS_PER_MS % 1000, \
		(result)->is_awaited ? awaited[(result)->is_quick] \
				     : tiers[(result)->is_quick][(result)->tier], \
		MILLISECONDS((result)->stop_ns), MILLISECONDS((result)->roots_ns), \
		MILLISECONDS((result)->mark_ns), MILLISECONDS((result)->pause_ns)

void trace_cycle(const struct cycle_result *result)
{
	static uint64_t start_ns; // the one thread that runs cycles
	uint64_t now = clock_now_ns(), age;

	start_ns = start_ns ? start_ns : now;
	age = now - start_ns;
	if (result->has_verdict)
		log_line(verdict_line, HEAD(result, age), MILLISECONDS(result->beside_ns),
			result->rounds, result->pauses, result->written_bytes >> 10,
			result->heap_bytes_before >> 20, result->heap_bytes_after >> 20,
			result->live_bytes >> 20, result->live_blocks, result->reused_bytes >> 10,
			result->dangling_blocks, result->leaked_blocks, result->threads);
	else if (result->root_failure)
		log_line(root_line, HEAD(result, age), reasons[result->no_verdict],
			result->root_failure, result->root_scanner, result->root_address);
	else
		log_line(no_verdict_line, HEAD(result, age), reasons[result->no_verdict]);
}
