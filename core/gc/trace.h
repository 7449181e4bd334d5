/*
 * gctrace=1: one line per cycle.
 */
#pragma once

#include "core/gc/cycle.h"

/*
 * Writes, for example
 *
 *	gasket: gc 12 @3.201s stw 0.120+0.310+4.102 ms pause 4.540, 64->48 MB, live 30 MB/412033, hinted -18432 kB, dangling 12, leaked 3, 8 threads
 *	gasket: gc 13 @3.522s stw 50.120+0.000+0.000 ms pause 50.130, no verdict: a thread did not stop in time
 *
 * The pieces are explained in core/gc/trace.def.
 */
void trace_cycle(const struct cycle_result *result);
