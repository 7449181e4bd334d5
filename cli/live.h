/*
 * Findings of a live process: one request, one file. What cannot be had ends the command with one line.
 */
#pragma once

#include "cli/findings.h"
#include "cli/process.h"
#include "cli/request.h"

#include <stdbool.h>
#include <stddef.h>

struct live {
	struct process process;
};

void live_open(struct live *live, pid_t pid);
void live_close(struct live *live);

/* Makes a request that must be obeyed. */
void live_ask(const struct live *live, enum stats_request request);

/* Has a cycle run and loads what the process then knows. False: that cycle gave no verdict; a line says so. */
bool live_take_findings(const struct live *live, struct findings *ret_findings);

/* A number from 1 to `most` behind a switch. */
size_t live_parse_number(
	const char *command, const char *name, const char *text, unsigned long most);
