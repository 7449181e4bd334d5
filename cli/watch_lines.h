/*
 * What gasket watch says: a line for people, or a JSON object on a line of its own (--json).
 *
 * Objects: time (RFC 3339, UTC), pid, event, and by event
 *	new, more    id bytes objects (what came since the look before) total_bytes total_objects function file line module offset (those that are known)
 *	look         leaked_bytes leaked_objects sites change_bytes live_bytes, after the events of each look
 *	no-verdict   reason
 *	ended        nothing else; the last line
 */
#pragma once

#include "cli/hunt.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct watch_lines {
	pid_t pid;
	bool json;
};

/* A leak that is new, or of which there is more. */
struct watch_change {
	const struct report_finding *finding; // the largest of its id
	bool is_new;
	uint64_t bytes, blocks;             // more than at the look before
	uint64_t total_bytes, total_blocks; // now
};

void watch_tell_change(const struct watch_lines *lines, const struct watch_change *change);
void watch_tell_totals(const struct watch_lines *lines, const struct hunt_result *result,
	int64_t change_bytes, uint64_t live_bytes);
void watch_tell_no_verdict(const struct watch_lines *lines, const char *reason);
void watch_tell_end(const struct watch_lines *lines);
