/*
 * gasket growth: which sites of the reachable heap rise.
 *
 * The process keeps a history of each site (FINDINGS_SERIES); what rises in the window asked for is decided here, by the rules that the process uses (core/base/trend.h). While we
 * wait for the window to pass, the process watches its growth: it runs a cycle now and then, and we look as often.
 */
#include "cli/command.h"
#include "cli/findings.h"
#include "cli/interrupt.h"
#include "cli/live.h"
#include "cli/memory.h"
#include "cli/render.h"
#include "core/profile/findings_growing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	WINDOW_MS = 600000,
	INTERVAL_MS = 20000,
	LOOKS_PER_WINDOW = 20,
	SECONDS = 6 * REQUEST_TIMEOUT_SECONDS, // for an answer
	TOP = 20,
	TOP_MAX = 100000,
	WINDOW_S_MAX = 366 * 86400,
};

static struct {
	uint64_t window_ms; // 0: none was asked for
	bool once;
	size_t top;
	const char *root;
	pid_t pid;
} asked;

/* ---- what rises ---- */

static size_t points_of(const struct findings *findings, const struct findings_site *site,
	struct trend_point *points)
{
	size_t count = findings->time_count, first = (size_t)(site->series - 1) * count;

	if (site->series == 0 || count > TREND_POINTS_MAX || count == 0 ||
		site->series > findings->series_count / count)
		return 0;
	for (size_t i = 0; i < count; i++) {
		points[i] = (struct trend_point){findings->times[i], findings->series[first + i]};
		if (i > 0 && points[i].ms <= points[i - 1].ms)
			return 0;
	}
	return count;
}

/* Blocks are there without stacks. */
static bool keeps_few_stacks(const struct findings *findings)
{
	return findings->meta.sample_bytes != 0 || findings->site_count == 0;
}

static bool site_rises(
	const struct findings *findings, const struct findings_site *site, struct trend *ret_trend)
{
	struct trend_point points[TREND_POINTS_MAX];
	size_t count = points_of(findings, site, points);
	struct trend_rules rules = {
		.interval_ms = asked.window_ms ? asked.window_ms / TREND_WINDOW_INTERVALS + 1
					       : INTERVAL_MS,
		.window_ms = asked.window_ms,
		.error_bytes = (double)site->error_bytes,
	};

	return trend_rises(points, count, &rules, ret_trend);
}

static void add(
	struct findings *findings, const struct findings_site *site, const struct trend *trend)
{
	findings->list = memory_grow(findings->list, findings->list_count, sizeof(*findings->list));
	findings->list[findings->list_count++] = finding_of_trend(site, trend);
}

/* A site rises as the size does: that is why. */
static bool is_explained(const struct findings *findings, size_t sites, double slope)
{
	for (size_t i = 0; i < sites; i++) {
		if (trend_explains((double)findings->list[i].slope_bytes_per_s, slope))
			return true;
	}
	return false;
}

/* Puts what rises in the place of the findings: sites, and sizes that no site explains. */
static void judge(struct findings *findings)
{
	struct trend trend;
	size_t sites;

	free(findings->list);
	findings->list = NULL;
	findings->list_count = findings->holder_count = 0;
	for (size_t i = 0; i < findings->site_count; i++) {
		if (site_rises(findings, &findings->sites[i], &trend))
			add(findings, &findings->sites[i], &trend);
	}
	sites = findings->list_count;
	for (size_t i = 0; i < findings->size_count && keeps_few_stacks(findings); i++) {
		if (site_rises(findings, &findings->sizes[i], &trend) &&
			!is_explained(findings, sites, trend.slope))
			add(findings, &findings->sizes[i], &trend);
	}
}

/* ---- how it is shown ---- */

static const char *time_words(uint64_t ms, char words[32])
{
	uint64_t s = (ms + 500) / 1000;

	if (s < 120)
		snprintf(words, 32, "%" PRIu64 " s", s);
	else if (s < 7200)
		snprintf(words, 32, "%" PRIu64 " m", (s + 30) / 60);
	else if (s < 172800)
		snprintf(words, 32, "%" PRIu64 " h", (s + 1800) / 3600);
	else
		snprintf(words, 32, "%" PRIu64 " d", (s + 43200) / 86400);
	return words;
}

static uint64_t watched_ms(const struct findings *findings)
{
	return findings->time_count ? findings->times[findings->time_count - 1] - findings->times[0]
				    : 0;
}

static size_t looks_in_window(const struct findings *findings)
{
	uint64_t window_ms = asked.window_ms ? asked.window_ms : UINT64_MAX;
	size_t count = 0;

	for (size_t i = 0; i < findings->time_count; i++)
		count +=
			findings->times[findings->time_count - 1] - findings->times[i] <= window_ms;
	return count;
}

static void show_finding(const struct report_finding *finding)
{
	const struct finding *sum = &finding->sum;
	char words[32];

	printf("\n%.1f KiB/s (%.1f to %.1f): %.1f MiB more in %s, now %.1f MiB in %" PRIu64
	       " blocks, allocated from:\n",
		(double)sum->slope_bytes_per_s / 1024, (double)sum->slope_low_bytes_per_s / 1024,
		(double)sum->slope_high_bytes_per_s / 1024, (double)sum->grown_bytes / 1048576,
		time_words(sum->last_seen_ms - sum->first_seen_ms, words),
		(double)sum->bytes / 1048576, sum->blocks);
	render_stack(stdout, finding->stack, sum->slot_bytes);
}

static void show(const struct live *live, const struct findings *findings)
{
	struct report_set set;
	char words[32];
	size_t count = 0;

	report_set_init(&set, asked.root);
	report_set_add(&set, findings);
	report_set_sort(&set);
	if (set.count > 0)
		count = set.reports[0].finding_count;
	printf("%d (%s): %zu site%s of %zu grow%s; %zu looks in %s%s\n", live->process.pid,
		live->process.name, count, count == 1 ? "" : "s", findings->site_count,
		count == 1 ? "s" : "", looks_in_window(findings),
		time_words(asked.window_ms && asked.window_ms < watched_ms(findings)
				   ? asked.window_ms
				   : watched_ms(findings),
			words),
		keeps_few_stacks(findings) ? "; run it with stacks=all to see every site" : "");
	for (size_t i = 0; i < count && i < asked.top; i++)
		show_finding(&set.reports[0].findings[i]);
	if (count > asked.top)
		printf("\n... and %zu more, see --top\n", count - asked.top);
	command_flush();
	report_set_finish(&set);
}

/* ---- looking ---- */

/* The window was watched from its begin to its end. */
static bool is_covered(const struct findings *findings)
{
	uint64_t window_ms = asked.window_ms ? asked.window_ms : WINDOW_MS;

	return watched_ms(findings) >= window_ms - window_ms / LOOKS_PER_WINDOW &&
	       looks_in_window(findings) >= TREND_POINTS_MIN;
}

static uint64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void sleep_ms(uint64_t ms)
{
	struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	while (!interrupt_signal() && nanosleep(&pause, &pause) && errno == EINTR)
		;
}

static int status_of(const struct live *live, const struct findings *findings)
{
	if (findings->list_count > 0)
		return EXIT_LEAKS;
	if (looks_in_window(findings) >= TREND_POINTS_MIN)
		return 0;
	warn_line(
		"%d (%s): not checked: it was looked at %zu time(s) in the window, %d are needed: a longer --window, or a shorter growth_interval_ms",
		live->process.pid, live->process.name, looks_in_window(findings), TREND_POINTS_MIN);
	return EXIT_NOT_CHECKED;
}

/* What it was is not asked for again: it was shown when it rose. */
static int status_of_ended(size_t shown)
{
	return shown > 0 ? EXIT_LEAKS : EXIT_NOT_CHECKED;
}

/* Shows what rises as soon as it does, and again when it is something else or the window has passed: or twice that, for a process that is looked at too rarely to fill it. */
static int watch(struct live *live)
{
	uint64_t window_ms = asked.window_ms ? asked.window_ms : WINDOW_MS, begin_ms = now_ms();
	char words[32];
	size_t shown = 0;
	bool is_first = true;

	for (;;) {
		struct findings findings;
		enum live_findings taken = live_findings_take(&live->process, SECONDS, &findings);
		bool is_last;
		int status;

		if (taken == LIVE_FINDINGS_ENDED)
			return status_of_ended(shown);
		if (taken == LIVE_FINDINGS_FAILED)
			return EXIT_FAILED;
		live_has_verdict(live, &findings);
		judge(&findings);
		is_last = asked.once || interrupt_signal() || is_covered(&findings) ||
			  now_ms() - begin_ms >= 2 * window_ms;
		if (is_last || findings.list_count != shown)
			show(live, &findings);
		shown = findings.list_count;
		status = is_last ? status_of(live, &findings) : 0;
		findings_release(&findings);
		if (is_last)
			return status;
		if (is_first)
			progress_line(
				"%d (%s): watching for %s; Ctrl-C shows what is known by then",
				live->process.pid, live->process.name,
				time_words(window_ms, words));
		is_first = false;
		sleep_ms(window_ms / LOOKS_PER_WINDOW);
	}
}

/* ---- words of the command line ---- */

static uint64_t parse_window(const char *text)
{
	static const struct {
		char suffix;
		unsigned seconds;
	} units[] = {{0, 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (end != text && *text != '-' && *end == units[i].suffix &&
			(*end == 0 || end[1] == 0) && number > 0 &&
			number <= WINDOW_S_MAX / units[i].seconds)
			return number * units[i].seconds * 1000;
	}
	fail(EXIT_USAGE, "growth: bad value '%s' of --window; see gasket help growth", text);
}

int growth_command(int argc, char **argv)
{
	const char *argument;
	int first = 1, letter, status;
	struct live live;

	asked.top = TOP;
	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		switch (letter) {
		case 'w':
			asked.window_ms = parse_window(argument);
			break;
		case 'o':
			asked.once = true;
			break;
		case 'n':
			asked.top = live_parse_number("growth", "top", argument, TOP_MAX);
			break;
		default:
			symbolizer_demand_root(argument);
			asked.root = argument;
		}
	}
	if (argc - first != 1)
		fail(EXIT_USAGE, "growth: needs one process id; see gasket help growth");
	live_open(&live, process_parse_pid("growth", argv[first]));
	live_ask(&live, STATS_REQUEST_GROWTH_WATCH);
	interrupt_expect();
	status = watch(&live);
	live_close(&live);
	interrupt_end();
	return status;
}
