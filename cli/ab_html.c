/*
 * A comparison as one page that needs nothing else: the medians, and for each metric a chart of the
 * ratios, a dot with its interval per allocator, on a logarithmic scale that all charts share.
 */
#include "cli/ab.h"
#include "cli/output.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHART_WIDTH = 640, LABEL_WIDTH = 170, FIGURE_WIDTH = 170, LINE_HEIGHT = 24, MARGIN = 20 };

static const char style[] =
	"body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:64em;padding:0 1em;color:#222}"
	"table{border-collapse:collapse}td,th{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd}"
	"td:first-child,th:first-child{text-align:left}code{background:#f3f3f3;padding:.1em .3em}"
	".small{color:#777;font-size:85%}h2{margin:1.6em 0 .3em;font-size:1.1em}svg text{font-size:13px;fill:#222}";

static void print_escaped(FILE *file, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", file);
		else if (*text == '>')
			fputs("&gt;", file);
		else if (*text == '&')
			fputs("&amp;", file);
		else if (*text == '"')
			fputs("&quot;", file);
		else
			putc(*text, file);
	}
}

static void print_subject(FILE *file, const struct subject *subject)
{
	fputs("<p><code>", file);
	for (char **word = subject->argv; word && *word; word++) {
		print_escaped(file, *word);
		fputs(word[1] ? " " : "", file);
	}
	if (subject->server) {
		print_escaped(file, subject->server);
		fputs("</code> under the load <code>", file);
		print_escaped(file, subject->load);
	}
	fputs("</code></p>\n", file);
}

static void print_medians(FILE *file, const struct comparison *comparison)
{
	fputs("<table><tr><th>median ± spread</th>", file);
	for (int metric = 0; metric < METRIC_COUNT; metric++)
		fprintf(file, "<th>%s</th>", metric_styles[metric].title);
	fputs("</tr>\n", file);
	for (size_t i = 0; i < comparison->count; i++) {
		const struct contestant *contestant = &comparison->contestants[i];

		fputs("<tr><td>", file);
		print_escaped(file, contestant->allocator.name);
		fputs("</td>", file);
		if (contestant->trouble)
			fprintf(file, "<td colspan=\"%d\">not timed: %s</td>", METRIC_COUNT,
				contestant->trouble);
		for (int metric = 0; !contestant->trouble && metric < METRIC_COUNT; metric++) {
			const struct metric_style *shown = &metric_styles[metric];
			struct summary summary =
				comparison_summary(comparison, contestant, (enum metric)metric);

			fprintf(file, "<td>%.*f ± %.1f %%</td>", shown->digits,
				summary.median / shown->scale,
				summary.median > 0 ? 100 * summary.spread / summary.median : 0);
		}
		fputs("</tr>\n", file);
	}
	fputs("</table>\n", file);
}

/* The scale of all charts: from 1/span to span. */
static double find_span(const struct comparison *comparison)
{
	double span = 1.1;

	for (size_t i = 1; i < comparison->count; i++) {
		if (comparison->contestants[i].trouble)
			continue;
		for (int metric = 0; metric < METRIC_COUNT; metric++) {
			struct ratio ratio = comparison_ratio(
				comparison, &comparison->contestants[i], (enum metric)metric);

			if (!ratio.is_known)
				continue;
			span = fmax(span, fmax(ratio.estimate, 1 / ratio.estimate));
			if (ratio.has_interval)
				span = fmax(span, fmax(ratio.high, 1 / ratio.low));
		}
	}
	return span * 1.05;
}

static double place_of(double ratio, double span)
{
	double width = CHART_WIDTH - LABEL_WIDTH - FIGURE_WIDTH;

	return LABEL_WIDTH + width * (1 + log(ratio) / log(span)) / 2;
}

static void print_line(
	FILE *file, const char *name, const struct ratio *ratio, double y, double span)
{
	const char *colour = !ratio->has_interval || (ratio->low <= 1 && ratio->high >= 1) ? "#888"
			     : ratio->high < 1 ? "#1a7f37"
					       : "#b3261e";

	fprintf(file, "<text x=\"0\" y=\"%.0f\">", y + 4);
	print_escaped(file, name);
	fputs("</text>", file);
	if (!ratio->is_known)
		return;
	if (ratio->has_interval)
		fprintf(file,
			"<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\" stroke=\"%s\" stroke-width=\"3\"/>",
			place_of(ratio->low, span), place_of(ratio->high, span), y, y, colour);
	fprintf(file, "<circle cx=\"%.1f\" cy=\"%.0f\" r=\"4.5\" fill=\"%s\"/>",
		place_of(ratio->estimate, span), y, colour);
	fprintf(file, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.3f", CHART_WIDTH, y + 4,
		ratio->estimate);
	if (ratio->has_interval)
		fprintf(file, " [%.3f, %.3f]", ratio->low, ratio->high);
	fputs("</text>\n", file);
}

static void print_chart(
	FILE *file, const struct comparison *comparison, enum metric metric, double span)
{
	double height = MARGIN + LINE_HEIGHT * (double)(comparison->count - 1), y = MARGIN;

	fprintf(file, "<h2>%s</h2>\n<svg width=\"%d\" height=\"%.0f\">",
		metric_styles[metric].title, CHART_WIDTH, height);
	fprintf(file, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%.0f\" stroke=\"#bbb\"/>\n",
		place_of(1, span), place_of(1, span), height);
	for (size_t i = 1; i < comparison->count; i++) {
		const struct contestant *contestant = &comparison->contestants[i];
		struct ratio ratio;

		if (contestant->trouble)
			continue;
		ratio = comparison_ratio(comparison, contestant, metric);
		print_line(file, contestant->allocator.name, &ratio, y, span);
		y += LINE_HEIGHT;
	}
	fputs("</svg>\n", file);
}

void comparison_write_html(const struct comparison *comparison, const char *path)
{
	double span = find_span(comparison);
	struct output output;
	FILE *file;

	output_demand_open(&output, path, NULL, 0666);
	file = output.stream;
	fprintf(file,
		"<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>gasket ab</title>"
		"<style>%s</style>\n<h1>Allocators compared</h1>\n",
		style);
	print_subject(file, &comparison->subject);
	print_medians(file, comparison);
	fputs("<h2>Ratios to ", file);
	print_escaped(file, comparison->contestants[0].allocator.name);
	fputs(", 95 % intervals</h2>\n<p class=\"small\">Left of the line is less. Green: less, red: more, "
	      "grey: the interval holds 1, so there is no telling.</p>\n",
		file);
	for (int metric = 0; metric < METRIC_COUNT && comparison->count > 1; metric++)
		print_chart(file, comparison, (enum metric)metric, span);
	fprintf(file, "<p class=\"small\">%zu interleaved runs each%s.</p>\n</html>\n",
		comparison->rounds,
		comparison->output_varies
			? "; the output varies by itself, only exit statuses were compared"
			: "");
	output_demand_close(&output);
}
