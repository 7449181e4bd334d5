/*
 * What is obeyed here: leaks=off; a report or findings now, for which a cycle is run first; and a snapshot now (heap_file.c), which is answered later. What changes the
 * allocator is core/alloc's (cycle_obey_hook).
 *
 * Locks: CYCLE while a report is written.
 */
#include "core/gc/command.h"

#include "core/base/format.h"
#include "core/base/option.h"
#include "core/gc/collector.h"
#include "core/gc/cycle.h"
#include "core/gc/dangling.h"
#include "core/gc/growth.h"
#include "core/gc/heap_file.h"
#include "core/gc/leak_check.h"
#include "core/gc/possible.h"
#include "core/gc/sites.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { TRIES = 4 };

enum stats_reply (*cycle_obey_hook)(enum stats_request request);

/*
 * A report that has no file of its own (report=PATH) goes to who asked: beside the public page, from where `gasket set` prints it. `text`
 * becomes where it is.
 */
static enum stats_reply report_now(char *text, size_t capacity)
{
	struct signal_guard guard;
	bool has_path = strcmp(options.report, "off") != 0 && strcmp(options.report, "stderr") != 0,
	     beside = false;
	bool verdict = collector_run_cycle(false);
	uint64_t leaks;
	struct stat status;

	if (has_path)
		format_text(text, capacity, "%s", options.report);
	else if (!(beside = stats_report_path(text, capacity)))
		format_text(text, capacity, "stderr");
	signals_block(&guard);
	lock_acquire(cycle_lock());
	leaks = leak_check_report(text, verdict);
	lock_release(cycle_lock());
	signals_restore(&guard);
	if (beside && leaks > 0 &&
		syscall_failed(SYSCALL(newfstatat, AT_FDCWD, text, &status, AT_SYMLINK_NOFOLLOW))) {
		format_text(text, capacity, "the report could not be written");
		return STATS_REPLY_FAILED;
	}
	return verdict ? STATS_REPLY_DONE : STATS_REPLY_NO_VERDICT;
}

/* A cycle that judges leaks: one may fail because a thread stands badly, or pointers are in flight. */
static bool judge_leaks(void)
{
	uint32_t never = 0;

	for (int i = 0; i < TRIES; i++) {
		if (collector_run_cycle(false) && cycle_last.leaks_judged)
			return true;
		if (options.leaks == LEAKS_OFF || options.collector == COLLECTOR_OFF)
			return false;
		futex_wait(&never, 0, NS_PER_MS << i);
	}
	return false;
}

/* The file is written after the cycle, while the program runs. */
static enum stats_reply findings_now(bool with_possible, char *text, size_t capacity)
{
	struct signal_guard guard;
	uint64_t blocks;
	bool verdict, written;

	if (!stats_path_beside(STATS_FINDINGS_SUFFIX, text, capacity)) {
		format_text(text, capacity, "there is no public page beside which to write it");
		return STATS_REPLY_FAILED;
	}
	dangling_demand();
	if (with_possible)
		possible_demand(POSSIBLE_PATIENCE_MS * NS_PER_MS);
	sites_demand();
	verdict = judge_leaks();
	possible_await(collector_serve);
	signals_block(&guard);
	lock_acquire(cycle_lock());
	written = leak_check_findings(text, verdict, FINDINGS_REASON_REQUEST, &blocks);
	lock_release(cycle_lock());
	signals_restore(&guard);
	if (!written) {
		format_text(text, capacity, "the file could not be written");
		return STATS_REPLY_FAILED;
	}
	return verdict ? STATS_REPLY_DONE : STATS_REPLY_NO_VERDICT;
}

/* STATS_REPLY_NONE: the answer comes later. */
static enum stats_reply obey(const struct stats_command *command, char *text, size_t capacity)
{
	switch (command->request) {
	case STATS_REQUEST_LEAKS_OFF:
		options.leaks = LEAKS_OFF;
		stats_set(leaks, LEAKS_OFF);
		return STATS_REPLY_DONE;
	case STATS_REQUEST_FREE_TRUST:
	case STATS_REQUEST_COLLECTOR_OFF:
		return cycle_obey_hook ? cycle_obey_hook(command->request) : STATS_REPLY_REFUSED;
	case STATS_REQUEST_REPORT_NOW:
		return report_now(text, capacity);
	case STATS_REQUEST_FINDINGS_NOW:
	case STATS_REQUEST_FINDINGS_POSSIBLE:
		return findings_now(
			command->request == STATS_REQUEST_FINDINGS_POSSIBLE, text, capacity);
	case STATS_REQUEST_GROWTH_WATCH:
		if (options.collector == COLLECTOR_OFF)
			return STATS_REPLY_REFUSED;
		growth_watch(clock_now_ns());
		return STATS_REPLY_DONE;
	case STATS_REQUEST_SNAPSHOT_NOW:
		return heap_file_begin(command, text, capacity);
	default:
		return STATS_REPLY_UNKNOWN;
	}
}

void command_answer(void)
{
	struct stats_command command;
	char text[STATS_TEXT_BYTES] = "";
	enum stats_reply reply;

	if (!stats_poll_command(&command))
		return;
	reply = obey(&command, text, sizeof(text));
	if (reply != STATS_REPLY_NONE)
		stats_command_done(&command, reply, text);
}
