/*
 * gasket: one command with subcommands. This file is the table; each command is a file of its own,
 * named for it.
 */
#include "cli/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct command commands[] = {
#define COMMAND(name, synopsis, summary, text) {#name, synopsis, summary, text, name##_command},
#define SWITCH(...)
#define EXAMPLE(...)
#include "cli/command.def"
#undef COMMAND
#undef SWITCH
	{0},
};

const struct command_switch command_switches[] = {
#define COMMAND(...)
#define SWITCH(command, letter, name, argument, help) {#command, letter, name, argument, help},
#include "cli/command.def"
#undef SWITCH
#undef EXAMPLE
	{0},
};

const struct command_example command_examples[] = {
#define SWITCH(...)
#define EXAMPLE(command, line, note) {#command, line, note},
#include "cli/command.def"
#undef COMMAND
#undef SWITCH
#undef EXAMPLE
	{0},
};

/*
 * Where the caller has closed one of the standard descriptors, a file of ours would get its number, be it the page of a process, and what is printed would go there. The
 * program that is run finds it closed.
 */
static void occupy_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int run(int argc, char **argv)
{
	static char *help_arguments[] = {"help", NULL}, *version_arguments[] = {"version", NULL};
	const struct command *command;

	if (argc < 2)
		fail(EXIT_USAGE, "no command; see gasket help");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help_command(1, help_arguments);
	if (!strcmp(argv[1], "--version"))
		return version_command(1, version_arguments);
	command = command_find(argv[1]);
	if (!command)
		fail(EXIT_USAGE, "unknown command '%s'; see gasket help", argv[1]);
	return command->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	int status;

	occupy_standard_descriptors();
	status = run(argc, argv);
	command_flush();
	return status;
}
