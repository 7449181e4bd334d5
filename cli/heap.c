/*
 * gasket heap: the live heap of a process by allocation site, the largest first, after a cycle that is run for it.
 */
#include "cli/command.h"
#include "cli/live.h"
#include "cli/report_output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 20 };

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

static void print_text(FILE *out, const struct live *live, const struct report *report, size_t top)
{
	size_t shown = top && top < report->site_count ? top : report->site_count;
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

static void write_form(FILE *out, const struct live *live, const struct report_set *set,
	const struct report_order *order)
{
	struct report *report = &set->reports[0];

	if (order->form == FORM_TEXT) {
		print_text(out, live, report, order->view.top);
		return;
	}
	if (order->view.top && order->view.top < report->site_count)
		report->site_count = order->view.top;
	if (order->form == FORM_JSON)
		report_print_json(out, render_json(set, &order->view));
	else if (order->form == FORM_COLLAPSED)
		render_collapsed(out, report, &order->view);
	else if (!render_pprof(out, set, &order->view))
		fail(EXIT_FAILED, "heap: the profile could not be compressed");
}

static int parse(int argc, char **argv, struct report_order *order)
{
	const char *argument;
	bool has_top = false;
	int letter, first = 1;

	report_order_init(order, "heap", stdout);
	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		has_top |= letter == 'n';
		report_order_take(order, command_switch_name("heap", letter), argument);
	}
	if (argc - first != 1)
		fail(EXIT_USAGE, "heap: needs one process id; see gasket help heap");
	if (!has_top && order->form == FORM_TEXT)
		order->view.top = TOP;
	order->view.kinds = 0;
	order->view.live = true;
	return first;
}

/* 24: no cycle gave a verdict, so there is nothing to show, or an older picture. */
int heap_command(int argc, char **argv)
{
	struct findings findings;
	struct report_set set;
	struct live live;
	struct report_order order;
	struct output output;
	int first = parse(argc, argv, &order);
	bool has_verdict;

	live_open(&live, process_parse_pid("heap", argv[first]));
	has_verdict = live_take_findings(&live, &findings);
	if (findings.meta.stacks == 0 && findings.site_count == 0)
		warn_line("%d (%s): no stacks are kept (stacks=off)", live.process.pid,
			live.process.name);
	findings.list_count = findings.holder_count = 0; // another command's
	report_set_init(&set, order.root);
	report_set_add(&set, &findings);
	report_set_sort(&set);
	if (!report_order_open(&order, &output))
		exit(EXIT_FAILED);
	write_form(output.stream, &live, &set, &order);
	output_demand_close(&output);
	report_set_finish(&set);
	findings_release(&findings);
	live_close(&live);
	report_order_finish(&order);
	return has_verdict ? 0 : EXIT_NOT_CHECKED;
}
