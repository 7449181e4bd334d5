/*
 * What a comparison says on standard output and as JSON.
 */
#include "cli/ab.h"
#include "cli/command.h"
#include "cli/report_output.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

const struct metric_style metric_styles[METRIC_COUNT] = {
	[METRIC_WALL] = {"wall_seconds", "wall s", 1, 3},
	[METRIC_CPU] = {"cpu_seconds", "CPU s", 1, 3},
	[METRIC_PEAK] = {"peak_bytes", "peak MiB", 1 << 20, 1},
	[METRIC_MEAN] = {"mean_bytes", "mean MiB", 1 << 20, 1},
	[METRIC_FAULTS] = {"page_faults", "faults", 1, 0},
	[METRIC_SWITCHES] = {"context_switches", "switches", 1, 0},
};

struct summary comparison_summary(const struct comparison *comparison,
	const struct contestant *contestant, enum metric metric)
{
	double values[SAMPLES_MAX];

	for (size_t i = 0; i < comparison->rounds; i++)
		values[i] = contestant->runs[i].metric[metric];
	return summarize(values, comparison->rounds);
}

struct ratio comparison_ratio(const struct comparison *comparison,
	const struct contestant *contestant, enum metric metric)
{
	double values[SAMPLES_MAX], base[SAMPLES_MAX];

	for (size_t i = 0; i < comparison->rounds; i++) {
		values[i] = contestant->runs[i].metric[metric];
		base[i] = comparison->contestants[0].runs[i].metric[metric];
	}
	return ratio_of_pairs(values, base, comparison->rounds);
}

static void print_summary(struct summary summary, const struct metric_style *style)
{
	double percent = summary.median > 0 ? 100 * summary.spread / summary.median : 0;

	printf("  %9.*f ±%4.1f%%", style->digits, summary.median / style->scale, percent);
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
		printf("  %*s", width, metric_styles[metric].title);
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

void comparison_print(const struct comparison *comparison)
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
			print_summary(
				comparison_summary(comparison, contestant, (enum metric)metric),
				&metric_styles[metric]);
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
			print_ratio(comparison_ratio(comparison, contestant, (enum metric)metric));
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
		add_number(object, metric_styles[metric].name, run->metric[metric]);
	add_number(object, "user_seconds", run->user_seconds);
	add_number(object, "system_seconds", run->system_seconds);
	add_number(object, "major_faults", run->major_faults);
	add_number(object, "involuntary_switches", run->involuntary_switches);
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
		struct ratio ratio = comparison_ratio(comparison, contestant, (enum metric)metric);

		if (ratio.is_known)
			json_object_object_add(
				ratios, metric_styles[metric].name, json_of_ratio(&ratio));
	}
	json_object_object_add(object, "ratio_to_first", ratios);
	json_object_object_add(object, "runs", runs);
	return object;
}

void comparison_write_json(const struct comparison *comparison, const char *path)
{
	json_object *object = json_object_new_object(), *program = json_object_new_array(),
		    *contestants = json_object_new_array();
	struct output output;
	struct utsname machine;

	uname(&machine);
	for (char **word = comparison->subject.argv; word && *word; word++)
		json_object_array_add(program, json_object_new_string(*word));
	for (size_t i = 0; i < comparison->count; i++)
		json_object_array_add(
			contestants, json_of_contestant(comparison, &comparison->contestants[i]));
	json_object_object_add(object, "program", program);
	if (comparison->subject.server) {
		json_object_object_add(
			object, "server", json_object_new_string(comparison->subject.server));
		json_object_object_add(
			object, "load", json_object_new_string(comparison->subject.load));
	}
	json_object_object_add(object, "kernel", json_object_new_string(machine.release));
	json_object_object_add(object, "machine", json_object_new_string(machine.machine));
	json_object_object_add(
		object, "cpus", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_object_add(
		object, "output_varies", json_object_new_boolean(comparison->output_varies));
	json_object_object_add(object, "allocators", contestants);
	output_demand_open(&output, path, NULL, 0666);
	report_print_json(output.stream, object);
	output_demand_close(&output);
}
