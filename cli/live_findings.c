/*
 * The requests findings=now and findings=possible, and the file that is the answer. The cycle may have given no verdict: the file then says so and why, and it is loaded
 * all the same.
 */
#include "cli/live_findings.h"

#include "cli/command.h"
#include "cli/request.h"

enum live_findings live_findings_take(const struct process *process, bool with_possible,
	int seconds, struct findings *ret_findings)
{
	struct request_answer answer;
	enum request_result result = request_try(process,
		with_possible ? STATS_REQUEST_FINDINGS_POSSIBLE : STATS_REQUEST_FINDINGS_NOW,
		seconds, &answer);
	int fd;

	if (result != REQUEST_ANSWERED) {
		request_warn(process, result, seconds);
		return result == REQUEST_ENDED ? LIVE_FINDINGS_ENDED : LIVE_FINDINGS_FAILED;
	}
	if (answer.reply != STATS_REPLY_DONE && answer.reply != STATS_REPLY_NO_VERDICT) {
		warn_line("%d (%s): %s%s%s", process->pid, process->name,
			request_reply_words(answer.reply), *answer.text ? ": " : "", answer.text);
		return LIVE_FINDINGS_FAILED;
	}
	fd = process_take_findings(process);
	if (fd < 0) {
		warn_line("%d (%s): its findings cannot be opened", process->pid, process->name);
		return LIVE_FINDINGS_FAILED;
	}
	return findings_load(ret_findings, fd, process->name) ? LIVE_FINDINGS_TAKEN
							      : LIVE_FINDINGS_FAILED;
}
