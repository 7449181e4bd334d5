/*
 * What every command of `gasket` is made of: a row of the table, its switches, and one way to fail.
 *
 * A command is a function NAME_command(argc, argv), argv[0] being its name; what it returns is the
 * exit status.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Exit statuses, besides those of the program that was run. */
enum {
	EXIT_FAILED = 1,       // the command could not do what was asked
	EXIT_USAGE = 2,        // it was asked wrongly
	EXIT_LEAKS = 23,       // leaks were found
	EXIT_NOT_CHECKED = 24, // leaks could not be looked for
	EXIT_CANNOT_RUN = 126, // the program exists and cannot be run under Gasket
	EXIT_NOT_FOUND = 127,  // there is no such program
};

struct command {
	const char *name;
	const char *synopsis;
	const char *summary;
	const char *text;
	int (*run)(int argc, char **argv);
};

struct command_switch {
	const char *command;
	char letter;
	const char *name;
	const char *argument; // what --help calls it; "": takes none
	const char *help;
};

struct command_example {
	const char *command;
	const char *line;
	const char *note;
};

/* In the order of command.def, ended by an entry with a NULL first. */
extern const struct command commands[];
extern const struct command_switch command_switches[];
extern const struct command_example command_examples[];

#define COMMAND(name, ...) int name##_command(int argc, char **argv);
#define SWITCH(...)
#define EXAMPLE(...)
#include "cli/command.def"
#undef COMMAND
#undef SWITCH
#undef EXAMPLE

const struct command *command_find(const char *name);

/* Prints the full help of one command to standard output. */
void command_help(const struct command *command);

/*
 * The letter of the next switch of command argv[0], its argument in *ret_argument; 0 when there are
 * no more, and *ret_first is the index of the first word behind them. Answers --help, and ends the
 * process on an unknown switch.
 */
int command_next_switch(int argc, char **argv, const char **ret_argument, int *ret_first);

/* The long name of a switch by its letter. */
const char *command_switch_name(const char *command, int letter);

/* What was printed so far is out, or the command ends with one line. */
void command_flush(void);

/* "gasket: MESSAGE" as one line on standard error if that is a terminal: for who waits. */
void progress_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints "gasket: MESSAGE" as one line on standard error; fail() then ends the process. */
void warn_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
