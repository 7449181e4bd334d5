/*
 * gasket status: the page of a process as text or JSON.
 */
#include "cli/command.h"
#include "cli/figures.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LABEL_WIDTH = 12 };

static void label(const char *text)
{
	printf("%-*s", LABEL_WIDTH, text);
}

static void print_misuse(const struct stats_page *page)
{
	if (page->double_frees || page->foreign_frees || page->interior_frees) {
		label("misuse");
		printf("double free %" PRIu64 ", foreign free %" PRIu64 ", interior free %" PRIu64
		       ", all ignored\n",
			page->double_frees, page->foreign_frees, page->interior_frees);
	}
	if (page->evidence) {
		label("evidence");
		printf("%" PRIu64 " uses of unreachable blocks%s\n", page->evidence,
			page->reclaim_stopped ? "; leaks are not taken back any more" : "");
	}
	if (page->log_lines_dropped) {
		label("log");
		printf("%" PRIu64 " lines found no place to go\n", page->log_lines_dropped);
	}
}

static void print_cycles(const struct stats_page *page)
{
	label("cycles");
	if (page->cycles == 0)
		printf("none yet\n");
	else
		printf("%" PRIu64 ", %" PRIu64 " with a verdict; threads %" PRIu64 "\n",
			page->cycles, page->cycles_with_verdict, page->threads);
	if (page->cycles_without_verdict) {
		label("no verdict");
		printf("%" PRIu64 " cycles in a row: %s\n", page->cycles_without_verdict,
			word_of(STATS_NO_VERDICT_WORDS, page->no_verdict));
	}
	if (page->trusting || page->trusted_bytes) {
		label("trusted");
		printf("%s used again unproved for want of verdicts%s\n",
			size_of(page->trusted_bytes).text,
			page->trusting ? ", at present" : ", in the past");
	}
	if (page->cycles) {
		label("last pause");
		printf("%.3f ms, of it stopping %.3f ms; longest %.3f ms\n",
			ms_of(page->last_pause_ns), ms_of(page->stop_ns),
			ms_of(page->max_pause_ns));
	}
	if (page->waits) {
		label("waits");
		printf("%" PRIu64 " for a cycle to end; longest %.3f ms, %.3f ms in all\n",
			page->waits, ms_of(page->max_wait_ns), ms_of(page->total_wait_ns));
	}
}

static void print_full(const struct process *process)
{
	const struct stats_page *page = &process->page;

	label("process");
	printf("%d (%s)\n", process->pid, process->name);
	label("state");
	if (page->aside)
		printf("standing aside: %s\n", word_of(STATS_ASIDE_WORDS, page->aside));
	else
		printf("on\n");
	label("mode");
	printf("%s (free=%s leaks=%s collector=%s), tier %s\n", option_word("mode", page->mode),
		option_word("free", page->free), option_word("leaks", page->leaks),
		option_word("collector", page->collector), word_of(STATS_TIER_WORDS, page->tier));
	label("heap");
	printf("%s, live %s\n", size_of(page->heap_bytes).text, size_of(page->live_bytes).text);
	label("hinted");
	printf("%s; %" PRIu64 " blocks reused, %" PRIu64 " still referred to\n",
		size_of(page->hinted_bytes).text, page->reused_blocks, page->dangling_blocks);
	label("leaked");
	printf("%s in %" PRIu64 " blocks\n", size_of(page->leaked_bytes).text, page->leaked_blocks);
	label("reclaimed");
	printf("%s in %" PRIu64 " blocks\n", size_of(page->reclaimed_bytes).text,
		page->reclaimed_blocks);
	print_cycles(page);
	print_misuse(page);
}

static void print_row_head(void)
{
	printf("%7s %-16s %-6s %-6s %10s %10s %10s %10s %10s %7s %9s\n", "PID", "NAME", "STATE",
		"MODE", "HEAP", "LIVE", "HINTED", "LEAKED", "RECLAIMED", "CYCLES", "PAUSE ms");
}

static void print_row(const struct process *process, enum process_result result)
{
	const struct stats_page *page = &process->page;

	printf("%7d %-16.16s ", process->pid, process->name);
	if (result != PROCESS_FOUND) {
		printf("%s\n",
			result == PROCESS_WITHOUT_PAGE ? "no page yet" : "page cannot be read");
		return;
	}
	printf("%-6s %-6s %10s %10s %10s %10s %10s %7" PRIu64 " %9.3f\n",
		page->aside ? "aside" : "on", option_word("mode", page->mode),
		size_of(page->heap_bytes).text, size_of(page->live_bytes).text,
		size_of(page->hinted_bytes).text, size_of(page->leaked_bytes).text,
		size_of(page->reclaimed_bytes).text, page->cycles, ms_of(page->last_pause_ns));
}

/* Shows processes one by one: full text, rows of a table, or elements of `array`. */
struct display {
	bool table;
	bool any;
	json_object *array; // NULL: text
};

static void show(struct display *display, const struct process *process, enum process_result result)
{
	if (display->array)
		json_object_array_add(display->array, json_of(process, result));
	else if (display->table && !display->any)
		print_row_head();
	else if (display->any && !display->table)
		printf("\n");
	display->any = true;
	if (display->array)
		return;
	if (display->table)
		print_row(process, result);
	else if (result == PROCESS_FOUND)
		print_full(process);
	else
		printf("%-*s%d (%s)\n%-*sunder Gasket; no page yet: no collection and no blocking call so far\n",
			LABEL_WIDTH, "process", process->pid, process->name, LABEL_WIDTH, "state");
}

static bool show_one(struct display *display, pid_t pid)
{
	struct process process;
	enum process_result result = process_open(&process, pid, false);

	process_close(&process);
	if (result != PROCESS_FOUND && result != PROCESS_WITHOUT_PAGE) {
		process_warn(&process, result);
		return false;
	}
	show(display, &process, result);
	return true;
}

static int compare_pids(const void *a, const void *b)
{
	return *(const pid_t *)a < *(const pid_t *)b ? -1 : 1;
}

/* All process ids, ascending; allocated. */
static pid_t *list_processes(size_t *ret_count)
{
	DIR *list = opendir("/proc");
	struct dirent *entry;
	pid_t *pids = NULL;
	size_t count = 0;

	if (!list)
		fail(EXIT_FAILED, "/proc cannot be read");
	while ((entry = readdir(list))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (*end || pid <= 0)
			continue;
		pids = reallocarray(pids, count + 1, sizeof(*pids));
		if (!pids)
			fail(EXIT_FAILED, "no memory");
		pids[count++] = (pid_t)pid;
	}
	closedir(list);
	qsort(pids, count, sizeof(*pids), compare_pids);
	*ret_count = count;
	return pids;
}

static void show_all(struct display *display)
{
	size_t count;
	pid_t *pids = list_processes(&count);

	for (size_t i = 0; i < count; i++) {
		struct process process;
		enum process_result result;

		if (pids[i] == getpid())
			continue;
		result = process_open(&process, pids[i], false);
		process_close(&process);
		if (result == PROCESS_FOUND || result == PROCESS_WITHOUT_PAGE ||
			result == PROCESS_BAD_PAGE || result == PROCESS_OTHER_VERSION)
			show(display, &process, result);
	}
	free(pids);
}

/* One process that was asked for by its id is an object, anything else an array. */
static void print_json(json_object *array, bool as_array)
{
	json_object *shown = as_array ? array : json_object_array_get_idx(array, 0);

	puts(json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PRETTY |
							   JSON_C_TO_STRING_SPACED |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
}

int status_command(int argc, char **argv)
{
	struct display display = {0};
	const char *argument;
	bool all = false;
	int letter, first = 1, status = 0;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 'a')
			all = true;
		else
			display.array = json_object_new_array();
	}
	if (all == (first < argc))
		fail(EXIT_USAGE, all ? "status: --all or process ids, not both"
				     : "status: no process id; see gasket help status");
	display.table = all;
	if (all)
		show_all(&display);
	for (int i = first; i < argc; i++) {
		if (!show_one(&display, process_parse_pid("status", argv[i])))
			status = EXIT_FAILED;
	}
	if (display.array && (all || display.any))
		print_json(display.array, all || argc - first > 1);
	else if (all && !display.any)
		warn_line("no process under Gasket that may be looked at");
	return status;
}
