/*
 * Rules are matched against stacks that were taken apart into single functions, innermost first, so that what was inlined counts as called.
 * The first rule that matches is the one that is used.
 */
#include "cli/memory.h"
#include "cli/render.h"
#include "cli/suppression_rules.h"

#include <inttypes.h>
#include <time.h>

/* One function of a stack; "" where nothing is known. */
struct call {
	const char *function, *linkage, *source, *object;
	unsigned line;
	char *place; // "/path/module+0x1234", or NULL for all but the first of those that share an address
	char *place_with_id; // the same with " (BuildId: ...)"
};

struct calls {
	size_t count;
	struct call *list;
};

/* ---- stacks taken apart ---- */

static void set_place(struct call *call, const struct symbol *symbol)
{
	if (asprintf(&call->place, "%s+0x%" PRIx64, symbol->module->path, symbol->offset) < 0 ||
		asprintf(&call->place_with_id, "%s (BuildId: %s)", call->place,
			symbol->module->build_id) < 0)
		fail(EXIT_FAILED, "no memory");
}

static void add_call(struct calls *calls, const struct symbol *symbol, size_t index)
{
	struct call call = {"", "", "", "", 0, NULL, NULL};

	if (symbol) {
		call.object = symbol->module->path;
		if (index == 0)
			set_place(&call, symbol);
	}
	if (symbol && index < symbol->count) {
		const struct symbol_frame *frame = &symbol->frames[index];

		call.function = frame->function ? frame->function : "";
		call.linkage = frame->linkage ? frame->linkage : "";
		call.source = frame->file ? frame->file : "";
		call.line = frame->line;
	}
	calls->list = memory_grow(calls->list, calls->count, sizeof(call));
	calls->list[calls->count++] = call;
}

static struct calls take_apart(const struct report_stack *stack)
{
	struct calls calls = {0};

	for (size_t i = 0; stack && i < stack->depth; i++) {
		const struct symbol *symbol = stack->frames[i].symbol;
		size_t count = symbol && symbol->count ? symbol->count : 1;

		for (size_t j = 0; j < count; j++)
			add_call(&calls, symbol, j);
	}
	return calls;
}

static void free_calls(struct calls *calls)
{
	for (size_t i = 0; i < calls->count; i++) {
		free(calls->list[i].place);
		free(calls->list[i].place_with_id);
	}
	free(calls->list);
}

/* ---- matching ---- */

/* `pattern` (with *, and ? if `has_question`) is the whole of `text`. */
static bool matches(const char *pattern, const char *text, bool has_question)
{
	const char *star = NULL, *retry = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			retry = text;
		} else if (*pattern == *text || (has_question && *pattern == '?')) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == 0;
}

static bool line_matches(const struct rule *rule, const struct calls *calls)
{
	for (size_t i = 0; i < calls->count; i++) {
		const struct call *call = &calls->list[i];
		const char *const texts[] = {call->function, call->linkage, call->source,
			call->object, call->place ? call->place : "",
			call->place_with_id ? call->place_with_id : ""};

		for (size_t j = 0; j < sizeof(texts) / sizeof(*texts); j++) {
			if (*texts[j] && matches(rule->pattern, texts[j], false))
				return true;
		}
	}
	return false;
}

static bool source_matches(const char *pattern, const struct call *call)
{
	const char *slash = strrchr(call->source, '/'), *base = slash ? slash + 1 : call->source;
	char *with_line;
	bool does;

	if (asprintf(&with_line, "%s:%u", base, call->line) < 0)
		fail(EXIT_FAILED, "no memory");
	does = matches(pattern, base, true) || matches(pattern, with_line, true) ||
	       matches(pattern, call->source, true);
	free(with_line);
	return does;
}

static bool frame_matches(const struct frame_rule *frame, const struct call *call)
{
	switch (frame->kind) {
	case FRAME_FUNCTION:
		return *call->function && (matches(frame->pattern, call->linkage, true) ||
						  matches(frame->pattern, call->function, true));
	case FRAME_OBJECT:
		return *call->object && matches(frame->pattern, call->object, true);
	case FRAME_SOURCE:
		return *call->source && source_matches(frame->pattern, call);
	default:
		return false;
	}
}

/* The rules from `at` on hold for the calls from `from` on; more calls may follow. */
static bool frames_match(const struct rule *rule, size_t at, const struct calls *calls, size_t from)
{
	size_t dots = SIZE_MAX, retry = 0; // the last "..." and where its frames end

	while (at < rule->frame_count) {
		const struct frame_rule *frame = &rule->frames[at];

		if (frame->kind == FRAME_ANY_NUMBER) {
			dots = at++;
			retry = from;
		} else if (from < calls->count && frame_matches(frame, &calls->list[from])) {
			at++;
			from++;
		} else if (dots != SIZE_MAX && retry < calls->count) {
			at = dots + 1;
			from = ++retry;
		} else {
			return false;
		}
	}
	return true;
}

/* Valgrind's stacks begin with its own malloc, ours with the caller. */
static bool is_of_allocator(const struct frame_rule *frame)
{
	static const char *const names[] = {"malloc", "calloc", "realloc", "memalign",
		"aligned_alloc", "posix_memalign", "valloc", "pvalloc", "_Znwm", "_Znam",
		"_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
		"_ZnamSt11align_val_t"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (frame->kind == FRAME_FUNCTION && matches(frame->pattern, names[i], true))
			return true;
	}
	return false;
}

static bool rule_matches(
	const struct rule *rule, const struct report_finding *finding, const struct calls *calls)
{
	if (rule->has_expired || (rule->kinds >> finding->sum.kind & 1) == 0 || calls->count == 0)
		return false;
	if (rule->pattern)
		return line_matches(rule, calls);
	return frames_match(rule, 0, calls, 0) ||
	       (rule->frame_count > 1 && is_of_allocator(&rule->frames[0]) &&
		       frames_match(rule, 1, calls, 0));
}

/* ---- all findings ---- */

static struct rule *find_rule(const struct suppressions *suppressions, const struct report *report,
	const struct report_finding *finding)
{
	struct calls calls = take_apart(finding->stack);
	struct rule *found = NULL;

	for (size_t i = 0; i < suppressions->count && !found; i++) {
		struct rule *rule = &suppressions->rules[i];

		if ((!rule->owner || rule->owner == report) && rule_matches(rule, finding, &calls))
			found = rule;
	}
	free_calls(&calls);
	return found;
}

static void check_days(struct suppressions *suppressions)
{
	time_t now = time(NULL);
	struct tm day;
	char today[11];

	if (!localtime_r(&now, &day) || !strftime(today, sizeof(today), "%Y-%m-%d", &day))
		return;
	for (size_t i = 0; i < suppressions->count; i++) {
		struct rule *rule = &suppressions->rules[i];

		rule->has_expired = *rule->expires && strcmp(rule->expires, today) < 0;
	}
}

/* The rule of each finding, NULL for none; what one with a rule holds needs none of its own. */
static struct rule **find_rules(
	const struct suppressions *suppressions, const struct report *report)
{
	struct rule **rules = memory_get(report->finding_count, sizeof(*rules));

	for (size_t i = 0; i < report->finding_count; i++) {
		if (report->findings[i].parent == SIZE_MAX)
			rules[i] = find_rule(suppressions, report, &report->findings[i]);
	}
	for (size_t i = 0; i < report->finding_count; i++) {
		size_t parent = report->findings[i].parent;

		if (parent != SIZE_MAX && !rules[parent])
			rules[i] = find_rule(suppressions, report, &report->findings[i]);
	}
	for (size_t i = 0; i < report->finding_count; i++) {
		if (!rules[i])
			continue;
		rules[i]->count += report_total_blocks(&report->findings[i]);
		rules[i]->bytes += report_total_bytes(&report->findings[i]);
	}
	return rules;
}

/* The file may say that the sum is smaller than its parts. */
static void take(uint64_t *sum, uint64_t part)
{
	*sum -= part < *sum ? part : *sum;
}

static void mark(struct report *report, struct rule *const *rules)
{
	for (size_t i = 0; i < report->finding_count; i++)
		report->findings[i].is_suppressed = rules[i] && !rules[i]->is_over;
	for (size_t i = 0; i < report->finding_count; i++) {
		struct report_finding *finding = &report->findings[i], *parent;

		if (finding->parent == SIZE_MAX)
			continue;
		parent = &report->findings[finding->parent];
		if (parent->is_suppressed) {
			finding->is_suppressed = true;
		} else if (finding->is_suppressed) {
			take(&parent->sum.indirect_bytes, finding->sum.bytes);
			take(&parent->sum.indirect_blocks, finding->sum.blocks);
		}
	}
}

/* In place of those of an earlier set. Rules with a fault have had their line; what stands before it holds. */
static void take_own_rules(struct suppressions *suppressions, const struct report_set *set)
{
	while (suppressions->count > 0 && suppressions->rules[suppressions->count - 1].owner)
		suppressions_free_rule(&suppressions->rules[--suppressions->count]);
	for (size_t i = 0; i < set->count; i++) {
		if (set->reports[i].default_suppressions)
			suppressions_load_text(suppressions, &set->reports[i],
				set->reports[i].default_suppressions);
	}
}

void suppressions_apply(struct suppressions *suppressions, struct report_set *set)
{
	struct rule ***rules = memory_get(set->count, sizeof(*rules));

	take_own_rules(suppressions, set);
	check_days(suppressions);
	for (size_t i = 0; i < set->count; i++)
		rules[i] = find_rules(suppressions, &set->reports[i]);
	for (size_t i = 0; i < suppressions->count; i++) {
		struct rule *rule = &suppressions->rules[i];

		rule->is_over = rule->bytes > rule->max_bytes;
	}
	for (size_t i = 0; i < set->count; i++) {
		mark(&set->reports[i], rules[i]);
		free(rules[i]);
	}
	free(rules);
}

/* ---- what became of the rules ---- */

static bool is_used(const struct rule *rule)
{
	return rule->count != 0 && !rule->is_over;
}

static void print_rule(FILE *out, const struct rule *rule, const char *words)
{
	fputs("NOTE: suppression ", out);
	print_printable(out, rule->file);
	fprintf(out, ":%u ", rule->line);
	print_printable(out, rule->text);
	fprintf(out, ": %s.\n", words);
}

static void print_used(FILE *out, const struct suppressions *suppressions)
{
	static const char line[] = "-----------------------------------------------------\n";
	bool any = false;

	for (size_t i = 0; i < suppressions->count; i++) {
		const struct rule *rule = &suppressions->rules[i];

		if (!is_used(rule))
			continue;
		if (!any)
			fprintf(out, "%sSuppressions used:\n  count      bytes template\n", line);
		any = true;
		fprintf(out, "%7" PRIu64 " %10" PRIu64 " ", rule->count, rule->bytes);
		print_printable(out, rule->text);
		fputc('\n', out);
	}
	if (any)
		fputs(line, out);
}

void suppressions_print(FILE *out, const struct suppressions *suppressions)
{
	char over[96];

	print_used(out, suppressions);
	for (size_t i = 0; i < suppressions->count; i++) {
		const struct rule *rule = &suppressions->rules[i];

		snprintf(over, sizeof(over), "%" PRIu64 " bytes are more than its max=%" PRIu64,
			rule->bytes, rule->max_bytes);
		if (rule->is_over)
			print_rule(out, rule, over);
		else if (rule->has_expired)
			print_rule(out, rule, "it has expired");
		else if (rule->count == 0)
			print_rule(out, rule, "it was not used");
	}
}

json_object *suppressions_json(const struct suppressions *suppressions)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < suppressions->count; i++) {
		const struct rule *rule = &suppressions->rules[i];
		json_object *object = json_object_new_object();
		char *file = printable(rule->file), *text = printable(rule->text);

		json_object_object_add(object, "file", json_object_new_string(file));
		json_object_object_add(object, "line", json_object_new_int64(rule->line));
		json_object_object_add(object, "text", json_object_new_string(text));
		json_object_object_add(object, "blocks", json_object_new_uint64(rule->count));
		json_object_object_add(object, "bytes", json_object_new_uint64(rule->bytes));
		json_object_object_add(object, "used", json_object_new_boolean(is_used(rule)));
		json_object_array_add(array, object);
		free(file);
		free(text);
	}
	return array;
}
