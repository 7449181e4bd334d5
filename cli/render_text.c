/*
 * A report as text. The lines that LeakSanitizer has are worded as it does, so that programs that read its reports read these.
 */
#include "cli/figures.h"
#include "cli/memory.h"
#include "cli/render.h"

#include <inttypes.h>

static const char rule_line[] =
	"=================================================================\n";

struct report_view report_view_default(void)
{
	return (struct report_view){.kinds = (1u << FINDING_KIND_COUNT) - 1};
}

bool report_view_has(const struct report_view *view, const struct report_finding *finding)
{
	return !finding->is_suppressed && (view->kinds >> finding->sum.kind & 1) != 0 &&
	       (view->indirect || finding->parent == SIZE_MAX);
}

/* ---- frames ---- */

static void print_place(FILE *out, const struct symbol *symbol)
{
	fputc('(', out);
	print_printable(out, symbol->module->path);
	fprintf(out, "+0x%" PRIx64 ")", symbol->offset);
	if (*symbol->module->build_id)
		fprintf(out, " (BuildId: %s)", symbol->module->build_id);
}

/* One line for each function at the address. */
static void print_frame(FILE *out, const struct report_frame *frame, unsigned *number)
{
	const struct symbol *symbol = frame->symbol;
	size_t count = symbol && symbol->count ? symbol->count : 1;

	for (size_t i = 0; i < count; i++) {
		const struct symbol_frame *named =
			symbol && symbol->count ? &symbol->frames[i] : NULL;

		fprintf(out, "    #%u 0x%" PRIx64 " ", (*number)++, frame->address);
		if (named && named->function) {
			fputs("in ", out);
			print_printable(out, named->function);
		}
		fputc(' ', out);
		if (named && named->file) {
			print_printable(out, named->file);
			fprintf(out, ":%u\n", named->line);
		} else if (symbol) {
			print_place(out, symbol);
			fputc('\n', out);
		} else {
			fputs("(<unknown module>)\n", out);
		}
	}
}

void render_stack(FILE *out, const struct report_stack *stack, uint64_t slot_bytes)
{
	unsigned number = 0;

	if (!stack && slot_bytes)
		fprintf(out, "    (no stack was recorded; slots of %" PRIu64 " bytes)\n",
			slot_bytes);
	else if (!stack)
		fputs("    (no stack was recorded)\n", out);
	for (size_t i = 0; stack && i < stack->depth; i++)
		print_frame(out, &stack->frames[i], &number);
}

/* ---- findings ---- */

/* The innermost frame that is not the C library's, in a few words. */
static void print_origin(FILE *out, const struct report_stack *stack)
{
	for (size_t i = 0; i < stack->depth; i++) {
		const struct report_frame *frame = &stack->frames[i];

		if (report_frame_is_plumbing(frame) || !frame->symbol)
			continue;
		fputs(" allocated in ", out);
		if (frame->symbol->count && frame->symbol->frames[0].function)
			print_printable(out, frame->symbol->frames[0].function);
		if (frame->symbol->count && frame->symbol->frames[0].file) {
			fputc(' ', out);
			print_printable(out, frame->symbol->frames[0].file);
			fprintf(out, ":%u", frame->symbol->frames[0].line);
		} else {
			fputc(' ', out);
			print_place(out, frame->symbol);
		}
		return;
	}
}

static void print_holder(FILE *out, const struct report_holder *holder)
{
	fprintf(out, "    referred to by %s", findings_holder_words(holder->kind));
	if (holder->symbol && holder->symbol->count && holder->symbol->frames[0].function) {
		fputc(' ', out);
		print_printable(out, holder->symbol->frames[0].function);
	}
	if (holder->symbol) {
		fputc(' ', out);
		print_place(out, holder->symbol);
	}
	if (*holder->name) {
		fputc(' ', out);
		print_printable(out, holder->name);
	}
	if (holder->address && !holder->symbol)
		fprintf(out, " 0x%" PRIx64, holder->address);
	if (holder->thread)
		fprintf(out, " of thread %" PRIu32, holder->thread);
	if (holder->stack)
		print_origin(out, holder->stack);
	fputc('\n', out);
}

static void print_head(FILE *out, const struct report_finding *finding)
{
	const struct finding *sum = &finding->sum;

	switch (sum->kind) {
	case FINDING_MISUSE:
		fprintf(out, "Misuse: %s, %" PRIu64 " time(s), by:\n",
			findings_misuse_words(sum->detail), sum->blocks);
		return;
	case FINDING_GROWING:
		fprintf(out,
			"Growing by %" PRIu64 " byte(s) per second (%" PRIu64 " to %" PRIu64
			"), %" PRIu64 " so far: %" PRIu64 " byte(s) in %" PRIu64
			" object(s) allocated from:\n",
			sum->slope_bytes_per_s, sum->slope_low_bytes_per_s,
			sum->slope_high_bytes_per_s, sum->grown_bytes, sum->bytes, sum->blocks);
		return;
	case FINDING_DANGLING:
		fprintf(out,
			"Freed and still referred to: %" PRIu64 " byte(s) in %" PRIu64
			" object(s) allocated from:\n",
			sum->bytes, sum->blocks);
		return;
	}
	fprintf(out, "%s leak of %" PRIu64 " byte(s) in %" PRIu64 " object(s) allocated from:\n",
		sum->kind == FINDING_LEAK       ? "Direct"
		: sum->kind == FINDING_INDIRECT ? "Indirect"
						: "Possible",
		sum->bytes, sum->blocks);
}

static void print_sums(FILE *out, const struct report *report, const struct report_finding *finding)
{
	const struct finding *sum = &finding->sum;

	if (sum->indirect_blocks)
		fprintf(out, "    and %" PRIu64 " byte(s) in %" PRIu64 " object(s) held by %s\n",
			sum->indirect_bytes, sum->indirect_blocks,
			sum->blocks == 1 ? "it" : "them");
	if (finding->parent != SIZE_MAX)
		fprintf(out, "    held by %sleak %s\n",
			sum->kind == FINDING_POSSIBLE ? "possible " : "",
			report->findings[finding->parent].id);
	if (sum->reclaimed_blocks)
		fprintf(out,
			"    (%" PRIu64 " byte(s) in %" PRIu64
			" object(s) of these were taken back while the program ran)\n",
			sum->reclaimed_bytes, sum->reclaimed_blocks);
}

static void print_tail(FILE *out, const struct report *report, const struct report_finding *finding)
{
	const struct finding *sum = &finding->sum;

	print_sums(out, report, finding);
	for (size_t i = 0; i < finding->holder_count; i++)
		print_holder(out, &finding->holders[i]);
	fprintf(out, "    id %s", finding->id);
	if (sum->cycles)
		fprintf(out, ", unreachable in %" PRIu32 " cycle(s)", sum->cycles);
	if (sum->first_seen_ms || sum->last_seen_ms)
		fprintf(out,
			", seen from %" PRIu64 ".%03" PRIu64 " s to %" PRIu64 ".%03" PRIu64 " s",
			sum->first_seen_ms / 1000, sum->first_seen_ms % 1000,
			sum->last_seen_ms / 1000, sum->last_seen_ms % 1000);
	if (report->process_count > 1)
		fprintf(out, ", in %zu of %zu processes", finding->processes,
			report->process_count);
	fputs("\n\n", out);
}

void render_finding(FILE *out, const struct report *report, const struct report_finding *finding)
{
	print_head(out, finding);
	if (finding->sum.kind == FINDING_MISUSE) {
		render_stack(out, finding->other_stack, 0);
		if (finding->stack) {
			fputs("  the block was allocated from:\n", out);
			render_stack(out, finding->stack, 0);
		}
	} else {
		render_stack(out, finding->stack, finding->sum.slot_bytes);
	}
	print_tail(out, report, finding);
}

static void print_findings(FILE *out, const struct report *report, const struct report_view *view)
{
	size_t counts[FINDING_KIND_COUNT] = {0};

	for (size_t i = 0; i < report->finding_count; i++) {
		const struct report_finding *finding = &report->findings[i];

		if (!report_view_has(view, finding))
			continue;
		if (view->top == 0 || counts[finding->sum.kind]++ < view->top)
			render_finding(out, report, finding);
	}
	for (uint32_t kind = 0; kind < FINDING_KIND_COUNT && view->top; kind++) {
		if (counts[kind] > view->top)
			fprintf(out, "(%zu more of kind %s are not shown)\n\n",
				counts[kind] - view->top, findings_kind_word(kind));
	}
}

/* ---- notes ---- */

void render_verdict(FILE *out, const struct report *report)
{
	if (report->meta.verdict == FINDINGS_VERDICT_PARTIAL)
		fputs("NOTE: checked only in part: more may have leaked.\n", out);
	else if (report->meta.verdict != FINDINGS_VERDICT_FULL)
		fprintf(out, "NOTE: could not check for leaks: %s.\n",
			report->meta.no_verdict
				? word_of(STATS_NO_VERDICT_WORDS, report->meta.no_verdict)
				: "there was no cycle with a verdict");
}

static void print_missing(FILE *out, const struct report *report)
{
	for (size_t i = 0; i < report->module_count; i++) {
		const struct report_module *module = &report->modules[i];

		if (!module->is_missing || module->module->path[0] != '/')
			continue;
		fputs("NOTE: no file for the names in ", out);
		print_printable(out, module->module->path);
		if (*module->module->build_id)
			fprintf(out, " with BuildId %s was found.\n", module->module->build_id);
		else
			fputs(", which has no build-id, was found.\n", out);
	}
}

void render_notes(FILE *out, const struct report *report, const struct report_view *view)
{
	const struct findings_meta *meta = &report->meta;

	render_verdict(out, report);
	if (meta->possible == FINDINGS_POSSIBLE_UNKNOWN && (view->kinds >> FINDING_POSSIBLE & 1))
		fputs("NOTE: possible leaks could not be looked for, or not in every process.\n",
			out);
	if (meta->sample_bytes)
		fprintf(out,
			"NOTE: stacks were sampled: one for about every %" PRIu64
			" bytes allocated; other blocks are listed by size.\n",
			meta->sample_bytes);
	if (meta->dropped_stacks)
		fprintf(out, "NOTE: %" PRIu64 " stack(s) were not kept for want of memory.\n",
			meta->dropped_stacks);
	if (meta->dropped_findings)
		fprintf(out, "NOTE: %" PRIu64 " finding(s) were dropped.\n",
			meta->dropped_findings);
	if (!view->quiet_notes)
		print_missing(out, report);
}

/* ---- the report ---- */

static void print_title(FILE *out, const struct report *report)
{
	fprintf(out, "\n%s==%" PRIu32 "==ERROR: Gasket: detected memory leaks\n", rule_line,
		report->processes[0]);
	if (report->process_count > 1) {
		fprintf(out, "(%zu processes of ", report->process_count);
		print_printable(out, report->executable);
		fputs(" together)\n", out);
	}
	fputc('\n', out);
}

static bool has_any(const struct report *report, const struct report_view *view)
{
	for (size_t i = 0; i < report->finding_count; i++) {
		if (report_view_has(view, &report->findings[i]))
			return true;
	}
	return false;
}

void render_text(FILE *out, const struct report *report, const struct report_view *view)
{
	struct report_leaked leaked = report_leaked(report), possible = report_possible(report);
	bool wants_leaks = (view->kinds >> FINDING_LEAK & 1) != 0;

	if (leaked.blocks && wants_leaks) {
		print_title(out, report);
	} else if (has_any(report, view)) {
		fprintf(out, "\n%s==%" PRIu32 "==Gasket: ", rule_line, report->processes[0]);
		print_printable(out, report->executable);
		fputs("\n\n", out);
	}
	print_findings(out, report, view);
	render_notes(out, report, view);
	if (possible.blocks && (view->kinds >> FINDING_POSSIBLE & 1))
		fprintf(out,
			"POSSIBLE: %" PRIu64 " byte(s) in %" PRIu64
			" allocation(s) are reached only by way of words into the middle of a block, or just behind it.\n",
			possible.bytes, possible.blocks);
	if (!wants_leaks)
		return;
	if (leaked.blocks)
		fprintf(out,
			"SUMMARY: Gasket: %" PRIu64 " byte(s) leaked in %" PRIu64
			" allocation(s).\n",
			leaked.bytes, leaked.blocks);
	else
		fprintf(out, "SUMMARY: Gasket: no leaks %s.\n",
			report->meta.verdict == FINDINGS_VERDICT_FULL ? "found"
								      : "known; not fully checked");
}
