/*
 * gasket report: files of findings in the form that is asked for.
 */
#include "cli/memory.h"
#include "cli/render.h"
#include "cli/suppressions.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum report_form { FORM_TEXT, FORM_JSON, FORM_PPROF, FORM_COLLAPSED, FORM_COUNT };

static const char *const form_names[FORM_COUNT] = {"text", "json", "pprof", "collapsed"};

/* What was asked for. */
struct request {
	enum report_form form;
	struct report_view view;
	const char *root;
	struct suppressions *suppressions;
	const char *output; // NULL: standard output
};

static enum report_form parse_form(const char *word)
{
	for (int form = 0; form < FORM_COUNT; form++) {
		if (!strcmp(word, form_names[form]))
			return (enum report_form)form;
	}
	fail(EXIT_USAGE, "report: --to takes text, json, pprof or collapsed, not '%s'", word);
}

static bool is_word(const char *word, const char *list, size_t length)
{
	return strlen(word) == length && !strncmp(word, list, length);
}

/* Names of kinds, separated by commas. */
static void parse_kinds(const char *list, struct report_view *view)
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
				"report: unknown kind '%.*s'; there are leak, indirect, possible, dangling, misuse, growing and live",
				(int)length, list);
		if (!list[length])
			break;
		list += length + 1;
	}
	view->indirect |= (view->kinds >> FINDING_INDIRECT & 1) != 0;
}

static size_t parse_top(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end)
		fail(EXIT_USAGE, "report: --top takes a number, not '%s'", text);
	return number;
}

static int parse(int argc, char **argv, struct request *ret_request)
{
	const char *argument;
	int letter, first = 1;
	bool has_kinds = false;

	*ret_request = (struct request){
		.view = report_view_default(), .suppressions = suppressions_create()};
	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		switch (letter) {
		case 't':
			ret_request->form = parse_form(argument);
			break;
		case 'r':
			ret_request->root = argument;
			break;
		case 'k':
			parse_kinds(argument, &ret_request->view);
			has_kinds = true;
			break;
		case 'i':
			ret_request->view.indirect = true;
			break;
		case 'n':
			ret_request->view.top = parse_top(argument);
			break;
		case 's':
			if (!suppressions_load(ret_request->suppressions, argument))
				exit(EXIT_FAILED);
			break;
		case 'o':
			ret_request->output = argument;
			break;
		}
	}
	/* One sum of different things would mean nothing. */
	if (ret_request->form == FORM_COLLAPSED && !has_kinds)
		ret_request->view.kinds = 1u << FINDING_LEAK | 1u << FINDING_INDIRECT;
	if (first == argc)
		fail(EXIT_USAGE, "report: no file of findings; see gasket help report");
	return first;
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

static const struct report *demand_one(const struct report_set *set)
{
	if (set->count > 1)
		fail(EXIT_USAGE,
			"report: a profile is of one program, and these files are of %s and %s",
			set->reports[0].executable, set->reports[1].executable);
	return &set->reports[0];
}

static void write_set(FILE *out, const struct report_set *set, const struct request *request)
{
	json_object *object;

	switch (request->form) {
	case FORM_JSON:
		object = render_json(set, &request->view);
		json_object_object_add(
			object, "suppressions", suppressions_json(request->suppressions));
		print_json(out, object);
		return;
	case FORM_PPROF:
		if (!render_pprof(out, demand_one(set), &request->view))
			fail(EXIT_FAILED, "report: the profile could not be compressed");
		return;
	default:
		break;
	}
	for (size_t i = 0; i < set->count; i++) {
		if (request->form == FORM_TEXT)
			render_text(out, &set->reports[i], &request->view);
		else
			render_collapsed(out, &set->reports[i], &request->view);
	}
	if (request->form == FORM_TEXT)
		suppressions_print(out, request->suppressions);
}

static void write_output(const struct report_set *set, const struct request *request)
{
	FILE *out = request->output ? fopen(request->output, "we") : stdout;

	if (!out)
		fail(EXIT_FAILED, "%s: %s", request->output, strerror(errno));
	if (request->form == FORM_PPROF && isatty(fileno(out)))
		fail(EXIT_USAGE, "report: a profile is not for a terminal: use -o FILE");
	write_set(out, set, request);
	if (fflush(out) || ferror(out) || (out != stdout && fclose(out)))
		fail(EXIT_FAILED, "%s: %s", request->output ? request->output : "output",
			strerror(errno));
}

/* Leaks win over what could not be checked. Forms for other programs only say whether they were written. */
static int status_of(const struct report_set *set, const struct request *request)
{
	int status = 0;

	if (request->form == FORM_PPROF || request->form == FORM_COLLAPSED ||
		!(request->view.kinds >> FINDING_LEAK & 1))
		return 0;
	for (size_t i = 0; i < set->count; i++) {
		if (report_leaked(&set->reports[i]).blocks)
			return EXIT_LEAKS;
		if (set->reports[i].meta.verdict != FINDINGS_VERDICT_FULL)
			status = EXIT_NOT_CHECKED;
	}
	return status;
}

int report_command(int argc, char **argv)
{
	struct report_set set;
	struct request request;
	int first = parse(argc, argv, &request), status;

	report_set_init(&set, request.root);
	for (int i = first; i < argc; i++) {
		if (!report_set_add_path(&set, argv[i]))
			exit(EXIT_FAILED);
	}
	suppressions_apply(request.suppressions, &set);
	report_set_sort(&set);
	write_output(&set, &request);
	status = status_of(&set, &request);
	report_set_finish(&set);
	suppressions_destroy(request.suppressions);
	return status;
}
