/*
 * Verdicts over many processes. Leaks win over what could not be checked; nothing that was not checked is called clean.
 */
#include "cli/hunt.h"

#include "cli/command.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

/* ---- which processes ---- */

void hunt_choice_add(const char *command, const char **list, size_t *count, const char *pattern)
{
	if (*count == HUNT_GLOBS_MAX)
		fail(EXIT_USAGE, "%s: more than %d patterns of a kind", command, HUNT_GLOBS_MAX);
	list[(*count)++] = pattern;
}

static bool matches_one(const char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (!fnmatch(list[i], name, 0))
			return true;
	}
	return false;
}

bool hunt_choice_has(const struct hunt_choice *choice, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	if (!*name)
		return true;
	if (choice->only_count > 0 && !matches_one(choice->only, choice->only_count, name))
		return false;
	return !matches_one(choice->skip, choice->skip_count, name);
}

/* ---- verdicts ---- */

void hunt_leave_out_young(struct report_set *set, uint32_t confirm, struct hunt_result *result)
{
	for (size_t i = 0; i < set->count; i++) {
		struct report *report = &set->reports[i];

		for (size_t j = 0; j < report->finding_count; j++) {
			struct report_finding *finding = &report->findings[j];
			uint32_t kind = finding->sum.kind;

			if (finding->is_suppressed || finding->sum.cycles >= confirm ||
				(kind != FINDING_LEAK && kind != FINDING_INDIRECT))
				continue;
			finding->is_suppressed = true;
			result->unconfirmed += kind == FINDING_LEAK;
		}
	}
}

static bool counts(const struct report_order *order, const struct report_finding *finding)
{
	struct report_view view = {.kinds = 1u << FINDING_LEAK | 1u << FINDING_INDIRECT};

	if (order->has_kinds) {
		view = order->view;
		view.kinds = order->status_kinds;
	}
	return report_view_has(&view, finding);
}

void hunt_note_process(struct hunt_result *result, const struct findings_meta *meta,
	const struct report_order *order)
{
	bool lacks_possible = order->has_kinds &&
			      (order->status_kinds >> FINDING_POSSIBLE & 1) != 0 &&
			      meta->possible != FINDINGS_POSSIBLE_LOOKED;

	if (meta->verdict == FINDINGS_VERDICT_FULL && !lacks_possible)
		result->checked++;
	else if (meta->verdict == FINDINGS_VERDICT_NONE)
		result->unchecked++;
	else
		result->partial++;
}

static void count_report(
	struct hunt_result *result, const struct report *report, const struct report_order *order)
{
	for (size_t i = 0; i < report->finding_count; i++) {
		const struct report_finding *finding = &report->findings[i];

		if (!counts(order, finding))
			continue;
		result->sites++;
		result->bytes += report_total_bytes(finding);
		result->blocks += report_total_blocks(finding);
	}
}

void hunt_count(
	struct hunt_result *result, const struct report_set *set, const struct report_order *order)
{
	for (size_t i = 0; i < set->count; i++)
		count_report(result, &set->reports[i], order);
	for (size_t i = 0; i < set->count; i++) {
		for (size_t j = 0; j < set->reports[i].finding_count; j++)
			result->suppressed += set->reports[i].findings[j].is_suppressed;
	}
	result->suppressed -= result->unconfirmed <= result->suppressed ? result->unconfirmed
									: result->suppressed;
}

enum hunt_verdict hunt_verdict(const struct hunt_result *result)
{
	if (result->sites > 0 || result->has_untold_leaks)
		return HUNT_LEAKS;
	if (result->checked == 0 && result->partial == 0)
		return HUNT_NOT_CHECKED;
	return result->partial > 0 || result->unchecked > 0 ? HUNT_PARTIAL : HUNT_CLEAN;
}

const char *hunt_verdict_word(enum hunt_verdict verdict)
{
#define VERDICT(name, word, status) word,
	static const char *const words[] = {HUNT_VERDICTS(VERDICT)};
#undef VERDICT

	return words[verdict];
}

int hunt_verdict_status(enum hunt_verdict verdict)
{
#define VERDICT(name, word, status) status,
	static const int statuses[] = {HUNT_VERDICTS(VERDICT)};
#undef VERDICT

	return statuses[verdict];
}

bool hunt_write_status(const char *path, const struct hunt_result *result, int status)
{
	struct output output;

	if (!output_open(&output, path, NULL, 0644))
		return false;
	fprintf(output.stream,
		"%s bytes=%" PRIu64 " blocks=%" PRIu64
		" sites=%zu suppressed=%zu unconfirmed=%zu checked=%u partial=%u unchecked=%u status=%d\n",
		hunt_verdict_word(hunt_verdict(result)), result->bytes, result->blocks,
		result->sites, result->suppressed, result->unconfirmed, result->checked,
		result->partial, result->unchecked, status);
	return output_close(&output);
}

/* ---- words ---- */

const struct symbol *hunt_site(const struct report_finding *finding)
{
	const struct report_stack *stack = finding->stack;
	const struct symbol *symbol = NULL;

	for (size_t i = 0; stack && i < stack->depth && !symbol; i++) {
		if (!report_frame_is_plumbing(&stack->frames[i]))
			symbol = stack->frames[i].symbol;
	}
	return symbol;
}

void hunt_print_site(FILE *out, const struct report_finding *finding)
{
	const struct symbol *symbol = hunt_site(finding);

	if (!symbol) {
		fputs(finding->stack ? "(unknown code)" : "(no stack)", out);
		return;
	}
	if (symbol->count && symbol->frames[0].function) {
		print_printable(out, symbol->frames[0].function);
		fputc(' ', out);
	}
	if (symbol->count && symbol->frames[0].file) {
		print_printable(out, symbol->frames[0].file);
		fprintf(out, ":%u", symbol->frames[0].line);
	} else {
		print_printable(out, symbol->module->base_name);
		fprintf(out, "+0x%" PRIx64, symbol->offset);
	}
}
