/*
 * gasket set: leaves a request in the page of a process and waits for its answer (protocol in
 * stats_page.h). The file is locked meanwhile, so that two requests do not overwrite each other.
 */
#include "cli/command.h"
#include "cli/process.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 10, TIMEOUT_SECONDS_MAX = 86400, LOCK_POLL_NS = 10000000 };

static enum stats_request parse_request(const char *text)
{
#define REQUEST(name, words, help) words,
	static const char *const words[] = {STATS_REQUESTS(REQUEST)};
#undef REQUEST

	for (int i = STATS_REQUEST_NONE + 1; i < STATS_REQUEST_COUNT; i++) {
		if (!strcmp(text, words[i]))
			return (enum stats_request)i;
	}
	fail(EXIT_USAGE, "set: unknown request '%s'; see gasket help set", text);
}

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

/* Sleeps on `done`; in slices, for the process may end without an answer. */
static bool wait_for_answer(
	const struct process *process, struct stats_command_area *area, double deadline)
{
	const struct timespec slice = {0, 200000000};
	uint32_t done;

	while ((done = load_acquire(&area->done)) != load_relaxed(&area->sequence)) {
		if (now() > deadline)
			return false;
		syscall(SYS_futex, &area->done, FUTEX_WAIT, done, &slice, NULL, 0);
		if (kill(process->pid, 0) && errno == ESRCH)
			fail(EXIT_FAILED, "%d (%s): ended without an answer", process->pid,
				process->name);
	}
	return true;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text);

	return length >= strlen(end) && !strcmp(text + length - strlen(end), end);
}

/* Shows the report that the process left for us. Its text is the process's word, too. */
static void print_report(const struct process *process)
{
	int fd = process_take_report(process), character;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (!file) {
		printf("%d (%s): nothing to report\n", process->pid, process->name);
		return;
	}
	while ((character = getc(file)) != EOF)
		putchar(character == '\n' || character == '\t' ||
					(character >= ' ' && character != 127)
				? character
				: '?');
	fclose(file);
}

/* Prints the answer; its text is the process's word, so only what can be printed is. */
static int print_answer(
	const struct process *process, struct stats_command_area *area, const char *request)
{
#define REPLY(name, words) words,
	static const char *const words[] = {STATS_REPLIES(REPLY)};
#undef REPLY
	uint32_t reply = load_relaxed(&area->reply);
	char text[STATS_TEXT_BYTES];

	memcpy(text, area->text, sizeof(text));
	text[sizeof(text) - 1] = 0;
	for (char *cursor = text; *cursor; cursor++)
		*cursor = *cursor >= ' ' && *cursor <= '~' ? *cursor : '?';
	if (ends_with(text, STATS_REPORT_SUFFIX) &&
		(reply == STATS_REPLY_DONE || reply == STATS_REPLY_NO_VERDICT)) {
		print_report(process);
		*text = 0;
		if (reply == STATS_REPLY_DONE)
			return 0;
	}
	if (reply == STATS_REPLY_DONE) {
		printf("%d (%s): %s: done%s%s\n", process->pid, process->name, request,
			*text ? ": " : "", text);
		return 0;
	}
	fail(EXIT_FAILED, "%d (%s): %s: %s%s%s", process->pid, process->name, request,
		reply < STATS_REPLY_COUNT ? words[reply] : "no reply", *text ? ": " : "", text);
}

static int ask(struct process *process, enum stats_request request, const char *words, int seconds)
{
	double deadline = now() + seconds;
	struct stats_page *page = mmap(
		NULL, STATS_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, process->page_fd, 0);

	if (page == MAP_FAILED)
		fail(EXIT_FAILED, "%d (%s): its page cannot be mapped: %s", process->pid,
			process->name, strerror(errno));
	if (!lock_until(process->page_fd, deadline))
		fail(EXIT_FAILED, "%d (%s): another request is under way", process->pid,
			process->name);
	post(&page->command, request);
	if (!wait_for_answer(process, &page->command, deadline))
		fail(EXIT_FAILED,
			"%d (%s): no answer within %d s; the request stays and is done when the process next comes by",
			process->pid, process->name, seconds);
	return print_answer(process, &page->command, words);
}

int set_command(int argc, char **argv)
{
	struct process process;
	enum process_result result;
	enum stats_request request;
	const char *argument;
	int seconds = TIMEOUT_SECONDS, first = 1;
	char *end;
	pid_t pid;

	while (command_next_switch(argc, argv, &argument, &first)) {
		seconds = (int)strtol(argument, &end, 10);
		if (*end || end == argument || seconds < 1 || seconds > TIMEOUT_SECONDS_MAX)
			fail(EXIT_USAGE, "set: bad value '%s' of --timeout; see gasket help set",
				argument);
	}
	if (argc - first != 2)
		fail(EXIT_USAGE, "set: needs a process id and one request; see gasket help set");
	pid = process_parse_pid("set", argv[first]);
	request = parse_request(argv[first + 1]);
	result = process_open(&process, pid, true);
	if (result != PROCESS_FOUND) {
		process_warn(&process, result);
		return EXIT_FAILED;
	}
	return ask(&process, request, argv[first + 1], seconds);
}
