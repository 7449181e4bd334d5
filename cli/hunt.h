/*
 * What the commands that hunt share: which processes are meant, what was found in them together, and the status that follows.
 */
#pragma once

#include "cli/report_output.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { HUNT_GLOBS_MAX = 32 };

/* Programs by the last part of their path. Without `only` all are meant. */
struct hunt_choice {
	const char *only[HUNT_GLOBS_MAX], *skip[HUNT_GLOBS_MAX];
	size_t only_count, skip_count;
};

/* Adds a pattern to one of the lists; too many end the command with one line. */
void hunt_choice_add(const char *command, const char **list, size_t *count, const char *pattern);

/* `path` may be empty: not known. Such a process counts, for it may be one that is meant. */
bool hunt_choice_has(const struct hunt_choice *choice, const char *path);

#define HUNT_VERDICTS(VERDICT) \
	VERDICT(CLEAN, "clean", 0) \
	VERDICT(LEAKS, "leaks", EXIT_LEAKS) \
	VERDICT(NOT_CHECKED, "not-checked", EXIT_NOT_CHECKED) \
	VERDICT(PARTIAL, "partial", EXIT_NOT_CHECKED)

#define HUNT_ENTRY(name, ...) HUNT_##name,
enum hunt_verdict { HUNT_VERDICTS(HUNT_ENTRY) };
#undef HUNT_ENTRY

/* Sums over all processes that were meant. */
struct hunt_result {
	unsigned checked, partial, unchecked; // processes, each counted once
	bool has_untold_leaks;                // a process that left no findings says it leaks
	uint64_t bytes, blocks;               // leaked, accepted ones left out
	size_t sites;                         // findings that count as leaks
	size_t suppressed;                    // findings
	size_t unconfirmed;                   // findings
};

/* Counts a process by the verdict in its findings. */
void hunt_note_process(struct hunt_result *result, const struct findings_meta *meta,
	const struct report_order *order);

/* Leaks that fewer than `confirm` cycles found are left out of the set. Before hunt_count(). */
void hunt_leave_out_young(struct report_set *set, uint32_t confirm, struct hunt_result *result);

/* Adds what the sorted set says. With --kinds findings of those kinds count, else leaks. */
void hunt_count(
	struct hunt_result *result, const struct report_set *set, const struct report_order *order);

enum hunt_verdict hunt_verdict(const struct hunt_result *result);
const char *hunt_verdict_word(enum hunt_verdict verdict);
int hunt_verdict_status(enum hunt_verdict verdict);

/* One line with verdict, figures and the status this command ends with, in a file that appears whole. Failure is one line. */
bool hunt_write_status(const char *path, const struct hunt_result *result, int status);

/* Where a finding comes from: the innermost frame that is no library's means of getting memory; NULL: not known. */
const struct symbol *hunt_site(const struct report_finding *finding);

/* The function, file and line a finding comes from, in a few words. */
void hunt_print_site(FILE *out, const struct report_finding *finding);
