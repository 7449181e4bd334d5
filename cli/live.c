/*
 * The request findings=now, and the file that is the answer. The cycle may have given no verdict: the file then says so and why, and it is loaded
 * all the same.
 */
#include "cli/live.h"

#include "cli/command.h"

#include <stdlib.h>
#include <unistd.h>

enum { SECONDS = 60 }; // a cycle of a large heap beside the program takes some

enum live_findings live_findings_open(
	const struct process *process, bool with_possible, int seconds, int *ret_fd)
{
	struct request_answer answer;
	enum request_result result = request_try(process,
		with_possible ? STATS_REQUEST_FINDINGS_POSSIBLE : STATS_REQUEST_FINDINGS_NOW,
		seconds, &answer);

	if (result != REQUEST_ANSWERED) {
		request_warn(process, result, seconds);
		return result == REQUEST_ENDED ? LIVE_FINDINGS_ENDED : LIVE_FINDINGS_FAILED;
	}
	if (answer.reply != STATS_REPLY_DONE && answer.reply != STATS_REPLY_NO_VERDICT) {
		warn_line("%d (%s): %s%s%s", process->pid, process->name,
			request_reply_words(answer.reply), *answer.text ? ": " : "", answer.text);
		return LIVE_FINDINGS_FAILED;
	}
	*ret_fd = process_take_findings(process);
	if (*ret_fd < 0)
		warn_line("%d (%s): its findings cannot be opened", process->pid, process->name);
	return *ret_fd < 0 ? LIVE_FINDINGS_FAILED : LIVE_FINDINGS_TAKEN;
}

enum live_findings live_findings_take(
	const struct process *process, int seconds, struct findings *ret_findings)
{
	int fd;
	enum live_findings taken = live_findings_open(process, false, seconds, &fd);

	if (taken != LIVE_FINDINGS_TAKEN)
		return taken;
	if (!findings_load(ret_findings, fd, process->name))
		taken = LIVE_FINDINGS_FAILED;
	close(fd);
	return taken;
}

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

bool live_has_verdict(const struct live *live, const struct findings *findings)
{
	if (findings->meta.verdict != FINDINGS_VERDICT_NONE)
		return true;
	warn_line("%d (%s): the cycle gave no verdict: what is shown is of the last one",
		live->process.pid, live->process.name);
	return false;
}

bool live_take_findings(const struct live *live, struct findings *ret_findings)
{
	if (live_findings_take(&live->process, SECONDS, ret_findings) != LIVE_FINDINGS_TAKEN)
		exit(EXIT_FAILED);
	return live_has_verdict(live, ret_findings);
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
