/*
 * A report as a command was asked for it: its form, what of it, and where to.
 */
#pragma once

#include "cli/output.h"
#include "cli/render.h"
#include "cli/suppressions.h"

#include <stdbool.h>
#include <stdio.h>

enum report_form { FORM_TEXT, FORM_JSON, FORM_PPROF, FORM_COLLAPSED, FORM_COUNT };

/* What was asked for. */
struct report_order {
	const char *command; // for messages
	enum report_form form;
	struct report_view view;
	bool has_kinds;        // --kinds was given
	bool shows_possible;   // --possible was
	uint32_t status_kinds; // those of --kinds: the status tells of them, whatever else is shown
	bool hides_suppressions;
	bool is_brief; // text: programs of which there is nothing to say are left out
	const char *root;
	struct suppressions *suppressions;
	const char *output; // NULL: `stream`
	FILE *stream;
};

void report_order_init(struct report_order *order, const char *command, FILE *stream);
void report_order_finish(struct report_order *order);

/* Takes the switches --to, --output, --sysroot, --kinds, --possible, --indirect, --top and --suppressions by these names; false: it is none of them. What is wrong
 * ends the command with one line. */
bool report_order_take(struct report_order *order, const char *name, const char *argument);

/* After the last switch: what follows from all of them. */
void report_order_settle(struct report_order *order);

/* Writes the reports of a sorted set. False: they could not be written; there was one line about it. */
bool report_order_write(const struct report_order *order, const struct report_set *set);

/* Opens what was ordered. False: there was one line about it. A profile for a terminal ends the command. */
bool report_order_open(const struct report_order *order, struct output *ret_output);

/* An object on lines of its own; it is gone then. */
void report_print_json(FILE *out, json_object *object);
