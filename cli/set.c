/*
 * gasket set: leaves a request in the page of a process and prints the answer.
 */
#include "cli/command.h"
#include "cli/process.h"
#include "cli/request.h"

#include <stdio.h>
#include <string.h>

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

static int print_answer(
	const struct process *process, struct request_answer *answer, const char *request)
{
	char *text = answer->text;

	if (ends_with(text, STATS_REPORT_SUFFIX) &&
		(answer->reply == STATS_REPLY_DONE || answer->reply == STATS_REPLY_NO_VERDICT)) {
		print_report(process);
		*text = 0;
		if (answer->reply == STATS_REPLY_DONE)
			return 0;
	}
	if (answer->reply == STATS_REPLY_DONE) {
		printf("%d (%s): %s: done%s%s\n", process->pid, process->name, request,
			*text ? ": " : "", text);
		return 0;
	}
	fail(EXIT_FAILED, "%d (%s): %s: %s%s%s", process->pid, process->name, request,
		request_reply_words(answer->reply), *text ? ": " : "", text);
}

int set_command(int argc, char **argv)
{
	struct process process;
	struct request_answer answer;
	enum process_result result;
	enum stats_request request;
	const char *argument;
	int seconds = REQUEST_TIMEOUT_SECONDS, first = 1;
	pid_t pid;

	while (command_next_switch(argc, argv, &argument, &first))
		seconds = request_parse_timeout("set", argument);
	if (argc - first != 2)
		fail(EXIT_USAGE, "set: needs a process id and one request; see gasket help set");
	pid = process_parse_pid("set", argv[first]);
	request = request_find(argv[first + 1]);
	if (request == STATS_REQUEST_NONE)
		fail(EXIT_USAGE, "set: unknown request '%s'; see gasket help set", argv[first + 1]);
	result = process_open(&process, pid, true);
	if (result != PROCESS_FOUND) {
		process_warn(&process, result);
		return EXIT_FAILED;
	}
	answer = request_make(&process, request, seconds);
	return print_answer(&process, &answer, argv[first + 1]);
}
