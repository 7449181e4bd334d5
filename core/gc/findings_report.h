/*
 * What the process knows of its leaks, as a file of findings (core/profile/findings.h).
 */
#pragma once

#include "core/gc/leak_sums.h"
#include "core/profile/findings.h"

#include <stdbool.h>

/*
 * Writes to `where` (a path, %p is the process id) what the last cycle with a verdict left, and `reclaimed`, the sums of what was taken back before. Always
 * writes, also when nothing is leaked. `is_complete`: that cycle is the one that was asked for. *ret_blocks: leaked blocks, those taken back included. False: no
 * file. Lock CYCLE; the program runs.
 */
bool findings_report_write(const char *where, const struct leak_sums *reclaimed, bool is_complete,
	enum findings_reason reason, uint64_t *ret_blocks);
