/*
 * The forms a report is written in. All names come from files that others made: what is printed is made printable first.
 */
#pragma once

#include "cli/report_data.h"

#include <json-c/json.h>
#include <stdio.h>

/* What of a report is wanted. */
struct report_view {
	uint32_t kinds;   // bit 1 << enum finding_kind
	bool indirect;    // what leaks hold is listed, too
	bool live;        // the live heap, too (collapsed)
	size_t top;       // of each kind; 0: all
	bool quiet_notes; // no notes but those on how far the answer can be believed
};

/* All kinds, folded, no limit. */
struct report_view report_view_default(void);

/* The finding is in the view, and not suppressed. `top` is not looked at. */
bool report_view_has(const struct report_view *view, const struct report_finding *finding);

/* LeakSanitizer's wording, with what it does not know put between. */
void render_text(FILE *out, const struct report *report, const struct report_view *view);

/* One finding of it, and the note on its verdict if that is not full. */
void render_finding(FILE *out, const struct report *report, const struct report_finding *finding);
void render_verdict(FILE *out, const struct report *report);

/* A line for each function, the innermost first; for NULL one that says that there is none, and the size of the slots if it is not 0. */
void render_stack(FILE *out, const struct report_stack *stack, uint64_t slot_bytes);

/* Only the notes: why the answer may be wrong or not whole. Each line begins with "NOTE: ". */
void render_notes(FILE *out, const struct report *report, const struct report_view *view);

/* An object with all reports; the fields are described in the manual page. The caller's. */
json_object *render_json(const struct report_set *set, const struct report_view *view);

/* profile.proto, compressed, of all reports (one at least); false: it could not be written. */
bool render_pprof(FILE *out, const struct report_set *set, const struct report_view *view);

/* Bytes of the kinds in the view, a stack per line from the root, as flame graph programs read them. */
void render_collapsed(FILE *out, const struct report *report, const struct report_view *view);

/* Valid UTF-8 without control characters: each other byte is a '?'. The caller frees it. */
char *printable(const char *text);
void print_printable(FILE *out, const char *text);
