/*
 * help and version: text from command.def and option.def, wrapped to the width of a page.
 */
#include "cli/command.h"
#include "cli/option_table.h"
#include "core/profile/stats_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 80 };

/* Prints `text` in lines that begin in column `indent`; the cursor stands in column `at`. */
static void print_wrapped(const char *text, int indent, int at)
{
	bool first = true;

	while (*text) {
		int length = (int)strcspn(text, " ");

		if (!first && at + 1 + length > WIDTH) {
			putchar('\n');
			at = 0;
		}
		if (at < indent)
			at += printf("%*s", indent - at, "");
		else if (!first && at > indent)
			at += printf(" ");
		at += printf("%.*s", length, text);
		text += length;
		text += strspn(text, " ");
		first = false;
	}
	putchar('\n');
}

static void print_switches(const struct command *command)
{
	bool any = false;

	for (const struct command_switch *entry = command_switches; entry->command; entry++) {
		int at;

		if (strcmp(entry->command, command->name) != 0)
			continue;
		if (!any)
			printf("\n");
		any = true;
		at = printf("  -%c, --%s%s%s", entry->letter, entry->name,
			*entry->argument ? " " : "", entry->argument);
		if (at > 28)
			at = printf("\n") - 1;
		print_wrapped(entry->help, 30, at);
	}
}

static void print_examples(const struct command *command)
{
	bool any = false;

	for (const struct command_example *example = command_examples; example->command;
		example++) {
		if (strcmp(example->command, command->name) != 0)
			continue;
		if (!any)
			printf("\nExamples:\n");
		any = true;
		printf("  %s\n", example->line);
		if (*example->note)
			printf("      %s\n", example->note);
	}
}

static void print_requests(void)
{
#define REQUEST(name, words, help) {words, help},
	static const struct {
		const char *words;
		const char *help;
	} requests[] = {STATS_REQUESTS(REQUEST)};
#undef REQUEST

	printf("\n");
	for (int i = STATS_REQUEST_NONE + 1; i < STATS_REQUEST_COUNT; i++)
		printf("  %-16s %s\n", requests[i].words, requests[i].help);
}

void command_help(const struct command *command)
{
	printf("gasket %s %s\n", command->name, command->synopsis);
	if (*command->text) {
		printf("\n");
		print_wrapped(command->text, 0, 0);
	}
	print_switches(command);
	if (command->run == set_command)
		print_requests();
	print_examples(command);
}

static void print_overview(void)
{
	printf("gasket: runs programs with a malloc that takes back what they leak\n\n");
	for (const struct command *command = commands; command->name; command++)
		printf("  gasket %-9s %s\n", command->name, command->summary);
	printf("\nExamples:\n");
	for (const struct command_example *example = command_examples; example->command;
		example++) {
		if (example == command_examples ||
			strcmp(example->command, example[-1].command) != 0)
			printf("  %s\n", example->line);
	}
	printf("\ngasket help COMMAND tells more; gasket help options lists what GASKET_OPTIONS understands.\n");
}

/* Sizes that are whole k, m or g are written so. */
static void format_number(
	const struct option_entry *entry, uint64_t number, char *buffer, size_t capacity)
{
	static const char suffixes[] = {'g', 'm', 'k'};
	bool is_size = strstr(entry->name, "_bytes") || strstr(entry->name, "_limit");

	snprintf(buffer, capacity, number == UINT64_MAX ? "computed" : "%" PRIu64, number);
	for (unsigned i = 0; is_size && number != UINT64_MAX && number != 0 && i < sizeof(suffixes);
		i++) {
		unsigned shift = 30 - 10 * i;

		if (number >> shift << shift == number) {
			snprintf(buffer, capacity, "%" PRIu64 "%c", number >> shift, suffixes[i]);
			return;
		}
	}
}

static void print_option(const struct option_entry *entry)
{
	char initial[64] = "", low[32], high[32];

	printf("  %s", entry->name);
	if (entry->kind == OPTION_IS_CHOICE) {
		words_get(entry->words, entry->initial, initial, sizeof(initial));
		printf("=%s", entry->words);
	} else if (entry->kind == OPTION_IS_NUMBER) {
		format_number(entry, entry->initial, initial, sizeof(initial));
		format_number(entry, entry->low, low, sizeof(low));
		format_number(entry, entry->high, high, sizeof(high));
		printf("=%s..%s", low, entry->high == UINT64_MAX ? "" : high);
	} else {
		snprintf(initial, sizeof(initial), "%s", *entry->words ? entry->words : "none");
		printf("=TEXT");
	}
	printf("  (%s)\n", initial);
	print_wrapped(entry->help, 8, 0);
}

static int help_options(void)
{
	printf("GASKET_OPTIONS=key=value:key=value (commas will do); default in parentheses.\n\n");
	for (const struct option_entry *entry = option_table; entry->name; entry++)
		print_option(entry);
	return 0;
}

int help_command(int argc, char **argv)
{
	const struct command *command;
	const char *argument;
	int first = 1;

	command_next_switch(argc, argv, &argument, &first);
	if (argc - first > 1)
		fail(EXIT_USAGE, "help: one command at a time");
	if (argc == first) {
		print_overview();
		return 0;
	}
	if (!strcmp(argv[first], "options"))
		return help_options();
	command = command_find(argv[first]);
	if (!command)
		fail(EXIT_USAGE, "unknown command '%s'; see gasket help", argv[first]);
	command_help(command);
	return 0;
}

int version_command(int argc, char **argv)
{
	const char *argument;
	int first;

	command_next_switch(argc, argv, &argument, &first);
	if (argc > first)
		fail(EXIT_USAGE, "version: takes no argument");
	printf("gasket %s (page version %d)\n", GASKET_VERSION, STATS_VERSION);
	return 0;
}
