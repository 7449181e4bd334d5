/*
 * Findings of a live process: one request, one file.
 */
#pragma once

#include "cli/findings.h"
#include "cli/process.h"
#include "cli/request.h"

#include <stdbool.h>
#include <stddef.h>

enum live_findings {
	LIVE_FINDINGS_TAKEN,
	LIVE_FINDINGS_FAILED, // there was one line about it
	LIVE_FINDINGS_ENDED,  // the process has ended; one line, too
};

/*
 * Has the process (opened to write) run a cycle, and look for possible leaks as well if asked to, and write what it knows then; the file, already taken away, is
 * the caller's.
 */
enum live_findings live_findings_open(
	const struct process *process, bool with_possible, int seconds, int *ret_fd);

/* The same without possible leaks, and loads it. meta.verdict tells how far that can be believed. */
enum live_findings live_findings_take(
	const struct process *process, int seconds, struct findings *ret_findings);

/* For commands that look at one process only: what cannot be had ends them with one line. */
struct live {
	struct process process;
};

void live_open(struct live *live, pid_t pid);
void live_close(struct live *live);

/* Makes a request that must be obeyed. */
void live_ask(const struct live *live, enum stats_request request);

/* False: the cycle gave no verdict; a line says so. */
bool live_has_verdict(const struct live *live, const struct findings *findings);

/* Both: live_findings_take(), and whether it has a verdict. */
bool live_take_findings(const struct live *live, struct findings *ret_findings);

/* A number from 1 to `most` behind a switch. */
size_t live_parse_number(
	const char *command, const char *name, const char *text, unsigned long most);
