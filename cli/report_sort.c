/*
 * The order in which findings and sites are shown: by what they hold, never by where they lie, so that the same files always give the same report.
 */
#include "cli/report_data.h"

#include "cli/memory.h"

static int compare_findings(const void *left, const void *right)
{
	const struct report_finding *const *one = left, *const *other = right;
	const struct report_finding *a = *one, *b = *other;
	int order = report_compare(a->sum.kind, b->sum.kind);

	if (order == 0 && a->sum.kind == FINDING_GROWING)
		order = report_compare(b->sum.slope_bytes_per_s, a->sum.slope_bytes_per_s);
	if (order == 0)
		order = report_compare(report_total_bytes(b), report_total_bytes(a));
	if (order == 0)
		order = report_compare(report_total_blocks(b), report_total_blocks(a));
	if (order == 0)
		order = strcmp(a->id, b->id);
	return order ? order : report_compare((uintptr_t)a, (uintptr_t)b); // as in the files
}

static int compare_sites(const void *left, const void *right)
{
	const struct report_site *a = left, *b = right;
	int order = report_compare(b->bytes, a->bytes);

	return order ? order : report_compare(b->blocks, a->blocks);
}

static void sort_findings(struct report *report)
{
	size_t count = report->finding_count;
	struct report_finding **order = memory_get(count, sizeof(*order));
	struct report_finding *sorted = memory_get(count, sizeof(*sorted));
	size_t *places = memory_get(count, sizeof(*places)); // by the old index

	for (size_t i = 0; i < count; i++)
		order[i] = &report->findings[i];
	qsort(order, count, sizeof(*order), compare_findings);
	for (size_t i = 0; i < count; i++)
		places[order[i] - report->findings] = i;
	for (size_t i = 0; i < count; i++) {
		sorted[i] = *order[i];
		if (sorted[i].parent != SIZE_MAX)
			sorted[i].parent = places[sorted[i].parent];
	}
	free(places);
	free(order);
	free(report->findings);
	report->findings = sorted;
}

void report_set_sort(struct report_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		struct report *report = &set->reports[i];

		sort_findings(report);
		if (report->sites)
			qsort(report->sites, report->site_count, sizeof(*report->sites),
				compare_sites);
	}
}
