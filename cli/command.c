/*
 * Switches and messages of the commands. getopt_long's own messages would name neither the command
 * nor the way to its help, so it is kept silent and its findings are put into our words.
 */
#include "cli/command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SWITCHES_MAX = 24, HELP_LETTER = 'h' };

static void print_message(const char *format, va_list arguments)
{
	fflush(stdout);
	flockfile(stderr);
	fputs("gasket: ", stderr);
	vfprintf(stderr, format, arguments);
	putc('\n', stderr);
	funlockfile(stderr);
}

void warn_line(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_message(format, arguments);
	va_end(arguments);
}

void fail(int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_message(format, arguments);
	va_end(arguments);
	exit(status);
}

void progress_line(const char *format, ...)
{
	va_list arguments;

	if (!isatty(STDERR_FILENO))
		return;
	va_start(arguments, format);
	print_message(format, arguments);
	va_end(arguments);
}

void command_flush(void)
{
	errno = 0;
	if (fflush(stdout) || ferror(stdout))
		fail(EXIT_FAILED, "output: %s", errno ? strerror(errno) : "cannot be written");
}

const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++) {
		if (!strcmp(command->name, name))
			return command;
	}
	return NULL;
}

const char *command_switch_name(const char *command, int letter)
{
	for (const struct command_switch *entry = command_switches; entry->command; entry++) {
		if (entry->letter == letter && !strcmp(entry->command, command))
			return entry->name;
	}
	return "";
}

/* The form getopt_long wants. "+": the program's own switches stay its own. */
static void collect_switches(const char *command, struct option *ret_long, char *ret_short)
{
	int count = 0;

	*ret_short++ = '+';
	*ret_short++ = ':';
	for (const struct command_switch *entry = command_switches; entry->command; entry++) {
		if (strcmp(entry->command, command) != 0 || count == SWITCHES_MAX)
			continue;
		ret_long[count++] = (struct option){entry->name,
			*entry->argument ? required_argument : no_argument, NULL, entry->letter};
		*ret_short++ = entry->letter;
		if (*entry->argument)
			*ret_short++ = ':';
	}
	ret_long[count++] = (struct option){"help", no_argument, NULL, HELP_LETTER};
	ret_long[count] = (struct option){0};
	*ret_short++ = HELP_LETTER;
	*ret_short = 0;
}

int command_next_switch(int argc, char **argv, const char **ret_argument, int *ret_first)
{
	struct option long_form[SWITCHES_MAX + 2];
	char short_form[2 * SWITCHES_MAX + 8];
	const char *word;
	int letter;

	collect_switches(argv[0], long_form, short_form);
	opterr = 0;
	word = argv[optind < argc ? optind : argc - 1];
	letter = getopt_long(argc, argv, short_form, long_form, NULL);
	switch (letter) {
	case -1:
		*ret_first = optind;
		return 0;
	case HELP_LETTER:
		command_help(command_find(argv[0]));
		command_flush();
		exit(0);
	case ':':
		fail(EXIT_USAGE, "%s: %s needs a value; see gasket help %s", argv[0], word,
			argv[0]);
	case '?':
		fail(EXIT_USAGE, "%s: unknown switch '%s'; see gasket help %s", argv[0], word,
			argv[0]);
	}
	*ret_argument = optarg;
	return letter;
}
