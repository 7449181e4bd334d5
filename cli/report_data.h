/*
 * What files of findings say, merged and with names: one report for each executable, whatever the number of its processes.
 *
 * Findings are one when kind, detail, stacks and holder are the same, stacks being compared by module, build-id and offset. Each has an id that
 * stays the same from build to build as long as the functions on the way are the same ones: a hash of its kind and of function and module names,
 * without addresses, lines, and the frames of the C and C++ libraries.
 */
#pragma once

#include "cli/findings.h"
#include "cli/symbolize.h"

#include <stdbool.h>

enum { REPORT_ID_DIGITS = 12, REPORT_HOLDERS_MAX = 8 };

/* A return address less one. */
struct report_frame {
	uint64_t address;            // in the first process that had it
	const struct symbol *symbol; // NULL: in no module
};

struct report_stack {
	size_t depth;
	struct report_frame *frames; // innermost first
};

/* Who refers to a block. */
struct report_holder {
	uint32_t kind; // enum findings_holder_kind
	uint32_t thread;
	uint64_t address, target;
	const struct symbol *symbol;      // GLOBAL: what is there; else NULL
	const struct report_stack *stack; // BLOCK: where that was allocated, or NULL
	char *name;
};

struct report_finding {
	struct finding sum;               // `stack`, `other_stack` and `parent` in it mean nothing
	const struct report_stack *stack; // NULL: none was recorded
	const struct report_stack *other_stack;
	size_t parent; // INDIRECT: index of its LEAK; POSSIBLE: of the one that holds it; SIZE_MAX: none
	size_t last_report, processes;
	size_t holder_count;
	struct report_holder holders[REPORT_HOLDERS_MAX];
	char id[REPORT_ID_DIGITS + 1];
	bool is_suppressed;
};

struct report_site {
	const struct report_stack *stack; // NULL: none was recorded
	uint64_t blocks, bytes, slope_bytes_per_s;
};

/* A module as the first process had it. */
struct report_module {
	struct symbol_module *module;
	uint64_t low, high, bias;
	bool is_mapped;
	bool is_missing; // it was needed, and no file was found
};

struct report {
	char *executable;
	char *default_suppressions; // what the first program that has any says; or NULL
	uint32_t *processes;
	size_t process_count;
	struct findings_meta
		meta; // of the first, its counts those of all; the least of the verdicts, the largest `possible`
	struct report_module *modules; // the executable first
	size_t module_count;
	struct report_finding *findings; // in order: by kind, then the largest first
	size_t finding_count;
	struct report_site *sites; // the largest first
	size_t site_count;
	void *groups, *site_groups; // trees while files are added
};

/* All reports. */
struct report_set {
	struct symbolizer *symbolizer;
	struct report *reports;
	size_t count;
	void *stacks; // each different one once
};

/* `root` as for symbolizer_create(). */
void report_set_init(struct report_set *set, const char *root);
void report_set_finish(struct report_set *set);

/* Adds what a file says; the findings may be released afterwards. */
void report_set_add(struct report_set *set, const struct findings *findings);

/* After the last: puts everything in order. */
void report_set_sort(struct report_set *set);

/* Reads and adds a file. False: there was one line about it. */
bool report_set_add_path(struct report_set *set, const char *path);

/* Bytes and blocks of a finding, those it alone holds included. */
uint64_t report_total_bytes(const struct report_finding *finding);
uint64_t report_total_blocks(const struct report_finding *finding);

/* Memory a LEAK or INDIRECT stands for which is not listed under another finding, for the sum. */
struct report_leaked {
	uint64_t bytes, blocks;
};
struct report_leaked report_leaked(const struct report *report);

/* The same of what is POSSIBLE. */
struct report_leaked report_possible(const struct report *report);

/* A frame of the C or C++ library, the loader or this project's own library: it says how memory was got, not for what. */
bool report_frame_is_plumbing(const struct report_frame *frame);

/* Gives a finding its id; kind, detail and stacks are set. */
void report_make_id(struct report_finding *finding);

/* -1, 0 or 1, for qsort() and <search.h>. */
static inline int report_compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}
