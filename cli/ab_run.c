/*
 * A run is a fork and exec of its own. CPU time, peak memory and faults are the kernel's for the
 * process and the children it waited for. The peak cannot be below that of this command (the kernel
 * counts what was there before exec), about 4 MiB.
 */
#include "cli/ab_run.h"

#include "cli/command.h"
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int input = -1;

static void copy_all(int from, int to)
{
	char buffer[65536];
	ssize_t bytes;

	while ((bytes = read(from, buffer, sizeof(buffer))) > 0) {
		if (write(to, buffer, (size_t)bytes) != bytes)
			fail(EXIT_FAILED, "ab: standard input cannot be kept: %s", strerror(errno));
	}
}

void runs_take_input(void)
{
	if (isatty(STDIN_FILENO)) {
		input = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return;
	}
	input = memfd_create("input", MFD_CLOEXEC);
	if (input < 0)
		fail(EXIT_FAILED, "ab: memfd_create: %s", strerror(errno));
	copy_all(STDIN_FILENO, input);
}

static void become(const struct allocator *allocator, const char *path, char **argv, int output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	lseek(input, 0, SEEK_SET);
	dup2(input, STDIN_FILENO);
	dup2(output >= 0 ? output : null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	unsetenv("GASKET_OPTIONS");
	launch_add_options(allocator->options);
	if (allocator->library)
		launch_preload(allocator->library);
	execv(path, argv);
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

static double seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct run run_to(
	const struct allocator *allocator, const char *path, char **argv, int output)
{
	struct run run = {0};
	struct rusage usage;
	double start = now();
	pid_t child = fork();

	if (child < 0)
		fail(EXIT_FAILED, "fork: %s", strerror(errno));
	if (child == 0)
		become(allocator, path, argv, output);
	while (wait4(child, &run.status, 0, &usage) < 0) {
		if (errno != EINTR)
			fail(EXIT_FAILED, "wait: %s", strerror(errno));
	}
	run.metric[METRIC_WALL] = now() - start;
	run.user_seconds = seconds(usage.ru_utime);
	run.system_seconds = seconds(usage.ru_stime);
	run.metric[METRIC_CPU] = run.user_seconds + run.system_seconds;
	run.metric[METRIC_PEAK] = (double)usage.ru_maxrss * 1024;
	run.metric[METRIC_FAULTS] = (double)usage.ru_minflt;
	run.major_faults = (double)usage.ru_majflt;
	return run;
}

struct run run_measured(const struct allocator *allocator, const char *path, char **argv)
{
	return run_to(allocator, path, argv, -1);
}

struct outcome run_for_outcome(const struct allocator *allocator, const char *path, char **argv)
{
	struct outcome outcome = {.hash = 0xcbf29ce484222325ull}; // FNV-1a
	int output = memfd_create("output", MFD_CLOEXEC);
	unsigned char buffer[65536];
	ssize_t bytes;

	if (output < 0)
		fail(EXIT_FAILED, "ab: memfd_create: %s", strerror(errno));
	outcome.status = run_to(allocator, path, argv, output).status;
	lseek(output, 0, SEEK_SET);
	while ((bytes = read(output, buffer, sizeof(buffer))) > 0) {
		outcome.bytes += (uint64_t)bytes;
		for (ssize_t i = 0; i < bytes; i++)
			outcome.hash = (outcome.hash ^ buffer[i]) * 0x100000001b3ull;
	}
	close(output);
	return outcome;
}
