/*
 * gasket ab: one program, several allocators, many runs. Runs are interleaved: each round runs
 * every allocator once, in a shuffled order, so that whatever else the machine does falls on all of
 * them, and ratios are taken within a round.
 */
#include "cli/ab_run.h"
#include "cli/ab_statistics.h"
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/option_table.h"
#include "cli/program.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_ALLOCATORS "glibc,jemalloc,gasket:fast,gasket:seal"

enum { RUNS_DEFAULT = 10, CONTESTANTS_MAX = 16 };

struct contestant {
	struct allocator allocator;
	const char *trouble; // why it is not timed; NULL: it is
	struct run *runs;
};

/* The whole comparison. Contestant 0 is the base of all ratios. */
struct comparison {
	struct contestant contestants[CONTESTANTS_MAX];
	size_t count;
	size_t rounds;
	const char *path;
	char **argv;
	bool output_varies; // it differs between two runs under the base itself
};

static const char *const metric_titles[METRIC_COUNT] = {
	"wall s", "CPU s", "peak MiB", "mean MiB", "faults", "switches"};
static const char *const metric_names[METRIC_COUNT] = {"wall_seconds", "cpu_seconds", "peak_bytes",
	"mean_bytes", "page_faults", "context_switches"};

static char *print_to_string(const char *format, const char *text)
{
	char *string;

	if (asprintf(&string, format, text) < 0)
		fail(EXIT_FAILED, "no memory");
	return string;
}

static char *find_jemalloc(void)
{
	static const char *const places[] = {
		"/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
		"/usr/lib/aarch64-linux-gnu/libjemalloc.so.2",
		"/usr/lib64/libjemalloc.so.2",
		"/usr/lib/libjemalloc.so.2",
		"/usr/local/lib/libjemalloc.so.2",
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!access(places[i], R_OK))
			return strdup(places[i]);
	}
	return NULL;
}

static void add_contestant(struct comparison *comparison, const char *word)
{
	struct contestant *contestant = &comparison->contestants[comparison->count];
	struct allocator *allocator = &contestant->allocator;

	if (comparison->count == CONTESTANTS_MAX)
		fail(EXIT_USAGE, "ab: more than %d allocators", CONTESTANTS_MAX);
	allocator->name = strdup(word);
	if (!strcmp(word, "jemalloc")) {
		allocator->library = find_jemalloc();
		if (!allocator->library) {
			warn_line("ab: jemalloc is left out: libjemalloc2 is not installed");
			return;
		}
	} else if (!strncmp(word, "gasket:", 7)) {
		allocator->library = strdup(launch_find_library());
		allocator->options = print_to_string("mode=%s", word + 7);
		options_demand_valid("ab", allocator->options);
	} else if (strchr(word, '/')) {
		allocator->library = realpath(word, NULL);
		if (!allocator->library)
			fail(EXIT_FAILED, "%s: not found", word);
	} else if (strcmp(word, "glibc") != 0) {
		fail(EXIT_USAGE, "ab: unknown allocator '%s'; see gasket help ab", word);
	}
	comparison->count++;
}

static void add_contestants(struct comparison *comparison, const char *list)
{
	char *copy = strdup(list), *rest = copy, *word;

	while ((word = strsep(&rest, ","))) {
		if (*word)
			add_contestant(comparison, word);
	}
	free(copy);
	if (comparison->count == 0)
		fail(EXIT_USAGE, "ab: no allocator");
	for (size_t i = 0; i < comparison->count; i++) {
		comparison->contestants[i].runs = calloc(comparison->rounds, sizeof(struct run));
		if (!comparison->contestants[i].runs)
			fail(EXIT_FAILED, "no memory");
	}
}

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

/* Runs each allocator once, untimed, and sets aside those that do something else than the base. */
static void compare_outcomes(struct comparison *comparison)
{
	const struct contestant *base = &comparison->contestants[0];
	struct outcome expected, outcome;

	show_progress("checking", base->allocator.name);
	expected = run_for_outcome(&base->allocator, comparison->path, comparison->argv);
	if (WIFSIGNALED(expected.status))
		fail(EXIT_FAILED, "ab: %s dies of signal %d under %s", comparison->argv[0],
			WTERMSIG(expected.status), base->allocator.name);
	outcome = run_for_outcome(&base->allocator, comparison->path, comparison->argv);
	comparison->output_varies = !outcomes_equal(&expected, &outcome, false);
	for (size_t i = 1; i < comparison->count; i++) {
		struct contestant *contestant = &comparison->contestants[i];

		show_progress("checking", contestant->allocator.name);
		outcome =
			run_for_outcome(&contestant->allocator, comparison->path, comparison->argv);
		if (!outcomes_equal(&expected, &outcome, true))
			contestant->trouble = WIFSIGNALED(outcome.status)
						      ? "it dies of a signal"
						      : "its exit status differs";
		else if (!outcomes_equal(&expected, &outcome, comparison->output_varies))
			contestant->trouble = "its output differs";
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

static void run_rounds(struct comparison *comparison)
{
	size_t order[CONTESTANTS_MAX];

	for (size_t round = 0; round < comparison->rounds; round++) {
		char step[64];

		snprintf(step, sizeof(step), "round %zu of %zu", round + 1, comparison->rounds);
		if (!isatty(STDERR_FILENO))
			show_progress(step, "");
		shuffle(order, comparison->count);
		for (size_t i = 0; i < comparison->count; i++) {
			struct contestant *contestant = &comparison->contestants[order[i]];

			if (contestant->trouble)
				continue;
			if (isatty(STDERR_FILENO))
				show_progress(step, contestant->allocator.name);
			contestant->runs[round] = run_measured(
				&contestant->allocator, comparison->path, comparison->argv);
			if (WIFSIGNALED(contestant->runs[round].status))
				contestant->trouble = "it died of a signal in one of the runs";
		}
	}
	end_progress();
}

static struct summary summary_of(const struct comparison *comparison,
	const struct contestant *contestant, enum metric metric)
{
	double values[SAMPLES_MAX];

	for (size_t i = 0; i < comparison->rounds; i++)
		values[i] = contestant->runs[i].metric[metric];
	return summarize(values, comparison->rounds);
}

static struct ratio ratio_to_base(const struct comparison *comparison,
	const struct contestant *contestant, enum metric metric)
{
	double values[SAMPLES_MAX], base[SAMPLES_MAX];

	for (size_t i = 0; i < comparison->rounds; i++) {
		values[i] = contestant->runs[i].metric[metric];
		base[i] = comparison->contestants[0].runs[i].metric[metric];
	}
	return ratio_of_pairs(values, base, comparison->rounds);
}

static void print_summary(struct summary summary, enum metric metric)
{
	bool is_memory = metric == METRIC_PEAK || metric == METRIC_MEAN;
	bool is_count = metric == METRIC_FAULTS || metric == METRIC_SWITCHES;
	double scale = is_memory ? 1 << 20 : 1;
	double percent = summary.median > 0 ? 100 * summary.spread / summary.median : 0;
	int digits = is_count ? 0 : is_memory ? 1 : 3;

	printf("  %9.*f ±%4.1f%%", digits, summary.median / scale, percent);
}

static void print_ratio(struct ratio ratio)
{
	if (!ratio.is_known)
		printf("  %21s", "-");
	else if (ratio.has_interval)
		printf("  %5.3f [%5.3f, %5.3f]", ratio.estimate, ratio.low, ratio.high);
	else
		printf("  %21.3f", ratio.estimate);
}

static void print_titles(const char *first, int name_width, int width)
{
	printf("%-*s", name_width, first);
	for (int metric = 0; metric < METRIC_COUNT; metric++)
		printf("  %*s", width, metric_titles[metric]);
	printf("\n");
}

static int name_width_of(const struct comparison *comparison)
{
	size_t width = 16;

	for (size_t i = 0; i < comparison->count; i++) {
		if (strlen(comparison->contestants[i].allocator.name) > width)
			width = strlen(comparison->contestants[i].allocator.name);
	}
	return (int)width;
}

static void print_tables(const struct comparison *comparison)
{
	const char *base = comparison->contestants[0].allocator.name;
	int width = name_width_of(comparison);

	print_titles("median ± spread", width + 1, 16); // ± is two bytes
	for (size_t i = 0; i < comparison->count; i++) {
		const struct contestant *contestant = &comparison->contestants[i];

		printf("%-*s", width, contestant->allocator.name);
		if (contestant->trouble)
			printf("  not timed: %s", contestant->trouble);
		for (int metric = 0; !contestant->trouble && metric < METRIC_COUNT; metric++)
			print_summary(summary_of(comparison, contestant, (enum metric)metric),
				(enum metric)metric);
		printf("\n");
	}
	printf("\n");
	print_titles("ratio [95 %]", width, 21);
	for (size_t i = 1; i < comparison->count; i++) {
		const struct contestant *contestant = &comparison->contestants[i];

		if (contestant->trouble)
			continue;
		printf("%-*s", width, contestant->allocator.name);
		for (int metric = 0; metric < METRIC_COUNT; metric++)
			print_ratio(ratio_to_base(comparison, contestant, (enum metric)metric));
		printf("\n");
	}
	printf("\n%zu interleaved runs each; spread is half the distance of the quartiles; ratios to %s, below 1 is less.\n",
		comparison->rounds, base);
	if (comparison->rounds < SAMPLES_FOR_INTERVAL)
		printf("An interval needs %d runs.\n", SAMPLES_FOR_INTERVAL);
	if (comparison->output_varies)
		printf("The output varies from run to run under %s itself: only exit statuses were compared.\n",
			base);
}

static void add_number(json_object *object, const char *name, double number)
{
	json_object_object_add(object, name, json_object_new_double(number));
}

static json_object *json_of_run(const struct run *run)
{
	json_object *object = json_object_new_object();

	for (int metric = 0; metric < METRIC_COUNT; metric++)
		add_number(object, metric_names[metric], run->metric[metric]);
	add_number(object, "user_seconds", run->user_seconds);
	add_number(object, "system_seconds", run->system_seconds);
	add_number(object, "major_faults", run->major_faults);
	json_object_object_add(object, "status", json_object_new_int(WEXITSTATUS(run->status)));
	return object;
}

static json_object *json_of_ratio(const struct ratio *ratio)
{
	json_object *object = json_object_new_object();

	add_number(object, "estimate", ratio->estimate);
	if (ratio->has_interval) {
		add_number(object, "low", ratio->low);
		add_number(object, "high", ratio->high);
	}
	return object;
}

static json_object *json_of_contestant(
	const struct comparison *comparison, const struct contestant *contestant)
{
	json_object *object = json_object_new_object(), *runs = json_object_new_array(),
		    *ratios = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(contestant->allocator.name));
	json_object_object_add(object, "not_timed",
		contestant->trouble ? json_object_new_string(contestant->trouble) : NULL);
	for (size_t i = 0; !contestant->trouble && i < comparison->rounds; i++)
		json_object_array_add(runs, json_of_run(&contestant->runs[i]));
	for (int metric = 0; !contestant->trouble && metric < METRIC_COUNT; metric++) {
		struct ratio ratio = ratio_to_base(comparison, contestant, (enum metric)metric);

		if (ratio.is_known)
			json_object_object_add(ratios, metric_names[metric], json_of_ratio(&ratio));
	}
	json_object_object_add(object, "ratio_to_first", ratios);
	json_object_object_add(object, "runs", runs);
	return object;
}

static void write_json(const struct comparison *comparison, const char *path)
{
	json_object *object = json_object_new_object(), *program = json_object_new_array(),
		    *contestants = json_object_new_array();
	struct utsname machine;

	uname(&machine);
	for (char **word = comparison->argv; *word; word++)
		json_object_array_add(program, json_object_new_string(*word));
	for (size_t i = 0; i < comparison->count; i++)
		json_object_array_add(
			contestants, json_of_contestant(comparison, &comparison->contestants[i]));
	json_object_object_add(object, "program", program);
	json_object_object_add(object, "kernel", json_object_new_string(machine.release));
	json_object_object_add(object, "machine", json_object_new_string(machine.machine));
	json_object_object_add(
		object, "cpus", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_object_add(
		object, "output_varies", json_object_new_boolean(comparison->output_varies));
	json_object_object_add(object, "allocators", contestants);
	if (json_object_to_file_ext(
		    path, object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE))
		fail(EXIT_FAILED, "ab: %s: %s", path, strerror(errno));
	json_object_put(object);
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

int ab_command(int argc, char **argv)
{
	static struct comparison comparison = {.rounds = RUNS_DEFAULT};
	const char *allocators = DEFAULT_ALLOCATORS, *json_path = NULL, *argument;
	int letter, first = 1;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 'n')
			comparison.rounds = parse_rounds(argument);
		else if (letter == 'a')
			allocators = argument;
		else
			json_path = argument;
	}
	if (first == argc)
		fail(EXIT_USAGE, "ab: no program; see gasket help ab");
	comparison.argv = argv + first;
	comparison.path = program_demand_preloadable(argv[first]);
	add_contestants(&comparison, allocators);
	runs_take_input();
	compare_outcomes(&comparison);
	run_rounds(&comparison);
	if (comparison.contestants[0].trouble)
		fail(EXIT_FAILED, "ab: %s under %s: %s", argv[first],
			comparison.contestants[0].allocator.name,
			comparison.contestants[0].trouble);
	print_tables(&comparison);
	if (json_path)
		write_json(&comparison, json_path);
	return 0;
}
