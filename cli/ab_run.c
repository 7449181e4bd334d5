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
#include <sys/wait.h>
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

void run_prepare(const struct allocator *allocator, int output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	lseek(input, 0, SEEK_SET);
	dup2(input, STDIN_FILENO);
	dup2(output >= 0 ? output : null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	if (!allocator)
		return;
	unsetenv("GASKET_OPTIONS");
	launch_add_options(allocator->options);
	if (allocator->library)
		launch_preload(allocator->library);
}

/* What a child becomes. */
struct start {
	const struct subject *subject;
	const struct allocator *allocator;
	int output; // -1: /dev/null
};

static void become_program(const void *data)
{
	const struct start *start = data;

	run_prepare(start->allocator, start->output);
	execv(start->subject->path, start->subject->argv);
	_exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

static int make_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		fail(EXIT_FAILED, "ab: memfd_create: %s", strerror(errno));
	return fd;
}

/* Gives the output to the command; returns what that prints. */
static int filtered(const char *command, int output, struct outcome *outcome)
{
	int result = make_file("filtered"), status;
	pid_t child = fork();

	if (child < 0)
		fail(EXIT_FAILED, "fork: %s", strerror(errno));
	if (child == 0) {
		lseek(output, 0, SEEK_SET);
		dup2(output, STDIN_FILENO);
		dup2(result, STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(EXIT_NOT_FOUND);
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			fail(EXIT_FAILED, "wait: %s", strerror(errno));
	}
	if (status)
		outcome->trouble = "the command of --compare rejects its output";
	return result;
}

/* FNV-1a of a file. */
static void hash_file(int fd, struct outcome *outcome)
{
	unsigned char buffer[65536];
	ssize_t bytes;

	outcome->hash = 0xcbf29ce484222325ull;
	lseek(fd, 0, SEEK_SET);
	while ((bytes = read(fd, buffer, sizeof(buffer))) > 0) {
		outcome->bytes += (uint64_t)bytes;
		for (ssize_t i = 0; i < bytes; i++)
			outcome->hash = (outcome->hash ^ buffer[i]) * 0x100000001b3ull;
	}
}

struct run run_once(const struct subject *subject, const struct allocator *allocator,
	struct outcome *ret_outcome)
{
	int output = subject->comparing == COMPARE_NONE ? -1 : make_file("output"), shown;
	struct start start = {subject, allocator, output};
	struct measurement measurement;
	struct run run;

	*ret_outcome = (struct outcome){0};
	if (subject->path) {
		measure_start(&measurement, become_program, &start);
		run = measure_end(&measurement);
		ret_outcome->status = run.status;
	} else {
		run = run_server(subject, allocator, output, ret_outcome);
	}
	if (output < 0)
		return run;
	if (subject->comparing == COMPARE_COMMAND && !ret_outcome->trouble) {
		shown = filtered(subject->filter, output, ret_outcome);
		hash_file(shown, ret_outcome);
		close(shown);
	} else {
		hash_file(output, ret_outcome);
	}
	close(output);
	return run;
}
