/*
 * Requests: one at a time, under flock of the page's file, so that two commands do not overwrite each other's. The lock is released before
 * request_try() returns: the answer is copied by then.
 */
#include "cli/request.h"

#include "cli/command.h"
#include "cli/figures.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_POLL_NS = 10000000, ANSWER_POLL_NS = 200000000 };

static const double HINT_SECONDS =
	1.5; // without an answer, by which one is told why there may be none

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool lock_until(int fd, double deadline)
{
	const struct timespec pause = {0, LOCK_POLL_NS};

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || now() > deadline)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static void post(struct stats_command_area *area, enum stats_request request)
{
	store_relaxed(&area->request, (uint32_t)request);
	add_seq(&area->sequence, 1); // pairs with the load in stats_poll_command()
	add_seq(&area->wake, 1);
	syscall(SYS_futex, &area->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Of a process that looks for requests only now and then. */
static void hint(const struct process *process, const struct stats_page *page)
{
	const char *why = page->aside ? word_of(STATS_ASIDE_WORDS, page->aside) : NULL;
	bool may_have_one = !why && strcmp(option_word("collector", page->collector), "off") != 0;

	warn_line(
		"%d (%s): no answer yet. It has no collector thread%s%s%s, and looks for requests only when it begins to wait or takes more memory%s",
		process->pid, process->name, why ? " (" : "", why ? why : "", why ? ")" : "",
		may_have_one
			? ". Started with gasket run --mode watch, or -o interval_ms=1000, it has one from the start"
			: "");
}

/* Sleeps on `done`; in slices, for the process may end without an answer. */
static enum request_result wait_for_answer(
	const struct process *process, struct stats_page *page, double deadline)
{
	const struct timespec slice = {0, ANSWER_POLL_NS};
	struct stats_command_area *area = &page->command;
	double hint_time = now() + HINT_SECONDS;
	uint32_t done;

	while ((done = load_acquire(&area->done)) != load_relaxed(&area->sequence)) {
		if (now() > deadline)
			return REQUEST_TIMED_OUT;
		syscall(SYS_futex, &area->done, FUTEX_WAIT, done, &slice, NULL, 0);
		if (!process_is_alive(process->pid))
			return REQUEST_ENDED;
		if (hint_time < now()) {
			if (load_relaxed(&page->collector_thread) == 0)
				hint(process, page);
			else
				progress_line(
					"%d (%s) has not answered yet: waiting for %.0f s more at most",
					process->pid, process->name, deadline - now());
			hint_time = deadline + HINT_SECONDS; // once
		}
	}
	return REQUEST_ANSWERED;
}

static void copy_answer(const struct stats_command_area *area, struct request_answer *ret_answer)
{
	char *cursor = ret_answer->text;

	ret_answer->reply = (enum stats_reply)load_relaxed(&area->reply);
	memcpy(cursor, area->text, STATS_TEXT_BYTES);
	cursor[STATS_TEXT_BYTES - 1] = 0;
	for (; *cursor; cursor++)
		*cursor = *cursor >= ' ' && *cursor <= '~' ? *cursor : '?';
}

enum request_result request_try(const struct process *process, enum stats_request request,
	int seconds, struct request_answer *ret_answer)
{
	double deadline = now() + seconds;
	struct stats_page *page = mmap(
		NULL, STATS_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, process->page_fd, 0);
	enum request_result result;

	if (page == MAP_FAILED)
		return REQUEST_UNMAPPED;
	if (lock_until(process->page_fd, deadline)) {
		post(&page->command, request);
		result = wait_for_answer(process, page, deadline);
		if (result == REQUEST_ANSWERED)
			copy_answer(&page->command, ret_answer);
		flock(process->page_fd, LOCK_UN);
	} else {
		result = REQUEST_BUSY;
	}
	munmap(page, STATS_PAGE_BYTES);
	return result;
}

void request_warn(const struct process *process, enum request_result result, int seconds)
{
	static const char *const words[] = {
		[REQUEST_ANSWERED] = "answered",
		[REQUEST_UNMAPPED] = "its page cannot be mapped",
		[REQUEST_BUSY] = "another request is under way",
		[REQUEST_ENDED] = "ended without an answer",
	};

	if (result == REQUEST_TIMED_OUT)
		warn_line(
			"%d (%s): no answer within %d s; the request stays and is done when the process next comes by",
			process->pid, process->name, seconds);
	else
		warn_line("%d (%s): %s", process->pid, process->name, words[result]);
}

struct request_answer request_make(
	const struct process *process, enum stats_request request, int seconds)
{
	struct request_answer answer;
	enum request_result result = request_try(process, request, seconds, &answer);

	if (result == REQUEST_ANSWERED)
		return answer;
	request_warn(process, result, seconds);
	exit(EXIT_FAILED);
}

const char *request_reply_words(enum stats_reply reply)
{
#define REPLY(name, words) words,
	static const char *const words[] = {STATS_REPLIES(REPLY)};
#undef REPLY

	return (unsigned)reply < STATS_REPLY_COUNT ? words[reply] : "no reply";
}

enum stats_request request_find(const char *text)
{
#define REQUEST(name, words, help) words,
	static const char *const words[] = {STATS_REQUESTS(REQUEST)};
#undef REQUEST

	for (int i = STATS_REQUEST_NONE + 1; i < STATS_REQUEST_COUNT; i++) {
		if (!strcmp(text, words[i]))
			return (enum stats_request)i;
	}
	return STATS_REQUEST_NONE;
}

int request_parse_timeout(const char *command, const char *text)
{
	char *end;
	long seconds;

	errno = 0;
	seconds = strtol(text, &end, 10);
	if (errno || *end || end == text || seconds < 1 || seconds > REQUEST_TIMEOUT_SECONDS_MAX)
		fail(EXIT_USAGE, "%s: bad value '%s' of --timeout; see gasket help %s", command,
			text, command);
	return (int)seconds;
}
