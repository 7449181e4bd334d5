/*
 * A run is a fork and exec of its own, in the environment of its allocator.
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

/* What a child becomes. */
struct start {
	const struct allocator *allocator;
	const char *path;
	char **argv;
	int output; // -1: /dev/null
};

static void become(const void *data)
{
	const struct start *start = data;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	lseek(input, 0, SEEK_SET);
	dup2(input, STDIN_FILENO);
	dup2(start->output >= 0 ? start->output : null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	unsetenv("GASKET_OPTIONS");
	launch_add_options(start->allocator->options);
	if (start->allocator->library)
		launch_preload(start->allocator->library);
	execv(start->path, start->argv);
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

static struct run run_to(
	const struct allocator *allocator, const char *path, char **argv, int output)
{
	struct start start = {allocator, path, argv, output};
	struct measurement measurement;

	measure_start(&measurement, become, &start);
	return measure_end(&measurement);
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
