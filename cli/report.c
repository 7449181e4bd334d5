/*
 * gasket report: files of findings in the form that is asked for.
 */
#include "cli/command.h"
#include "cli/report_output.h"

#include <stdio.h>
#include <stdlib.h>

static int parse(int argc, char **argv, struct report_order *order)
{
	const char *argument;
	int letter, first = 1;

	report_order_init(order, "report", stdout);
	while ((letter = command_next_switch(argc, argv, &argument, &first)))
		report_order_take(order, command_switch_name("report", letter), argument);
	report_order_settle(order);
	if (first == argc)
		fail(EXIT_USAGE, "report: no file of findings; see gasket help report");
	return first;
}

/* Leaks win over what could not be checked. Forms for other programs only say whether they were written. */
static int status_of(const struct report_set *set, const struct report_order *order)
{
	int status = 0;

	if (order->form == FORM_PPROF || order->form == FORM_COLLAPSED ||
		!(order->view.kinds >> FINDING_LEAK & 1))
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
	struct report_order order;
	int first = parse(argc, argv, &order), status;

	report_set_init(&set, order.root);
	for (int i = first; i < argc; i++) {
		if (!report_set_add_path(&set, argv[i]))
			exit(EXIT_FAILED);
	}
	suppressions_apply(order.suppressions, &set);
	report_set_sort(&set);
	status = report_order_write(&order, &set) ? status_of(&set, &order) : EXIT_FAILED;
	report_set_finish(&set);
	report_order_finish(&order);
	return status;
}
