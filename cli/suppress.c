/*
 * gasket suppress: writes suppressions for what is in files of findings.
 *
 * A finding whose frames all have names becomes a block as Valgrind has them: the chain of its functions, which stays true when addresses and
 * lines change. Any other becomes a line with the place of its innermost frame, which stays true for that build of that module.
 */
#include "cli/memory.h"
#include "cli/render.h"

#include <inttypes.h>

enum { FRAMES_MAX = 24 }; // of a block: Valgrind takes no more

static bool is_nameless(const struct report_frame *frame)
{
	return !frame->symbol || frame->symbol->count == 0 ||
	       !frame->symbol->frames[frame->symbol->count - 1].linkage;
}

/* The frames that count: neither the C library's nor those outside of all modules. */
static bool has_all_names(const struct report_stack *stack)
{
	bool any = false;

	for (size_t i = 0; i < stack->depth; i++) {
		if (report_frame_is_plumbing(&stack->frames[i]))
			continue;
		if (is_nameless(&stack->frames[i]))
			return false;
		any = true;
	}
	return any;
}

static void print_block(const struct report_finding *finding)
{
	const struct report_stack *stack = finding->stack;
	bool is_gap = false;
	int lines = 1;

	/* Whatever lies before the first: malloc, operator new, containers. */
	printf("{\n   gasket-%s\n   Memcheck:Leak\n   ...\n", finding->id);
	for (size_t i = 0, printed = 0; i < stack->depth && lines < FRAMES_MAX; i++) {
		const struct symbol *symbol = stack->frames[i].symbol;

		if (report_frame_is_plumbing(&stack->frames[i])) {
			is_gap = printed > 0;
			continue;
		}
		if (is_gap && ++lines < FRAMES_MAX)
			printf("   ...\n");
		is_gap = false;
		for (size_t j = 0; j < symbol->count && lines++ < FRAMES_MAX; j++, printed++) {
			printf("   fun:");
			print_printable(stdout,
				symbol->frames[j].linkage ? symbol->frames[j].linkage : "*");
			printf("\n");
		}
	}
	printf("}\n");
}

/* False: there is nothing to go by. */
static bool print_place(const struct report_stack *stack)
{
	const struct symbol *symbol = NULL;

	for (size_t i = 0; i < stack->depth && !symbol; i++) {
		if (!report_frame_is_plumbing(&stack->frames[i]))
			symbol = stack->frames[i].symbol;
	}
	if (!symbol)
		return false;
	printf("leak:");
	print_printable(stdout, symbol->module->base_name);
	printf("+0x%" PRIx64, symbol->offset);
	if (*symbol->module->build_id)
		printf(" (BuildId: %s)$\n", symbol->module->build_id);
	else
		printf("$\n");
	return true;
}

static void print_finding(const struct report_finding *finding)
{
	printf("# %s of %" PRIu64 " byte(s) in %" PRIu64 " object(s), id %s\n",
		findings_kind_word(finding->sum.kind), report_total_bytes(finding),
		report_total_blocks(finding), finding->id);
	if (finding->stack && has_all_names(finding->stack))
		print_block(finding);
	else if (!finding->stack || !print_place(finding->stack))
		printf("# no stack is known: nothing to suppress it by\n");
	printf("\n");
}

static bool is_wanted(const struct report *report, size_t index)
{
	const struct report_finding *finding = &report->findings[index];

	if ((finding->sum.kind != FINDING_LEAK && finding->sum.kind != FINDING_POSSIBLE) ||
		finding->parent != SIZE_MAX)
		return false;
	for (size_t i = 0; i < index; i++) {
		if (!strcmp(report->findings[i].id, finding->id))
			return false;
	}
	return true;
}

int suppress_command(int argc, char **argv)
{
	struct report_set set;
	const char *argument, *root = NULL;
	int first = 1;

	while (command_next_switch(argc, argv, &argument, &first))
		root = argument;
	if (first == argc)
		fail(EXIT_USAGE, "suppress: no file of findings; see gasket help suppress");
	report_set_init(&set, root);
	for (int i = first; i < argc; i++) {
		if (!report_set_add_path(&set, argv[i]))
			exit(EXIT_FAILED);
	}
	report_set_sort(&set);
	for (size_t i = 0; i < set.count; i++) {
		for (size_t j = 0; j < set.reports[i].finding_count; j++) {
			if (is_wanted(&set.reports[i], j))
				print_finding(&set.reports[i].findings[j]);
		}
	}
	report_set_finish(&set);
	return 0;
}
