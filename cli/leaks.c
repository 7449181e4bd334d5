/*
 * gasket leaks: what a program leaks, run for it (leaks_program.c) or alive already (leaks_live.c). This file is its switches.
 */
#include "cli/leaks.h"

#include "cli/command.h"
#include "cli/option_table.h"
#include "cli/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIRM_MAX = 1000, STATUS_MAX = 255 };

static void add_options(struct leaks_order *order, const char *text)
{
	char *joined;

	options_demand_valid("leaks", text);
	if (asprintf(&joined, "%s%s%s", order->options ? order->options : "",
		    order->options ? ":" : "", text) < 0)
		fail(EXIT_FAILED, "no memory");
	free(order->options);
	order->options = joined;
}

static long parse_number(const char *name, const char *text, long low, long high)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno || *end || end == text || number < low || number > high)
		fail(EXIT_USAGE,
			"leaks: bad value '%s' of --%s (%ld to %ld); see gasket help leaks", text,
			name, low, high);
	return number;
}

static void take_switch(struct leaks_order *order, const char *name, const char *argument)
{
	if (report_order_take(&order->report, name, argument))
		return;
	if (!strcmp(name, "options"))
		add_options(order, argument);
	else if (!strcmp(name, "only"))
		hunt_choice_add("leaks", order->choice.only, &order->choice.only_count, argument);
	else if (!strcmp(name, "skip"))
		hunt_choice_add("leaks", order->choice.skip, &order->choice.skip_count, argument);
	else if (!strcmp(name, "status-file"))
		order->status_file = argument;
	else if (!strcmp(name, "keep"))
		order->keep = argument;
	else if (!strcmp(name, "exitcode"))
		order->exitcode = (int)parse_number(name, argument, 0, STATUS_MAX);
	else if (!strcmp(name, "confirm"))
		order->confirm = (uint32_t)parse_number(name, argument, 1, CONFIRM_MAX);
	else if (!strcmp(name, "timeout"))
		order->seconds = request_parse_timeout("leaks", argument);
}

/* Of all kinds only what is a fault for certain, unless kinds are named. */
static struct leaks_order default_order(void)
{
	struct leaks_order order = {
		.exitcode = EXIT_LEAKS, .confirm = 1, .seconds = 6 * REQUEST_TIMEOUT_SECONDS};

	report_order_init(&order.report, "leaks", stderr);
	order.report.view.kinds =
		1u << FINDING_LEAK | 1u << FINDING_INDIRECT | 1u << FINDING_MISUSE;
	return order;
}

static bool are_processes(int count, char **words)
{
	for (int i = 0; i < count; i++) {
		if (!*words[i] || strspn(words[i], "0123456789") != strlen(words[i]))
			return false;
	}
	return count > 0;
}

void leaks_keep(const struct leaks_order *order, int fd, const char *name)
{
	char *path;

	if (!order->keep)
		return;
	if (asprintf(&path, "%s/%s", order->keep, name) < 0)
		fail(EXIT_FAILED, "no memory");
	output_copy(fd, path, 0600);
	lseek(fd, 0, SEEK_SET);
	free(path);
}

/* What keeps an answer from being written is better known before there is one. */
static void demand_writable(const struct leaks_order *order)
{
	const char *files[] = {order->report.output, order->status_file};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (files[i] && !output_is_possible(files[i]))
			exit(EXIT_FAILED);
	}
	if (order->keep && mkdir(order->keep, 0700) && errno != EEXIST)
		fail(EXIT_FAILED, "%s: %s", order->keep, strerror(errno));
	if (order->keep && access(order->keep, W_OK | X_OK))
		fail(EXIT_FAILED, "%s: %s", order->keep, strerror(errno));
}

int leaks_command(int argc, char **argv)
{
	struct leaks_order order = default_order();
	const char *argument;
	int letter, first = 1, status;
	bool is_live;

	leaks_take_lsan_options(&order, getenv("LSAN_OPTIONS"));
	while ((letter = command_next_switch(argc, argv, &argument, &first)))
		take_switch(&order, command_switch_name("leaks", letter), argument);
	report_order_settle(&order.report);
	if (first == argc)
		fail(EXIT_USAGE, "leaks: no program; see gasket help leaks");
	is_live = strcmp(argv[first - 1], "--") != 0 && are_processes(argc - first, argv + first);
	if (is_live && order.options)
		fail(EXIT_USAGE,
			"leaks: --options are for a program that is started here; for a process see gasket help set");
	demand_writable(&order);
	status = is_live ? leaks_of_processes(&order, argc - first, argv + first)
			 : leaks_of_program(&order, argv + first);
	report_order_finish(&order.report);
	free(order.options);
	return status;
}
