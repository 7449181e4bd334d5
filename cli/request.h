/*
 * A request to a live process, through its page (protocol in stats_page.h).
 */
#pragma once

#include "cli/process.h"
#include "core/profile/stats_page.h"

#include <stdbool.h>

enum { REQUEST_TIMEOUT_SECONDS = 10, REQUEST_TIMEOUT_SECONDS_MAX = 86400 };

enum request_result {
	REQUEST_ANSWERED,
	REQUEST_UNMAPPED, // its page cannot be mapped
	REQUEST_BUSY,     // another request was under way all the time
	REQUEST_TIMED_OUT, // no answer in time; the request stays and is done when the process next comes by
	REQUEST_ENDED, // the process ended without an answer
};

/* The process's word: only what can be printed is in `text`. */
struct request_answer {
	enum stats_reply reply;
	char text[STATS_TEXT_BYTES];
};

/* Leaves the request and waits for the answer. The process was opened with `to_write`; other commands wait meanwhile. *ret_answer is only written when
 * there is one. */
enum request_result request_try(const struct process *process, enum stats_request request,
	int seconds, struct request_answer *ret_answer);

/* The line that fits a result other than REQUEST_ANSWERED. */
void request_warn(const struct process *process, enum request_result result, int seconds);

/* Both: a process that does not answer is the end of the command, with one line and EXIT_FAILED. */
struct request_answer request_make(
	const struct process *process, enum stats_request request, int seconds);

/* The reply in words. */
const char *request_reply_words(enum stats_reply reply);

/* The request of this name (as `gasket set` takes it), or STATS_REQUEST_NONE. */
enum stats_request request_find(const char *words);

/* A value of --timeout, or the end of `command` with one line. */
int request_parse_timeout(const char *command, const char *text);
