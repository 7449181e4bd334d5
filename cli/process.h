/*
 * A process as the command sees it: its page, found and validated.
 */
#pragma once

#include "core/profile/stats_page.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum process_result {
	PROCESS_FOUND,         // page[] holds its figures
	PROCESS_WITHOUT_PAGE,  // under Gasket, has not made a page yet
	PROCESS_MISSING,       // there is no such process
	PROCESS_ENDED,         // it has ended, and its parent has not asked for its status yet
	PROCESS_NOT_UNDER,     // it runs without Gasket
	PROCESS_NOT_PERMITTED, // it belongs to somebody else
	PROCESS_OTHER_VERSION, // its page has another format
	PROCESS_BAD_PAGE,      // what should be its page is not one
};

struct process {
	pid_t pid;
	char name[64];          // from /proc/PID/comm, printable
	int page_fd;            // the page's file, or -1
	struct stats_page page; // a copy; figures an older version lacks are 0
};

/* Finds process `pid` (as the caller's namespace numbers it). With `to_write` the file is opened
 * for a request. process_close() in any case. */
enum process_result process_open(struct process *process, pid_t pid, bool to_write);
void process_close(struct process *process);

/* Opens the report the process left beside its page, and removes it; -1 when there is none. */
int process_take_report(const struct process *process);

/* The same for the file of findings that `findings=now` made. */
int process_take_findings(const struct process *process);

/* The same for the file that `snapshot=now` made. */
int process_take_snapshot(const struct process *process);

/* It is no more: PROCESS_MISSING or PROCESS_ENDED. */
bool process_is_gone(enum process_result result);

/* The process runs, or stands still, and has not ended. */
bool process_is_alive(pid_t pid);

/* Prints the line that fits the result. */
void process_warn(const struct process *process, enum process_result result);

/* A positive decimal number, or the end of the command with one line. */
pid_t process_parse_pid(const char *command, const char *text);
