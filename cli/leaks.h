/*
 * What gasket leaks was asked for.
 */
#pragma once

#include "cli/hunt.h"
#include "cli/report_output.h"

#include <stdint.h>

#define LEAKS_FINDINGS_SUFFIX ".findings" /* behind the process id */

struct leaks_order {
	struct report_order report;
	struct hunt_choice choice;
	char *options;           // for the library, or NULL
	const char *status_file; // or NULL
	const char *keep;        // directory findings are kept in, or NULL
	const char *log_prefix;  // LSAN_OPTIONS: the report goes to PREFIX.PID; or NULL
	int exitcode;            // in place of EXIT_LEAKS
	uint32_t confirm;        // cycles a leak must have been found in
	int seconds;             // for an answer of a live process
};

/* What only a copy of the process tells is to be shown or counted: possible leaks, or all that refers to freed blocks. */
static inline bool leaks_want_possible(const struct leaks_order *order)
{
	return (order->report.view.kinds & (1u << FINDING_POSSIBLE | 1u << FINDING_DANGLING)) != 0;
}

/* Runs the program; the exit status. */
int leaks_of_program(struct leaks_order *order, char **argv);

/* Asks live processes; the exit status. */
int leaks_of_processes(struct leaks_order *order, int count, char **words);

/* With --keep: a copy of a file of findings there, for the user alone; the file is read from its start again. What fails is one line. */
void leaks_keep(const struct leaks_order *order, int fd, const char *name);

/* Takes over what LSAN_OPTIONS says. */
void leaks_take_lsan_options(struct leaks_order *order, const char *text);
