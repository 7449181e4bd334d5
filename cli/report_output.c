/*
 * Orders of reports: switches that mean the same for every command that prints reports, and the writing.
 */
#include "cli/report_output.h"

#include "cli/memory.h"

#include <unistd.h>

static const char *const form_names[FORM_COUNT] = {"text", "json", "pprof", "collapsed"};

static enum report_form parse_form(const char *command, const char *word)
{
	for (int form = 0; form < FORM_COUNT; form++) {
		if (!strcmp(word, form_names[form]))
			return (enum report_form)form;
	}
	fail(EXIT_USAGE, "%s: --to takes text, json, pprof or collapsed, not '%s'", command, word);
}

static bool is_word(const char *word, const char *list, size_t length)
{
	return strlen(word) == length && !strncmp(word, list, length);
}

/* Names of kinds, separated by commas. */
static void parse_kinds(const char *command, const char *list, struct report_view *view)
{
	view->kinds = 0;
	while (true) {
		size_t length = strcspn(list, ",");
		uint32_t kind = 0;

		while (kind < FINDING_KIND_COUNT &&
			!is_word(findings_kind_word(kind), list, length))
			kind++;
		if (kind < FINDING_KIND_COUNT)
			view->kinds |= 1u << kind;
		else if (is_word("live", list, length))
			view->live = true;
		else
			fail(EXIT_USAGE,
				"%s: unknown kind '%.*s'; there are leak, indirect, possible, dangling, misuse, growing and live",
				command, (int)length, list);
		if (!list[length])
			break;
		list += length + 1;
	}
	view->indirect |= (view->kinds >> FINDING_INDIRECT & 1) != 0;
}

static size_t parse_top(const char *command, const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end)
		fail(EXIT_USAGE, "%s: --top takes a number, not '%s'", command, text);
	return number;
}

void report_order_init(struct report_order *order, const char *command, FILE *stream)
{
	*order = (struct report_order){
		.command = command,
		.view = report_view_default(),
		.suppressions = suppressions_create(),
		.stream = stream,
	};
}

void report_order_finish(struct report_order *order)
{
	suppressions_destroy(order->suppressions);
}

bool report_order_take(struct report_order *order, const char *name, const char *argument)
{
	if (!strcmp(name, "to")) {
		order->form = parse_form(order->command, argument);
	} else if (!strcmp(name, "output")) {
		order->output = argument;
	} else if (!strcmp(name, "sysroot")) {
		symbolizer_demand_root(argument); // known before anything is asked or run
		order->root = argument;
	} else if (!strcmp(name, "kinds")) {
		parse_kinds(order->command, argument, &order->view);
		order->has_kinds = true;
	} else if (!strcmp(name, "possible")) {
		order->shows_possible = true;
	} else if (!strcmp(name, "indirect")) {
		order->view.indirect = true;
	} else if (!strcmp(name, "top")) {
		order->view.top = parse_top(order->command, argument);
	} else if (!strcmp(name, "suppressions")) {
		if (!suppressions_load(order->suppressions, argument))
			exit(EXIT_FAILED);
	} else {
		return false;
	}
	return true;
}

void report_order_settle(struct report_order *order)
{
	// one sum of different things would mean nothing
	if (order->form == FORM_COLLAPSED && !order->has_kinds)
		order->view.kinds = 1u << FINDING_LEAK | 1u << FINDING_INDIRECT;
	order->status_kinds = order->view.kinds;
	if (order->shows_possible)
		order->view.kinds |= 1u << FINDING_POSSIBLE;
}

void report_print_json(FILE *out, json_object *object)
{
	fputs(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_SPACED |
							     JSON_C_TO_STRING_NOSLASHESCAPE),
		out);
	fputc('\n', out);
	json_object_put(object);
}

static bool has_something(const struct report_order *order, const struct report *report)
{
	if (report->meta.possible == FINDINGS_POSSIBLE_UNKNOWN &&
		(order->view.kinds >> FINDING_POSSIBLE & 1))
		return true;
	for (size_t i = 0; i < report->finding_count; i++) {
		if (report_view_has(&order->view, &report->findings[i]))
			return true;
	}
	return false;
}

static void write_set(FILE *out, const struct report_set *set, const struct report_order *order)
{
	json_object *object;

	switch (order->form) {
	case FORM_JSON:
		object = render_json(set, &order->view);
		json_object_object_add(
			object, "suppressions", suppressions_json(order->suppressions));
		report_print_json(out, object);
		return;
	case FORM_PPROF:
		if (set->count == 0)
			fail(EXIT_FAILED, "%s: nothing was found out, so there is no profile",
				order->command);
		if (!render_pprof(out, set, &order->view))
			fail(EXIT_FAILED, "%s: the profile could not be compressed",
				order->command);
		return;
	default:
		break;
	}
	for (size_t i = 0; i < set->count; i++) {
		if (order->form == FORM_TEXT && order->is_brief &&
			!has_something(order, &set->reports[i]))
			continue;
		if (order->form == FORM_TEXT)
			render_text(out, &set->reports[i], &order->view);
		else
			render_collapsed(out, &set->reports[i], &order->view);
	}
	if (order->form == FORM_TEXT && !order->hides_suppressions)
		suppressions_print(out, order->suppressions);
}

bool report_order_open(const struct report_order *order, struct output *ret_output)
{
	if (!output_open(ret_output, order->output, order->stream, 0666))
		return false;
	if (order->form == FORM_PPROF && isatty(fileno(ret_output->stream)))
		fail(EXIT_USAGE, "%s: a profile is not for a terminal: use --output FILE",
			order->command);
	return true;
}

bool report_order_write(const struct report_order *order, const struct report_set *set)
{
	struct output output;

	if (!report_order_open(order, &output))
		return false;
	write_set(output.stream, set, order);
	return output_close(&output);
}
