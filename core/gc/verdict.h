/*
 * Verdicts: what the marks say of every slot, after the world runs again and before spans may be swept.
 */
#pragma once

#include "core/gc/cycle.h"

/*
 * Counts live, dangling and leaked blocks into *result and takes reached blocks off probation (not after a quick mark); with `judge_leaks`, hands unreached blocks
 * that were never freed to probation (core/gc/probation.h). Spans are still MARKING, so no slot of theirs becomes FREE meanwhile.
 */
void verdict_judge(struct cycle_result *result, bool judge_leaks);

/* Sweeps every span of the cycle that no thread has swept yet. Returns bytes freed. */
uint64_t verdict_sweep(void);
