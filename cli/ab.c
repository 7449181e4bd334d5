/*
 * gasket ab: one program, several allocators, many runs. Runs are interleaved: each round runs
 * every allocator once, in a shuffled order, so that whatever else the machine does falls on all of
 * them, and ratios are taken within a round.
 */
#include "cli/ab.h"

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNS_DEFAULT = 10, PORT_MAX = 65535 };

/* One line that is written over on a terminal; elsewhere a line per step. */
static void show_progress(const char *step, const char *name)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[Kgasket: ab: %s %s", step, name);
	else
		fprintf(stderr, "gasket: ab: %s%s%s\n", step, *name ? " " : "", name);
	fflush(stderr);
}

static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

static bool outcomes_equal(const struct outcome *a, const struct outcome *b, bool status_only)
{
	return a->status == b->status &&
	       (status_only || (a->bytes == b->bytes && a->hash == b->hash));
}

/* Why an outcome is not the base's; NULL: it is. */
static const char *trouble_of(const struct comparison *comparison, const struct outcome *outcome)
{
	if (outcome->trouble)
		return outcome->trouble;
	if (!outcomes_equal(&comparison->expected, outcome, true))
		return WIFSIGNALED(outcome->status) ? "it dies of a signal"
						    : "its exit status differs";
	if (!outcomes_equal(&comparison->expected, outcome, comparison->output_varies))
		return "its output differs";
	return NULL;
}

static const char *subject_name(const struct comparison *comparison)
{
	return comparison->subject.path ? comparison->subject.argv[0] : comparison->subject.server;
}

static void demand_answer(const struct comparison *comparison, const struct outcome *outcome)
{
	const char *base = comparison->contestants[0].allocator.name;

	if (interrupt_signal()) {
		end_progress();
		interrupt_end();
	}
	if (outcome->trouble)
		fail(EXIT_FAILED, "ab: %s under %s: %s", subject_name(comparison), base,
			outcome->trouble);
	if (WIFSIGNALED(outcome->status))
		fail(EXIT_FAILED, "ab: %s dies of signal %d under %s", subject_name(comparison),
			WTERMSIG(outcome->status), base);
}

/* Runs each allocator once, untimed, and sets aside those that do something else than the base. */
static void compare_outcomes(struct comparison *comparison)
{
	const struct allocator *base = &comparison->contestants[0].allocator;
	struct outcome outcome;

	show_progress("checking", base->name);
	run_once(&comparison->subject, base, &comparison->expected);
	demand_answer(comparison, &comparison->expected);
	run_once(&comparison->subject, base, &outcome);
	demand_answer(comparison, &outcome);
	comparison->output_varies = !outcomes_equal(&comparison->expected, &outcome, false);
	for (size_t i = 1; i < comparison->count; i++) {
		struct contestant *contestant = &comparison->contestants[i];

		show_progress("checking", contestant->allocator.name);
		run_once(&comparison->subject, &contestant->allocator, &outcome);
		contestant->trouble = trouble_of(comparison, &outcome);
		if (interrupt_signal())
			break;
	}
}

/* Indices 0 .. count - 1 in a random order. */
static void shuffle(size_t *order, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t other = (size_t)random() % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
}

/* Runs each allocator that is still in the race, in a random order. A wrong answer ends it there.
 */
static void run_round(struct comparison *comparison, size_t round, const char *step)
{
	size_t order[CONTESTANTS_MAX];

	shuffle(order, comparison->count);
	for (size_t i = 0; i < comparison->count; i++) {
		struct contestant *contestant = &comparison->contestants[order[i]];
		struct outcome outcome;

		if (contestant->trouble)
			continue;
		if (isatty(STDERR_FILENO))
			show_progress(step, contestant->allocator.name);
		contestant->runs[round] =
			run_once(&comparison->subject, &contestant->allocator, &outcome);
		if (interrupt_signal())
			return; // what it says of this run is of no worth
		if (order[i] == 0) {
			demand_answer(comparison, &outcome);
			comparison->output_varies |=
				!outcomes_equal(&comparison->expected, &outcome, false);
		}
		contestant->trouble = trouble_of(comparison, &outcome);
	}
	if (comparison->contestants[0].trouble)
		fail(EXIT_FAILED, "ab: %s under %s: %s in one of the runs and not in another",
			subject_name(comparison), comparison->contestants[0].allocator.name,
			comparison->contestants[0].trouble);
}

static void run_rounds(struct comparison *comparison)
{
	if (interrupt_signal())
		comparison->rounds = 0;
	for (size_t round = 0; round < comparison->rounds; round++) {
		char step[64];

		snprintf(step, sizeof(step), "round %zu of %zu", round + 1, comparison->rounds);
		if (!isatty(STDERR_FILENO))
			show_progress(step, "");
		run_round(comparison, round, step);
		if (interrupt_signal())
			comparison->rounds = round;
	}
	end_progress();
	if (comparison->rounds == 0)
		interrupt_end();
}

static size_t parse_rounds(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (*end || end == text || number < 1 || number > SAMPLES_MAX)
		fail(EXIT_USAGE, "ab: bad value '%s' of --runs (1 to %d); see gasket help ab", text,
			SAMPLES_MAX);
	return (size_t)number;
}

static void parse_comparing(struct subject *subject, const char *text)
{
	if (!*text)
		fail(EXIT_USAGE, "ab: --compare needs a value; see gasket help ab");
	subject->comparing = !strcmp(text, "stdout") ? COMPARE_STDOUT
			     : !strcmp(text, "none") ? COMPARE_NONE
						     : COMPARE_COMMAND;
	subject->filter = text;
}

/* Digits are a port, anything else is a path. */
static void parse_ready(struct subject *subject, const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!*text || (!*end && (number < 1 || number > PORT_MAX)))
		fail(EXIT_USAGE,
			"ab: bad value '%s' of --ready (a port or a path); see gasket help ab",
			text);
	subject->port = *end ? 0 : (unsigned)number;
	subject->ready = *end ? text : NULL;
}

/* The first word of the server's line is the program, as long as it is a plain one. */
static char *demand_server(const struct subject *subject)
{
	size_t length = strcspn(subject->server, " \t");
	char *name, *path = NULL;

	if (!subject->load || (!subject->ready && !subject->port))
		fail(EXIT_USAGE, "ab: --server needs --ready and --load; see gasket help ab");
	if (!length)
		fail(EXIT_USAGE, "ab: --server names no program; see gasket help ab");
	name = strndup(subject->server, length);
	if (!strpbrk(name, "\"'$`\\=(){};&|<>~*?"))
		path = program_demand_preloadable(name);
	free(name);
	server_demand_free(subject);
	return path;
}

/* The path of what runs under the allocators; NULL if it is not known. */
static const char *demand_subject(struct subject *subject, int argc, char **argv, int first)
{
	if (subject->server && first < argc)
		fail(EXIT_USAGE, "ab: a program or --server, not both; see gasket help ab");
	if (subject->server)
		return demand_server(subject);
	if (subject->load || subject->ready || subject->port)
		fail(EXIT_USAGE, "ab: --ready and --load need --server; see gasket help ab");
	if (first == argc)
		fail(EXIT_USAGE, "ab: no program; see gasket help ab");
	subject->argv = argv + first;
	subject->path = program_demand_preloadable(argv[first]);
	return subject->path;
}

int ab_command(int argc, char **argv)
{
	static struct comparison comparison = {.rounds = RUNS_DEFAULT};
	struct subject *subject = &comparison.subject;
	const char *allocators = NULL, *json = NULL, *html = NULL, *argument, *path;
	int letter, first = 1;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		switch (letter) {
		case 'n':
			comparison.rounds = parse_rounds(argument);
			break;
		case 'a':
			allocators = argument;
			break;
		case 'c':
			parse_comparing(subject, argument);
			break;
		case 's':
			subject->server = argument;
			break;
		case 'r':
			parse_ready(subject, argument);
			break;
		case 'l':
			subject->load = argument;
			break;
		case 'j':
			json = argument;
			break;
		case 'w':
			html = argument;
			break;
		}
	}
	path = demand_subject(subject, argc, argv, first);
	comparison_add_allocators(&comparison, allocators, path);
	if ((json && !output_is_possible(json)) || (html && !output_is_possible(html)))
		return EXIT_FAILED; // better known before the runs than after them
	runs_take_input();
	interrupt_expect();
	compare_outcomes(&comparison);
	run_rounds(&comparison);
	comparison_print(&comparison);
	if (json)
		comparison_write_json(&comparison, json);
	if (html)
		comparison_write_html(&comparison, html);
	interrupt_end();
	return 0;
}
