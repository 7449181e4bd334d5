#include "core/gc/tier.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/gc/concurrent.h"
#include "core/gc/roots.h"
#include "core/gc/snapshot.h"
#include "core/heap/page_heap.h"
#include "core/os/arch.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/os/proc.h"

enum {
	ESTIMATE_DECAY = 64,
	STW_SHORT_MS =
		10, // a pause that is not noticed: about what a thread waits for the CPU behind three others
	STW_AWAITED_MS = 50, // who waits for the cycle does not notice that he stands still
	REST = 64,           // cycles in which a tier is not tried again after it failed
	ROOT_BYTES_PER_MS =
		2 << 20, // what copying and filtering them takes at most; 1 to 4 GB/s were seen
	CLONE_NS_PER_MB = 50000, // the first guess; 17 to 121 ms per GiB were seen
	CLONE_MS_MAX =
		100, // there is no sign of life meanwhile, and threads that stand still wait 200 ms for one
};

static struct {
	uint64_t mark_ns_per_mb[2];  // of the last complete mark, and of the last quick one
	uint64_t roots_ns;           // which do not grow with the heap
	uint64_t untracked_roots_ns; // for what of them a pause of the concurrent tier reads
	uint64_t clone_ns_per_mb;
	uint64_t resident_mb; // when it was last estimated
	uint64_t root_bytes;  // read by the last scan of all
	uint32_t concurrent_rest, snapshot_rest;
} tier;

/* The pause that marking this heap would take; the first is guessed at 2 GB/s: the smallest heap that starts a cycle by its growth must get one, or nothing would ever be measured. */
static uint64_t stw_pause_ns(bool is_quick)
{
	uint64_t measured = tier.mark_ns_per_mb[is_quick];
	uint64_t ns_per_mb = measured ? measured : NS_PER_MS / 2;

	return tier.roots_ns + (page_heap_used_bytes() >> 20) * ns_per_mb;
}

static bool may_be_concurrent(void)
{
	return tier.concurrent_rest == 0 && concurrent_is_available();
}

/* The kernel copies the page tables of the whole process, not only the heap's. */
static uint64_t clone_ns(void)
{
	uint64_t ns_per_mb = tier.clone_ns_per_mb ? tier.clone_ns_per_mb : CLONE_NS_PER_MB;

	tier.resident_mb = proc_resident_bytes() >> 20;
	return tier.resident_mb < UINT32_MAX ? tier.resident_mb * ns_per_mb : UINT64_MAX;
}

static bool may_be_snapshot(void)
{
	return tier.snapshot_rest == 0 && snapshot_is_available() &&
	       clone_ns() <= CLONE_MS_MAX * NS_PER_MS;
}

/* It reads all roots in its pause. */
static bool is_snapshot_short(uint64_t ns)
{
	return may_be_snapshot() &&
	       tier.roots_ns + clone_ns() <= min_u64(options.pause_max_ms * NS_PER_MS, ns);
}

/* Each refusal lowers the estimates a little, so that one wrong measurement does not stand for ever: tried again after minutes. */
static enum stats_tier refuse_pause(void)
{
	tier.roots_ns -= tier.roots_ns / ESTIMATE_DECAY;
	tier.untracked_roots_ns -= tier.untracked_roots_ns / ESTIMATE_DECAY;
	for (int i = 0; i < 2; i++)
		tier.mark_ns_per_mb[i] -= tier.mark_ns_per_mb[i] / ESTIMATE_DECAY;
	tier.clone_ns_per_mb -= tier.clone_ns_per_mb / ESTIMATE_DECAY;
	return STATS_TIER_NONE;
}

enum stats_tier tier_choose(bool is_quick, bool is_awaited)
{
	uint64_t limit = options.pause_max_ms * NS_PER_MS, stw = stw_pause_ns(is_quick);
	uint64_t is_short = (is_awaited ? STW_AWAITED_MS : STW_SHORT_MS) * NS_PER_MS;

	tier.concurrent_rest -= tier.concurrent_rest > 0;
	tier.snapshot_rest -= tier.snapshot_rest > 0;
	if (options.collector == COLLECTOR_CONCURRENT && may_be_concurrent())
		return STATS_TIER_CONCURRENT;
	if (options.collector == COLLECTOR_SNAPSHOT && may_be_snapshot())
		return STATS_TIER_SNAPSHOT;
	if (options.collector != COLLECTOR_AUTO || stw <= min_u64(limit, is_short))
		return STATS_TIER_STW;
	// each of its two pauses reads roots: where these are most of the work, one pause is better
	if (tier.untracked_roots_ns <= min_u64(limit, stw / 2) && may_be_concurrent())
		return STATS_TIER_CONCURRENT;
	if (is_snapshot_short(stw))
		return STATS_TIER_SNAPSHOT;
	if (stw <= limit)
		return STATS_TIER_STW;
	return refuse_pause();
}

void tier_learn_roots(const struct root_scan *scan, uint64_t cpu_ns)
{
	uint64_t untracked = scan->bytes_read - scan->trackable_bytes;

	if (scan->tracking == ROOT_TRACKING_OFF) {
		tier.roots_ns = cpu_ns;
		tier.root_bytes = scan->bytes_read;
		cpu_ns = cpu_ns / (scan->bytes_read / OS_PAGE_BYTES + 1) *
			 (untracked / OS_PAGE_BYTES + 1);
	} else if (scan->tracking == ROOT_TRACKING_NOTE) {
		tier.roots_ns = cpu_ns; // and what is read beside the program
		tier.root_bytes = scan->bytes_read;
	}
	tier.untracked_roots_ns = cpu_ns;
}

void tier_learn_tracked_roots(uint64_t bytes, uint64_t cpu_ns)
{
	tier.roots_ns += max_u64(cpu_ns, bytes * NS_PER_MS / ROOT_BYTES_PER_MS);
	tier.root_bytes += bytes;
}

void tier_learn_mark(bool is_quick, uint64_t cpu_ns, uint64_t heap_bytes)
{
	tier.mark_ns_per_mb[is_quick] = cpu_ns / ((heap_bytes >> 20) + 1);
}

void tier_learn_clone(uint64_t cpu_ns)
{
	tier.clone_ns_per_mb = cpu_ns / (tier.resident_mb + 1);
}

uint64_t tier_root_bytes(void)
{
	return tier.root_bytes;
}

/* The tier does not work (any more): others do its work for a while. */
static void rest_from(uint32_t *rest, const char *why, bool *is_said)
{
	*rest = REST;
	if (!*is_said)
		log_line("%s", why);
	*is_said = true;
}

/* It writes faster than we read (and we were not kept from it by others on a busy machine, as any tier would be). */
static bool was_too_long(const struct cycle_result *result)
{
	return min_u64(result->pause_ns, result->pause_cpu_ns) > options.pause_max_ms * NS_PER_MS;
}

void tier_note_end(const struct cycle_result *result)
{
	static bool is_said_of_tracking, is_said_of_snapshots;

	if (result->no_verdict == STATS_NO_VERDICT_TRACKING)
		rest_from(&tier.concurrent_rest,
			"the kernel does not tell which pages of the heap are written (does the program watch them itself?): other ways to collect are used",
			&is_said_of_tracking);
	if (result->no_verdict == STATS_NO_VERDICT_SNAPSHOT)
		rest_from(&tier.snapshot_rest,
			"the child that marks could not be made, or did not finish: other ways to collect are used",
			&is_said_of_snapshots);
	// who forces a tier would get a longer pause instead
	if (result->tier == STATS_TIER_CONCURRENT && options.collector == COLLECTOR_AUTO &&
		was_too_long(result) && is_snapshot_short(UINT64_MAX))
		tier.concurrent_rest = REST;
}
