/*
 * gasket watch: looks at one process again and again, and prints only what is new since the look before.
 *
 * Leaks are compared by id, which stays the same from look to look. What is remembered is an id and two sums for each leak ever seen, so memory is
 * bounded by the number of places that leak.
 */
#include "cli/command.h"
#include "cli/figures.h"
#include "cli/hunt.h"
#include "cli/live_findings.h"
#include "cli/memory.h"
#include "cli/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { EVERY_SECONDS = 60, EVERY_SECONDS_MAX = 86400, COUNT_MAX = 1000000000 };

/* A leak of this look or an earlier one; all findings of one id together: the same function, other lines. */
struct known {
	char id[REPORT_ID_DIGITS + 1];
	uint64_t bytes, blocks;               // at the look before
	uint64_t now_bytes, now_blocks;       // at this one
	const struct report_finding *finding; // of this one, the largest, or NULL
};

struct watch {
	struct report_order report;
	pid_t pid;
	uint64_t start_time; // of the process: another one may get its id
	int seconds;         // for an answer
	unsigned every;
	unsigned long count; // looks; 0: no end
	struct known *known;
	size_t known_count;
	uint64_t bytes, blocks; // at the last look with a verdict
	bool has_verdict;       // of any look
};

static unsigned parse_time(const char *text)
{
	static const char letters[] = "smh";
	static const unsigned long seconds[] = {1, 60, 3600};
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	const char *unit = *end ? strchr(letters, *end) : letters;

	if (*text < '0' || *text > '9' || !unit || (*end && end[1]) || number < 1 ||
		number > EVERY_SECONDS_MAX / seconds[unit - letters])
		fail(EXIT_USAGE, "watch: bad value '%s' of --every; see gasket help watch", text);
	return (unsigned)(number * seconds[unit - letters]);
}

static unsigned long parse_count(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || number < 1 || number > COUNT_MAX)
		fail(EXIT_USAGE, "watch: bad value '%s' of --count; see gasket help watch", text);
	return number;
}

static struct known *find_known(struct watch *watch, const char *id)
{
	for (size_t i = 0; i < watch->known_count; i++) {
		if (!strcmp(watch->known[i].id, id))
			return &watch->known[i];
	}
	watch->known = memory_grow(watch->known, watch->known_count, sizeof(*watch->known));
	watch->known[watch->known_count] = (struct known){0};
	memcpy(watch->known[watch->known_count].id, id, sizeof(watch->known->id));
	return &watch->known[watch->known_count++];
}

static void print_time(void)
{
	char text[32];
	time_t now = time(NULL);
	struct tm parts;

	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&now, &parts));
	fputs(text, stdout);
}

static void note(struct watch *watch, const struct report_finding *finding)
{
	struct known *known = find_known(watch, finding->id);

	if (!known->finding)
		known->finding = finding;
	known->now_bytes += report_total_bytes(finding);
	known->now_blocks += report_total_blocks(finding);
}

/* A line if there is more of it than at the look before; then this look is the one before. */
static void compare(struct known *known)
{
	if (known->finding && known->now_blocks > known->blocks) {
		print_time();
		printf(" %s  %" PRIu64 " bytes in %" PRIu64 " objects  ",
			known->blocks == 0 ? "new " : "more",
			known->now_bytes > known->bytes ? known->now_bytes - known->bytes : 0,
			known->now_blocks - known->blocks);
		hunt_print_site(stdout, known->finding);
		printf("  %s\n", known->id);
	}
	known->bytes = known->now_bytes;
	known->blocks = known->now_blocks;
	known->now_bytes = known->now_blocks = 0;
	known->finding = NULL;
}

static void print_totals(struct watch *watch, const struct hunt_result *result, uint64_t live)
{
	print_time();
	printf(" leaked %s in %" PRIu64 " objects of %zu sites, %+" PRId64
	       " bytes since the last look; live %s\n",
		size_of(result->bytes).text, result->blocks, result->sites,
		(int64_t)(result->bytes - watch->bytes), size_of(live).text);
	watch->bytes = result->bytes;
	watch->blocks = result->blocks;
}

static void compare_all(struct watch *watch, const struct findings *findings)
{
	struct report_view leaks = {.kinds = 1u << FINDING_LEAK | 1u << FINDING_INDIRECT};
	struct hunt_result result = {0};
	struct report_set set;

	report_set_init(&set, watch->report.root);
	report_set_add(&set, findings);
	suppressions_apply(watch->report.suppressions, &set);
	report_set_sort(&set);
	hunt_count(&result, &set, &watch->report);
	for (size_t i = 0; i < set.reports[0].finding_count; i++) {
		if (report_view_has(&leaks, &set.reports[0].findings[i]))
			note(watch, &set.reports[0].findings[i]);
	}
	for (size_t i = 0; i < watch->known_count; i++)
		compare(&watch->known[i]);
	print_totals(watch, &result, findings->meta.live_bytes);
	report_set_finish(&set);
}

/* A process that has the library loses it only by ending; another one may get its id. */
static bool is_the_same(
	const struct watch *watch, const struct process *process, enum process_result found)
{
	if (watch->start_time == 0)
		return found != PROCESS_MISSING;
	if (found == PROCESS_FOUND)
		return process->page.start_time == watch->start_time;
	return found != PROCESS_MISSING && found != PROCESS_NOT_UNDER;
}

/* False: the process has ended. */
static bool look(struct watch *watch)
{
	struct process process;
	struct findings findings;
	enum process_result found = process_open(&process, watch->pid, true);
	enum live_findings taken = LIVE_FINDINGS_FAILED;
	bool is_there =
		found != PROCESS_MISSING && (found != PROCESS_FOUND || watch->start_time == 0 ||
						    process.page.start_time == watch->start_time);

	if (is_there && found != PROCESS_FOUND) {
		process_warn(&process, found);
	} else if (is_there) {
		watch->start_time = process.page.start_time;
		taken = live_findings_take(&process, false, watch->seconds, &findings);
		is_there = taken != LIVE_FINDINGS_ENDED;
	}
	if (taken == LIVE_FINDINGS_TAKEN) {
		if (findings.meta.verdict == FINDINGS_VERDICT_NONE) {
			print_time();
			printf(" no verdict: %s\n",
				word_of(STATS_NO_VERDICT_WORDS, findings.meta.no_verdict));
		} else {
			watch->has_verdict = true;
			compare_all(watch, &findings);
		}
		findings_release(&findings);
	}
	process_close(&process);
	fflush(stdout);
	return is_there;
}

/* Returns early when the process ends meanwhile. */
static bool wait_for_next(const struct watch *watch)
{
	const struct timespec second = {1, 0};
	struct process process;

	for (unsigned i = 0; i < watch->every; i++) {
		bool is_there;

		nanosleep(&second, NULL);
		is_there = is_the_same(watch, &process, process_open(&process, watch->pid, false));
		process_close(&process);
		if (!is_there)
			return false;
	}
	return true;
}

static void demand_watchable(struct watch *watch)
{
	struct process process;
	enum process_result found = process_open(&process, watch->pid, true);

	if (found != PROCESS_FOUND && found != PROCESS_WITHOUT_PAGE) {
		process_warn(&process, found);
		exit(EXIT_NOT_CHECKED);
	}
	process_close(&process);
}

static int watch_to_the_end(struct watch *watch)
{
	bool is_there = true;

	demand_watchable(watch);
	for (unsigned long i = 1; is_there; i++) {
		is_there = look(watch);
		if (i == watch->count)
			break;
		is_there = is_there && wait_for_next(watch);
	}
	if (!is_there) {
		print_time();
		printf(" %d: the process has ended\n", watch->pid);
	}
	if (watch->blocks > 0)
		return EXIT_LEAKS;
	return watch->has_verdict ? 0 : EXIT_NOT_CHECKED;
}

int watch_command(int argc, char **argv)
{
	struct watch watch = {.every = EVERY_SECONDS, .seconds = 6 * REQUEST_TIMEOUT_SECONDS};
	const char *argument;
	int letter, first = 1, status;

	report_order_init(&watch.report, "watch", stdout);
	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (report_order_take(
			    &watch.report, command_switch_name("watch", letter), argument))
			continue;
		if (letter == 'e')
			watch.every = parse_time(argument);
		else if (letter == 'c')
			watch.count = parse_count(argument);
		else
			watch.seconds = request_parse_timeout("watch", argument);
	}
	if (argc - first != 1)
		fail(EXIT_USAGE, "watch: needs one process id; see gasket help watch");
	watch.pid = process_parse_pid("watch", argv[first]);
	status = watch_to_the_end(&watch);
	report_order_finish(&watch.report);
	free(watch.known);
	return status;
}
