/*
 * workload NAME [--threads N] [--scale X] [--wait SECONDS] [--seconds N], or workload --list: runs
 * one of the workloads of workload.def and prints one line of key=value words. Status 1: a block was
 * damaged or there was no memory; 2: asked wrongly.
 *
 * ns_per_op is the elapsed time divided by all operations of all threads.
 * peak_kib is the kernel's high-water mark of this process since exec. With --seconds it runs for so
 * long and prints the operations of each second instead (0 for workloads that do not count them:
 * those that do are random-*, larson, server, cache and writes).
 */
#include "benchmarks/workloads/workload.h"

#include <stdio.h>
#include <string.h>

struct workload {
	const char *name;
	void (*run)(struct run *run);
	double operations;
	unsigned threads_min; // 0: one thread, always
	const char *help;
};

static const struct workload workloads[] = {
#define WORKLOAD(name, function, operations, threads, help) \
	{name, function, operations, threads, help},
#include "benchmarks/workloads/workload.def"
#undef WORKLOAD
	{0},
};

static void usage(void) __attribute__((noreturn));

static void usage(void)
{
	fputs("usage: workload NAME [--threads N] [--scale X] [--wait SECONDS] [--seconds N] | workload --list\n",
		stderr);
	exit(2);
}

static const struct workload *find(const char *name)
{
	for (const struct workload *workload = workloads; workload->name; workload++) {
		if (!strcmp(workload->name, name))
			return workload;
	}
	usage();
}

static int list(void)
{
	for (const struct workload *workload = workloads; workload->name; workload++)
		printf("%s\t%u\t%s\n", workload->name, workload->threads_min, workload->help);
	return 0;
}

static double number(const char *text, double low, double high)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || !(value >= low && value <= high))
		usage();
	return value;
}

static void parse(int argc, char **argv, struct run *run)
{
	for (int i = 2; i < argc; i += 2) {
		if (i + 1 == argc)
			usage();
		if (!strcmp(argv[i], "--threads"))
			run->threads = (unsigned)number(argv[i + 1], 1, THREADS_MAX);
		else if (!strcmp(argv[i], "--scale"))
			run->scale = number(argv[i + 1], 1e-6, 1e3);
		else if (!strcmp(argv[i], "--wait"))
			run->wait_seconds = number(argv[i + 1], 0, 3600);
		else if (!strcmp(argv[i], "--seconds"))
			run->for_seconds = number(argv[i + 1], 1, 1e6);
		else
			usage();
	}
}

int main(int argc, char **argv)
{
	static struct run run = {.threads = 1, .scale = 1, .wait_seconds = 10};
	const struct workload *workload;
	double start = clock_seconds();

	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	if (argc < 2)
		usage();
	workload = find(argv[1]);
	parse(argc, argv, &run);
	if (workload->threads_min == 0)
		run.threads = 1;
	else if (run.threads < workload->threads_min)
		run.threads = workload->threads_min;
	run.operations = (uint64_t)(workload->operations * run.scale);
	if (run.operations < run.threads)
		run.operations = run.threads;
	if (run.for_seconds > 0) {
		run.operations = UINT64_MAX / 2;
		ticks_start((unsigned)run.for_seconds);
	}
	mixes_make();
	workload->run(&run);
	if (run.seconds <= 0)
		run.seconds = clock_seconds() - start;
	printf("workload=%s threads=%u operations=%lu checksum=%016lx ns_per_op=%.2f peak_kib=%lu%s\n",
		workload->name, run.threads, (unsigned long)run.operations,
		(unsigned long)run.checksum, run.seconds * 1e9 / (double)run.operations,
		(unsigned long)proc_kib("status", "VmHWM"), run.notes);
	return 0;
}
