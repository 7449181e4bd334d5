/*
 * A comparison of allocators: who takes part, what each run cost, and the reports made from it.
 */
#pragma once

#include "cli/ab_run.h"
#include "cli/ab_statistics.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONTESTANTS_MAX = 16 };

struct contestant {
	struct allocator allocator;
	const char *trouble; // why it is not timed; NULL: it is
	struct run *runs;
};

/* The whole comparison. Contestant 0 is the base of all ratios. */
struct comparison {
	struct contestant contestants[CONTESTANTS_MAX];
	size_t count;
	size_t rounds;
	struct subject subject;
	struct outcome expected; // of the base
	bool output_varies;      // it differs between two runs under the base itself
};

/* How a metric is shown. */
struct metric_style {
	const char *name;  // in JSON
	const char *title; // with its unit
	double scale;      // what is shown is the value divided by it
	int digits;
};

extern const struct metric_style metric_styles[METRIC_COUNT];

/* Adds the allocators of the list (ab_allocators.c) for the program at `path` (NULL: not known).
 * List NULL: the usual ones, of which those that are not installed are left out silently. Ends the
 * process with one line on a word it does not know. */
void comparison_add_allocators(struct comparison *comparison, const char *list, const char *path);

struct summary comparison_summary(const struct comparison *comparison,
	const struct contestant *contestant, enum metric metric);
struct ratio comparison_ratio(const struct comparison *comparison,
	const struct contestant *contestant, enum metric metric);

/* Reports (ab_report.c, ab_html.c). A file that cannot be written ends the process. */
void comparison_print(const struct comparison *comparison);
void comparison_write_json(const struct comparison *comparison, const char *path);
void comparison_write_html(const struct comparison *comparison, const char *path);
