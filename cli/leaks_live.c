/*
 * gasket leaks PID: the process runs a cycle and leaves its findings beside its page (request findings=now, or findings=possible); they are taken away and shown. Nothing
 * but the cycle happens in the process, and files, names and lines are looked up here.
 *
 * A block whose only address is on its way somewhere while the cycle looks is none of the program's leaks; --confirm asks that many cycles, a
 * second apart, and keeps what every one of them found.
 */
#include "cli/command.h"
#include "cli/leaks.h"
#include "cli/live.h"
#include "cli/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CONFIRM_PAUSE_SECONDS = 1 };

/* Asks again and again; the last findings count, and are kept. */
static bool ask_confirmed(const struct process *process, const struct leaks_order *order,
	struct findings *ret_findings)
{
	const struct timespec pause = {CONFIRM_PAUSE_SECONDS, 0};
	char name[32];
	bool loaded;
	int fd;

	for (uint32_t i = 1; i < order->confirm; i++) {
		if (live_findings_open(process, false, order->seconds, &fd) != LIVE_FINDINGS_TAKEN)
			return false;
		close(fd);
		nanosleep(&pause, NULL);
	}
	if (live_findings_open(process, leaks_want_possible(order), order->seconds, &fd) !=
		LIVE_FINDINGS_TAKEN)
		return false;
	snprintf(name, sizeof(name), "%d" LEAKS_FINDINGS_SUFFIX, process->pid);
	leaks_keep(order, fd, name);
	loaded = findings_load(ret_findings, fd, process->name);
	close(fd);
	return loaded;
}

static void take_process(struct report_set *set, struct hunt_result *result,
	const struct leaks_order *order, pid_t pid)
{
	struct process process;
	struct findings findings;
	const char *executable;
	enum process_result found = process_open(&process, pid, true);

	if (found != PROCESS_FOUND) {
		process_warn(&process, found);
		result->unchecked++;
	} else if (!ask_confirmed(&process, order, &findings)) {
		result->unchecked++;
	} else {
		executable = findings_text(&findings, findings.meta.executable);
		if (hunt_choice_has(&order->choice, executable)) {
			report_set_add(set, &findings);
			hunt_note_process(result, &findings.meta, &order->report);
		}
		findings_release(&findings);
	}
	process_close(&process);
}

int leaks_of_processes(struct leaks_order *order, int count, char **words)
{
	struct hunt_result result = {0};
	struct report_set set;
	enum hunt_verdict verdict;
	bool written;
	int status;

	order->report.stream = stdout;
	report_set_init(&set, order->report.root);
	for (int i = 0; i < count; i++)
		take_process(&set, &result, order, process_parse_pid("leaks", words[i]));
	suppressions_apply(order->report.suppressions, &set);
	report_set_sort(&set);
	hunt_leave_out_young(&set, order->confirm, &result);
	hunt_count(&result, &set, &order->report);
	written = set.count == 0 || report_order_write(&order->report, &set);
	if (result.unconfirmed > 0)
		warn_line("%zu leaks that fewer than %u cycles found are left out",
			result.unconfirmed, order->confirm);
	verdict = hunt_verdict(&result);
	status = !written                ? EXIT_FAILED
		 : verdict == HUNT_LEAKS ? order->exitcode
					 : hunt_verdict_status(verdict);
	report_set_finish(&set);
	if (order->status_file && !hunt_write_status(order->status_file, &result, status) &&
		status == 0)
		status = EXIT_FAILED;
	return status;
}
