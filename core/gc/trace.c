/*
 * The trace line. Milliseconds are printed from integers: our formatter knows no floating point.
 */
#include "core/gc/trace.h"

#include "core/base/format.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/profile/stats_page.h"

#define STATS_ENTRY(name, words) words,
static const char *const reasons[] = { STATS_NO_VERDICT_REASONS(STATS_ENTRY) };
#undef STATS_ENTRY

static const char *milliseconds(char *buffer, size_t capacity, uint64_t ns)
{
	format_text(buffer, capacity, "%lu.%03lu", ns / NS_PER_MS, ns / 1000 % 1000);
	return buffer;
}

void trace_cycle(const struct cycle_result *result)
{
	static uint64_t start_ns; // the one thread that runs cycles
	char stop[24], roots[24], mark[24], pause[24], head[200];
	uint64_t now = clock_now_ns();

	start_ns = start_ns ? start_ns : now;
	format_text(head, sizeof(head), "gc %lu @%lu.%03lus stw %s+%s+%s ms pause %s", result->number, (now - start_ns) / NS_PER_S,
		    (now - start_ns) / NS_PER_MS % 1000, milliseconds(stop, sizeof(stop), result->stop_ns),
		    milliseconds(roots, sizeof(roots), result->roots_ns), milliseconds(mark, sizeof(mark), result->mark_ns),
		    milliseconds(pause, sizeof(pause), result->pause_ns));
	if (!result->has_verdict && result->root_failure) {
		log_line("%s, no verdict: %s (%s, %s at %lx)", head, reasons[result->no_verdict], result->root_failure,
			 result->root_scanner, result->root_address);
		return;
	}
	if (!result->has_verdict) {
		log_line("%s, no verdict: %s", head, reasons[result->no_verdict]);
		return;
	}
	log_line("%s, %lu->%lu MB, live %lu MB/%lu, hinted -%lu kB, dangling %lu, leaked %lu, %u threads", head,
		 result->heap_bytes_before >> 20, result->heap_bytes_after >> 20, result->live_bytes >> 20, result->live_blocks,
		 result->reused_bytes >> 10, result->dangling_blocks, result->leaked_blocks, result->threads);
}
