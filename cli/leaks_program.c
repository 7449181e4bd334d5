/*
 * gasket leaks PROGRAM: runs it as a child, waits, and turns what its processes found into one report and a status.
 *
 * Each process writes its figures and its findings to files of its own in a private directory (options stats_file, report and report_format); the
 * figures tell whether leaks were looked for where there are no findings. The report is made when the program has ended: many programs close
 * their standard error before that. The program's own status is never altered inside, so scripts and makefiles run to their end; only a final 0
 * is replaced.
 *
 * Who gives an option report of his own gets what processes write there, and no report from here.
 */
#include "cli/child.h"
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/leaks.h"
#include "cli/option_table.h"
#include "cli/program.h"
#include "core/profile/stats_page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[128];

/* What is known when the program has ended. */
struct outcome {
	struct hunt_result result;
	struct report_set set;
	pid_t program;
	bool seen;                     // the program itself left a file
	bool is_chosen;                // and is meant
	enum stats_exit_check check;   // what that says
	enum stats_no_verdict because; // why its last cycle gave no verdict, if known
};

/* In $TMPDIR if options can name it. */
static void make_directory(void)
{
	const char *place = getenv("TMPDIR");

	if (!place || *place != '/' || strpbrk(place, ":,%") ||
		strlen(place) > sizeof(directory) / 2)
		place = "/tmp";
	snprintf(directory, sizeof(directory), "%s/gasket-leaks-XXXXXX", place);
	if (!mkdtemp(directory))
		fail(EXIT_FAILED, "%s: %s", directory, strerror(errno));
}

/* A name in a text of options. */
static bool has_option(const char *options, const char *name)
{
	size_t length = strlen(name);

	while (options && *options) {
		if (!strncmp(options, name, length) && options[length] == '=')
			return true;
		options += strcspn(options, ":,");
		options += *options != 0;
	}
	return false;
}

static void add_own_options(const struct leaks_order *order)
{
	char *text;

	make_directory();
	if (asprintf(&text, "mode=watch:leaks=report:stacks=all:stats_file=%s/%%p", directory) < 0)
		fail(EXIT_FAILED, "no memory");
	launch_add_options(text);
	free(text);
	if (has_option(order->options, "report"))
		return;
	if (asprintf(&text,
		    "report_format=findings:report_possible=%s:report=%s/%%p" LEAKS_FINDINGS_SUFFIX,
		    leaks_want_possible(order) ? "on" : "off", directory) < 0)
		fail(EXIT_FAILED, "no memory");
	launch_add_options(text);
	free(text);
}

/* ---- what processes left ---- */

/* The number of the line name=number in an open file, or -1. */
static long read_figure(FILE *file, const char *name)
{
	char line[128];
	size_t length = strlen(name);

	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, length) && line[length] == '=')
			return strtol(line + length + 1, NULL, 10);
	}
	return -1;
}

static int open_file(int directory_fd, const char *name)
{
	return openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

static bool is_findings(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && !strcmp(dot, LEAKS_FINDINGS_SUFFIX);
}

static bool is_program(const struct outcome *outcome, const char *name)
{
	return strtol(name, NULL, 10) == outcome->program;
}

/* A damaged file was told of by the reader; its process is one that was not checked. */
static void take_findings(struct outcome *outcome, const struct leaks_order *order,
	int directory_fd, const char *name)
{
	int fd = open_file(directory_fd, name);
	struct findings findings;
	const char *path;
	bool loaded;

	if (fd < 0)
		return;
	leaks_keep(order, fd, name);
	loaded = findings_load(&findings, fd, name);
	close(fd);
	if (!loaded) {
		outcome->result.unchecked++;
		return;
	}
	path = findings_text(&findings, findings.meta.executable);
	if (hunt_choice_has(&order->choice, path)) {
		report_set_add(&outcome->set, &findings);
		hunt_note_process(&outcome->result, &findings.meta, &order->report);
	} else if (is_program(outcome, name)) {
		outcome->is_chosen = false;
	}
	if (is_program(outcome, name) && findings.meta.verdict != FINDINGS_VERDICT_FULL)
		outcome->because = (enum stats_no_verdict)findings.meta.no_verdict;
	findings_release(&findings);
}

static bool has_findings(int directory_fd, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%.40s" LEAKS_FINDINGS_SUFFIX, name);
	return !faccessat(directory_fd, path, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* A process that left figures only: what it was is not known. A child that looked for nothing, as forked ones that end by _exit do, says nothing. */
static void note_check(struct outcome *outcome, long check)
{
	switch (check) {
	case STATS_EXIT_CHECK_LEAKS:
		outcome->result.has_untold_leaks = true;
		outcome->result.checked++;
		break;
	case STATS_EXIT_CHECK_CLEAN:
		outcome->result.checked++;
		break;
	case STATS_EXIT_CHECK_NO_VERDICT:
		outcome->result.unchecked++;
		break;
	default:
		break;
	}
}

static void take_figures(struct outcome *outcome, int directory_fd, const char *name)
{
	int fd = open_file(directory_fd, name);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	long check;

	if (!file)
		return;
	check = read_figure(file, "exit_check");
	if (is_program(outcome, name) && check >= 0 && check < STATS_EXIT_CHECK_COUNT) {
		outcome->seen = true;
		outcome->check = (enum stats_exit_check)check;
	}
	if (!has_findings(directory_fd, name))
		note_check(outcome, check);
	fclose(file);
}

static void each_file(
	struct outcome *outcome, const struct leaks_order *order, DIR *list, bool wants_findings)
{
	struct dirent *entry;

	rewinddir(list);
	while ((entry = readdir(list))) {
		if (entry->d_name[0] == '.' || is_findings(entry->d_name) != wants_findings)
			continue;
		if (wants_findings)
			take_findings(outcome, order, dirfd(list), entry->d_name);
		else
			take_figures(outcome, dirfd(list), entry->d_name);
	}
}

static void remove_all(DIR *list)
{
	struct dirent *entry;

	rewinddir(list);
	while ((entry = readdir(list)))
		unlinkat(dirfd(list), entry->d_name, 0);
}

/* Reads the files and removes them and the directory. */
static void take_files(struct outcome *outcome, const struct leaks_order *order)
{
	DIR *list = opendir(directory);

	if (list) {
		each_file(outcome, order, list, true);
		each_file(outcome, order, list, false);
		remove_all(list);
		closedir(list);
	}
	rmdir(directory);
}

/* ---- report and status ---- */

/* What the program did may have taken long: what cannot be written where it should go is said here, as text. False: it was so. */
static bool write_somewhere(struct report_order *report, const struct report_set *set)
{
	bool has_file = report->output != NULL;

	if (set->count == 0 || report_order_write(report, set))
		return true;
	report->output = NULL;
	report->form = FORM_TEXT;
	if (has_file)
		report_order_write(report, set);
	return false;
}

/* False: not where it should go. */
static bool write_report(struct outcome *outcome, struct leaks_order *order)
{
	struct report_order *report = &order->report;
	char *path = NULL;
	bool done;

	suppressions_apply(report->suppressions, &outcome->set);
	report_set_sort(&outcome->set);
	hunt_leave_out_young(&outcome->set, order->confirm, &outcome->result);
	hunt_count(&outcome->result, &outcome->set, report);
	if (order->log_prefix && !report->output) {
		if (asprintf(&path, "%s.%d", order->log_prefix, outcome->program) < 0)
			fail(EXIT_FAILED, "no memory");
		report->output = path;
	}
	done = write_somewhere(report, &outcome->set);
	free(path);
	return done;
}

static const char *why_unchecked(const struct outcome *outcome)
{
	if (!outcome->seen)
		return "it did not end under Gasket";
	if (outcome->check == STATS_EXIT_CHECK_NO_VERDICT)
		return "the collector came to no verdict";
	return "leaks were not looked for at its end";
}

static void warn_unchecked(const char *name, const struct outcome *outcome)
{
	const struct hunt_result *result = &outcome->result;
	char why[128] = "";

	if (outcome->because != STATS_NO_VERDICT_NONE &&
		!words_get(STATS_NO_VERDICT_WORDS, outcome->because, why, sizeof(why)))
		*why = 0;
	if (outcome->is_chosen && (!outcome->seen || outcome->check != STATS_EXIT_CHECK_CLEAN))
		warn_line("%s: not checked: %s%s%s", name, why_unchecked(outcome), *why ? ": " : "",
			why);
	else if (result->checked == 0 && result->partial == 0 && result->unchecked == 0)
		warn_line("%s: not checked: none of its processes was meant", name);
	else
		warn_line("%s: checked in part: %u of %u processes were not, or not wholly", name,
			result->unchecked + result->partial,
			result->unchecked + result->partial + result->checked);
}

/* What the program itself did is part of the answer, even without findings of it. */
static void judge_program(struct outcome *outcome)
{
	bool was_counted = outcome->check != STATS_EXIT_CHECK_NONE && outcome->seen;

	if (outcome->is_chosen && !was_counted)
		outcome->result.unchecked++;
}

static int status_of(const char *name, int status, const struct leaks_order *order,
	const struct outcome *outcome)
{
	enum hunt_verdict verdict = hunt_verdict(&outcome->result);

	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	if (WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	if (verdict == HUNT_LEAKS)
		return order->exitcode;
	if (verdict != HUNT_CLEAN)
		warn_unchecked(name, outcome);
	return hunt_verdict_status(verdict);
}

int leaks_of_program(struct leaks_order *order, char **argv)
{
	struct outcome outcome = {0};
	char *path = program_demand_preloadable(argv[0]);
	int ended, status;
	bool written;

	outcome.is_chosen = hunt_choice_has(&order->choice, path);
	order->report.is_brief = true;
	launch_preload(launch_find_library());
	add_own_options(order);
	launch_add_options(order->options);
	ended = child_run(path, argv, &outcome.program);
	report_set_init(&outcome.set, order->report.root);
	take_files(&outcome, order);
	judge_program(&outcome);
	written = write_report(&outcome, order);
	status = status_of(argv[0], ended, order, &outcome);
	if (!written && status == 0)
		status = EXIT_FAILED;
	report_set_finish(&outcome.set);
	free(path);
	if (order->status_file && !hunt_write_status(order->status_file, &outcome.result, status) &&
		status == 0)
		status = EXIT_FAILED;
	if (WIFSIGNALED(ended))
		child_die_as(WTERMSIG(ended));
	return status;
}
