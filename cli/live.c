#include "cli/live.h"

#include "cli/command.h"

#include <stdlib.h>
#include <string.h>

enum { SECONDS = 60 }; // a cycle of a large heap beside the program takes some

void live_open(struct live *live, pid_t pid)
{
	enum process_result result = process_open(&live->process, pid, true);

	if (result == PROCESS_FOUND)
		return;
	process_warn(&live->process, result);
	exit(EXIT_FAILED);
}

void live_close(struct live *live)
{
	process_close(&live->process);
}

void live_ask(const struct live *live, enum stats_request request)
{
	struct request_answer answer = request_make(&live->process, request, SECONDS);

	if (answer.reply != STATS_REPLY_DONE)
		fail(EXIT_FAILED, "%d (%s): %s", live->process.pid, live->process.name,
			request_reply_words(answer.reply));
}

bool live_take_findings(const struct live *live, struct findings *ret_findings)
{
	struct request_answer answer =
		request_make(&live->process, STATS_REQUEST_FINDINGS_NOW, SECONDS);
	int fd;

	if (answer.reply != STATS_REPLY_DONE && answer.reply != STATS_REPLY_NO_VERDICT)
		fail(EXIT_FAILED, "%d (%s): %s%s%s", live->process.pid, live->process.name,
			request_reply_words(answer.reply), *answer.text ? ": " : "", answer.text);
	fd = process_take_findings(&live->process);
	if (fd < 0)
		fail(EXIT_FAILED, "%d (%s): its findings cannot be opened", live->process.pid,
			live->process.name);
	if (!findings_load(ret_findings, fd, live->process.name))
		exit(EXIT_FAILED);
	if (answer.reply == STATS_REPLY_NO_VERDICT)
		warn_line("%d (%s): the cycle gave no verdict: what is shown is of the last one",
			live->process.pid, live->process.name);
	return answer.reply == STATS_REPLY_DONE;
}

size_t live_parse_number(
	const char *command, const char *name, const char *text, unsigned long most)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || number < 1 || number > most)
		fail(EXIT_USAGE, "%s: bad value '%s' of --%s; see gasket help %s", command, text,
			name, command);
	return number;
}
