/*
 * Findings of a live process: one request, one file.
 */
#pragma once

#include "cli/findings.h"
#include "cli/process.h"

enum live_findings {
	LIVE_FINDINGS_TAKEN,
	LIVE_FINDINGS_FAILED, // there was one line about it
	LIVE_FINDINGS_ENDED,  // the process has ended; one line, too
};

/* Has the process (opened to write) run a cycle, and look for possible leaks as well if asked to, and loads what it knows then. meta.verdict tells how far that can be believed. */
enum live_findings live_findings_take(const struct process *process, bool with_possible,
	int seconds, struct findings *ret_findings);
