/*
 * gasket run: becomes the program, with the library preloaded. There is no process in between, so
 * statuses, signals, job control and process ids are the program's own.
 */
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/option_table.h"
#include "cli/program.h"

#include <stdio.h>
#include <stdlib.h>

static void add_mode(const char *mode)
{
	char *text;

	if (asprintf(&text, "mode=%s", mode) < 0)
		fail(EXIT_FAILED, "no memory");
	options_demand_valid("run", text);
	launch_add_options(text);
	free(text);
}

int run_command(int argc, char **argv)
{
	const char *argument;
	int letter, first = 1;
	char *path;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 'm') {
			add_mode(argument);
		} else {
			options_demand_valid("run", argument);
			launch_add_options(argument);
		}
	}
	if (first == argc)
		fail(EXIT_USAGE, "run: no program; see gasket help run");
	path = program_demand_preloadable(argv[first]);
	launch_preload(launch_find_library());
	launch_exec(path, argv + first);
}
