/*
 * The leak report: at exit, or on the command "report now".
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Runs a full cycle (several if the first ones do not judge leaks, for about a second at most), writes the report where options.report says, and returns
 * the number of leaked blocks (taken back ones included); 0 too when report=off. Called once, by the handler preload/start.c registers with on_exit, in the exiting thread, no lock held.
 * *ret_is_complete (may be NULL) is false if the last cycle gave no verdict.
 */
uint64_t leak_check_at_exit(bool *ret_is_complete);

/* Why the report of the process's end is written; EXIT until the one who ends it differently says so. */
extern enum findings_reason leak_check_end_reason;

/* Somebody wants to know of leaks: there is a collector that judges them, and a report or an exit status that tells. */
bool leak_check_is_wanted(void);

/* Before the cycle that a report to `where` rests on: what it is to find out besides, if that takes no longer than `patience_ns`. Any thread. */
void leak_check_prepare(const char *where, uint64_t patience_ns);

/* As leak_check_at_exit(), at any time, to `where` ("off": only counts). Not from a signal handler. */
uint64_t leak_check_now(const char *where, bool *ret_is_complete);

/*
 * Writes a report of what the last cycle with a verdict left, and of what was taken back before, to `where` (see report.h); returns the number of
 * leaked blocks in it. The lock CYCLE is held, signals are blocked. With report_format=findings what is written to the path of the option report is
 * a file of findings, also when there is nothing to say.
 */
uint64_t leak_check_report(const char *where, bool is_complete);

/* The same as a file of findings at the path `where`. False: it could not be written. *ret_blocks: leaked ones, those taken back included. */
bool leak_check_findings(
	const char *where, bool is_complete, enum findings_reason reason, uint64_t *ret_blocks);

/* A leaked block was taken back: remembered for the report. Lock CYCLE. */
struct leaked;
void leak_check_note_reclaimed(const struct leaked *leaked);

/* After fork, in the child: what the parent took back is the parent's. */
void leak_check_after_fork(void);

/* The status to exit with: options.exitcode if there are leaks and the program's own is 0, else the program's own. */
int leak_check_exit_status(int status, uint64_t leaks);
