/*
 * Runs this test program again as a child that plays a role (`play_a_role`), under options and in surroundings of its own, and tells how that went:
 * status, peak resident memory, standard error, and the figures the library wrote at exit.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct outcome {
	int status; /* as from wait() */
	long peak_kib;
	char error[8192];
	char figures[8192];
};

/* `prepare` (may be NULL) runs in the child before the program is executed. If it skips, so does the caller's test. */
struct outcome play(const char *role, const char *options, void (*prepare)(void));

/* A figure of the stats_file; fails when it is not there. */
uint64_t figure(const struct outcome *outcome, const char *name);

/* A role tells a figure of its own, on its standard error; whoever played it reads it. */
void tell_figure(const char *name, uint64_t value);
uint64_t told_figure(const struct outcome *outcome, const char *name);

/* Times `text` occurs in the child's standard error. */
unsigned occurrences(const struct outcome *outcome, const char *text);

/* Resident memory of the calling process, now. */
long resident_kib(void);

double seconds_now(void);
