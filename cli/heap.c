/*
 * gasket heap: the live heap of a process by allocation site, the largest first, after a cycle that is run for it.
 */
#include "cli/command.h"
#include "cli/live.h"
#include "cli/memory.h"
#include "cli/render.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

enum heap_form { FORM_TEXT, FORM_JSON, FORM_PPROF, FORM_COLLAPSED, FORM_COUNT };

static const char *const form_names[FORM_COUNT] = {"text", "json", "pprof", "collapsed"};

enum { TOP = 20, TOP_MAX = 1000000 };

static struct {
	enum heap_form form;
	size_t top; // 0: all
	const char *root, *output;
} asked;

static double mib(uint64_t bytes)
{
	return (double)bytes / 1048576;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100 * (double)part / (double)whole : 0;
}

static void print_site(FILE *out, const struct report *report, const struct report_site *site)
{
	fprintf(out, "\n%.2f MiB (%.1f %%) in %" PRIu64 " block%s", mib(site->bytes),
		percent(site->bytes, report->meta.live_bytes), site->blocks,
		site->blocks == 1 ? "" : "s");
	if (site->slope_bytes_per_s)
		fprintf(out, ", growing by %.1f KiB/s", (double)site->slope_bytes_per_s / 1024);
	fputs(", allocated from:\n", out);
	render_stack(out, site->stack, 0);
}

static void print_text(FILE *out, const struct live *live, const struct report *report)
{
	size_t shown = asked.top && asked.top < report->site_count ? asked.top : report->site_count;
	uint64_t known = 0;

	for (size_t i = 0; i < report->site_count; i++)
		known += report->sites[i].bytes;
	fprintf(out,
		"%d (%s): %.2f MiB live in %" PRIu64 " blocks; by stack %.2f MiB from %zu site%s",
		live->process.pid, live->process.name, mib(report->meta.live_bytes),
		report->meta.live_blocks, mib(known), report->site_count,
		report->site_count == 1 ? "" : "s");
	if (report->meta.sample_bytes)
		fprintf(out, ", estimated from samples: one for about every %" PRIu64 " bytes",
			report->meta.sample_bytes);
	fputc('\n', out);
	for (size_t i = 0; i < shown; i++)
		print_site(out, report, &report->sites[i]);
	if (shown < report->site_count)
		fprintf(out, "\n... and %zu more, see --top\n", report->site_count - shown);
}

static void print_json(FILE *out, json_object *object)
{
	fputs(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_SPACED |
							     JSON_C_TO_STRING_NOSLASHESCAPE),
		out);
	fputc('\n', out);
	json_object_put(object);
}

static void write_form(FILE *out, const struct live *live, struct report_set *set)
{
	struct report_view view = report_view_default();
	struct report *report = &set->reports[0];

	view.kinds = 0;
	view.live = true;
	if (asked.form == FORM_TEXT) {
		print_text(out, live, report);
		return;
	}
	if (asked.top && asked.top < report->site_count)
		report->site_count = asked.top;
	if (asked.form == FORM_JSON)
		print_json(out, render_json(set, &view));
	else if (asked.form == FORM_COLLAPSED)
		render_collapsed(out, report, &view);
	else if (!render_pprof(out, report, &view))
		fail(EXIT_FAILED, "heap: the profile could not be compressed");
}

static void write_output(const struct live *live, struct report_set *set)
{
	FILE *out = asked.output ? fopen(asked.output, "we") : stdout;

	if (!out)
		fail(EXIT_FAILED, "%s: %s", asked.output, strerror(errno));
	if (asked.form == FORM_PPROF && isatty(fileno(out)))
		fail(EXIT_USAGE, "heap: a profile is not for a terminal: use -o FILE");
	write_form(out, live, set);
	if (fflush(out) || ferror(out) || (out != stdout && fclose(out)))
		fail(EXIT_FAILED, "%s: %s", asked.output ? asked.output : "output",
			strerror(errno));
}

static enum heap_form parse_form(const char *word)
{
	for (int form = 0; form < FORM_COUNT; form++) {
		if (!strcmp(word, form_names[form]))
			return (enum heap_form)form;
	}
	fail(EXIT_USAGE, "heap: --to takes text, json, pprof or collapsed, not '%s'", word);
}

static void parse(int argc, char **argv, int *ret_first)
{
	const char *argument;
	bool has_top = false;
	int letter;

	while ((letter = command_next_switch(argc, argv, &argument, ret_first))) {
		switch (letter) {
		case 't':
			asked.form = parse_form(argument);
			break;
		case 'n':
			asked.top = live_parse_number("heap", "top", argument, TOP_MAX);
			has_top = true;
			break;
		case 'r':
			asked.root = argument;
			break;
		default:
			asked.output = argument;
		}
	}
	if (argc - *ret_first != 1)
		fail(EXIT_USAGE, "heap: needs one process id; see gasket help heap");
	if (!has_top && asked.form == FORM_TEXT)
		asked.top = TOP;
}

/* 24: no cycle gave a verdict, so there is nothing to show, or an older picture. */
int heap_command(int argc, char **argv)
{
	struct findings findings;
	struct report_set set;
	struct live live;
	bool has_verdict;
	int first = 1;

	parse(argc, argv, &first);
	live_open(&live, process_parse_pid("heap", argv[first]));
	has_verdict = live_take_findings(&live, &findings);
	if (findings.meta.stacks == 0 && findings.site_count == 0)
		warn_line("%d (%s): no stacks are kept (stacks=off)", live.process.pid,
			live.process.name);
	findings.list_count = findings.holder_count = 0; // another command's
	report_set_init(&set, asked.root);
	report_set_add(&set, &findings);
	report_set_sort(&set);
	write_output(&live, &set);
	report_set_finish(&set);
	findings_release(&findings);
	live_close(&live);
	return has_verdict ? 0 : EXIT_NOT_CHECKED;
}
