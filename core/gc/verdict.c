/*
 * Verdicts. Per group of 64 slots a few masks decide; single slots are visited only where something unusual was found.
 *
 *	reached		HINTED: dangling, kept		ALLOCATED: live		PROBATION: live again
 *	not reached	HINTED: freed by the sweep	ALLOCATED: leaked	PROBATION: still leaked
 */
#include "core/gc/verdict.h"

#include "core/base/attr.h"
#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/gc/dangling.h"
#include "core/gc/mark.h"
#include "core/gc/probation.h"
#include "core/gc/sites.h"
#include "core/heap/central.h"
#include "core/heap/sweep.h"
#include "core/os/arch.h"

struct judgement {
	struct cycle_result *result;
	bool judge_leaks;
	bool notes_dangling;
	bool counts_sites;
};

static void for_each_slot(
	struct span *span, uint32_t group, uint64_t mask, void (*visit)(struct slot slot))
{
	for (; mask; mask &= mask - 1)
		visit((struct slot){span, group * 64 + lowest_bit(mask)});
}

static void judge_group(struct span *span, uint32_t group, const struct judgement *judgement)
{
	const uint8_t *states = span_states(span) + group * 64;
	struct cycle_result *result = judgement->result;
	uint64_t marks = span_marks(span)[group];
	uint64_t hinted = bytes_equal_mask(states, SLOT_HINTED);
	uint64_t probation = bytes_equal_mask(states, SLOT_PROBATION);
	uint64_t sampled = bytes_equal_mask(states, SLOT_SAMPLED);
	uint64_t live = bytes_equal_mask(states, SLOT_ALLOCATED) | sampled;
	uint64_t leaked = (live | probation) & ~marks;
	size_t bytes = span_slot_bytes(span);

	result->live_blocks += count_bits(live & marks);
	result->live_bytes += count_bits(live & marks) * bytes;
	result->dangling_blocks += count_bits(hinted & marks);
	result->dangling_bytes += count_bits(hinted & marks) * bytes;
	result->leaked_blocks += count_bits(leaked);
	result->leaked_bytes += count_bits(leaked) * bytes;
	if (judgement->counts_sites)
		sites_count_group(span, group, sampled & marks);
	// reached is reached, also where unreached proves nothing: probation is for what is unreached in every cycle
	if (!result->is_quick)
		for_each_slot(span, group, probation & marks, probation_revive);
	if (UNLIKELY(judgement->notes_dangling))
		for_each_slot(span, group, hinted & marks, dangling_block);
	if (judgement->judge_leaks)
		for_each_slot(span, group, leaked, probation_block);
}

static void judge_span(struct span *span, void *argument)
{
	const struct judgement *judgement = argument;
	const struct cycle_result *result = judgement->result;
	uint64_t blocks = result->live_blocks, bytes = result->live_bytes;

	for (uint32_t group = 0; group < span_group_count(span); group++)
		judge_group(span, group, judgement);
	sites_add_size(span, result->live_blocks - blocks, result->live_bytes - bytes);
	if (options.free != FREE_TRUST)
		cycle_rest(); // the program runs
}

void verdict_judge(struct cycle_result *result, bool judge_leaks)
{
	struct judgement judgement = {.result = result,
		.judge_leaks = judge_leaks,
		.notes_dangling = !result->is_quick && dangling_begin(),
		.counts_sites = !result->is_quick && sites_begin_count()};

	sites_begin_sizes();
	mark_for_each_span(judge_span, &judgement);
	if (judgement.counts_sites)
		sites_end_count();
}

static void sweep_one(struct span *span, void *argument)
{
	uint64_t *bytes = argument;
	struct signal_guard guard;
	bool released;

	signals_block(&guard);
	*bytes += central_sweep_span(span, &released);
	signals_restore(&guard);
	cycle_rest();
}

uint64_t verdict_sweep(void)
{
	uint64_t bytes = 0;

	mark_for_each_span(sweep_one, &bytes);
	return bytes;
}
