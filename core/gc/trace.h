/*
 * gctrace=1: one line per cycle.
 */
#pragma once

#include "core/gc/cycle.h"

/*
 * Writes, for example
 *
 *	gasket: gc 12 @3.201s stw 0.120+0.310+4.102 ms pause 4.540, 64->48 MB, live 30 MB/412033, hinted -18 MB, dangling 12, leaked 3, 8 threads
 *
 * number of the cycle, seconds since start, tier; time until all threads stood, reading roots, marking through the heap; whole pause; spans before and
 * after; live bytes and blocks; hinted bytes made free; freed blocks still reached; blocks never freed and not reached; threads. Without a verdict
 * the part after the pause is "no verdict: REASON".
 */
void trace_cycle(const struct cycle_result *result);
