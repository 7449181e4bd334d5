/*
 * Stacks as flame graph programs take them: the names from the root to the allocation, separated by ';', a space, and the bytes.
 */
#include "cli/memory.h"
#include "cli/render.h"

#include <inttypes.h>

/* Without the two characters that mean something in a line. */
static void print_name(FILE *out, const char *name)
{
	char *copy = printable(name);

	for (char *at = copy; *at; at++) {
		if (*at == ';')
			*at = ':';
	}
	fputs(copy, out);
	free(copy);
}

static void print_nameless(FILE *out, const struct symbol *symbol)
{
	if (!symbol) {
		fputs("[unknown]", out);
		return;
	}
	print_name(out, symbol->module->base_name);
	fprintf(out, "+0x%" PRIx64, symbol->offset);
}

static void print_stack(FILE *out, const struct report_stack *stack)
{
	for (size_t i = stack->depth; i-- > 0;) {
		const struct symbol *symbol = stack->frames[i].symbol;

		for (size_t j = symbol && symbol->count ? symbol->count : 1; j-- > 0;) {
			if (symbol && symbol->count && symbol->frames[j].function)
				print_name(out, symbol->frames[j].function);
			else
				print_nameless(out, symbol);
			if (i > 0 || j > 0)
				fputc(';', out);
		}
	}
}

static void print_line(FILE *out, const struct report_stack *stack, uint64_t bytes)
{
	if (bytes == 0)
		return;
	if (stack)
		print_stack(out, stack);
	else
		fputs("[no stack]", out);
	fprintf(out, " %" PRIu64 "\n", bytes);
}

void render_collapsed(FILE *out, const struct report *report, const struct report_view *view)
{
	/* What leaks hold is counted where it was allocated if it is listed, else with the leak. */
	for (size_t i = 0; i < report->finding_count; i++) {
		const struct report_finding *finding = &report->findings[i];

		if (report_view_has(view, finding) && finding->sum.kind != FINDING_MISUSE)
			print_line(out, finding->stack,
				view->indirect ? finding->sum.bytes : report_total_bytes(finding));
	}
	for (size_t i = 0; view->live && i < report->site_count; i++)
		print_line(out, report->sites[i].stack, report->sites[i].bytes);
}
