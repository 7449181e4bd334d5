#include "tests/policy/child.h"

#include "tests/harness/test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void read_into(char *text, size_t capacity, int fd)
{
	ssize_t got = fd >= 0 ? pread(fd, text, capacity - 1, 0) : 0;

	text[got > 0 ? got : 0] = 0;
}

static void become(const char *role, const char *options, const char *figures, int error,
	void (*prepare)(void))
{
	char program[PATH_MAX] = "", all_options[PATH_MAX];
	char *arguments[] = {program, "--run", "play_a_role", 0};

	CHECK_GT(readlink("/proc/self/exe", program, sizeof(program) - 1), 0);
	snprintf(all_options, sizeof(all_options), "%s%sstats_file=%s", options,
		*options ? ":" : "", figures);
	setenv("GASKET_OPTIONS", all_options, 1);
	setenv("POLICY_ROLE", role, 1);
	dup2(error, STDERR_FILENO);
	if (prepare)
		prepare();
	execv(program, arguments);
	_exit(127);
}

struct outcome play(const char *role, const char *options, void (*prepare)(void))
{
	struct outcome outcome = {0};
	struct rusage usage;
	char path[64];
	int error = memfd_create("stderr", 0), figures;
	pid_t child;

	snprintf(path, sizeof(path), "/tmp/gasket-policy-%d-%s", (int)getpid(), role);
	unlink(path);
	child = fork();
	CHECK_GE(child, 0);
	if (child == 0)
		become(role, options, path, error, prepare);
	CHECK_EQ(wait4(child, &outcome.status, 0, &usage), child);
	outcome.peak_kib = usage.ru_maxrss;
	figures = open(path, O_RDONLY);
	read_into(outcome.error, sizeof(outcome.error), error);
	read_into(outcome.figures, sizeof(outcome.figures), figures);
	unlink(path);
	close(error);
	close(figures);
	if (WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == TEST_SKIPPED)
		test_skip(outcome.error + strlen("skipped: "));
	CHECK_MSG(outcome.status == 0, "%s under %s: status %#x, standard error: %s", role, options,
		(unsigned)outcome.status, outcome.error);
	dprintf(STDOUT_FILENO, "%s under '%s': peak %ld MiB\n", role, options,
		outcome.peak_kib >> 10);
	return outcome;
}

static uint64_t find_figure(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line && *line;
		line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (strncmp(line, name, length) == 0 && line[length] == '=')
			return strtoull(line + length + 1, 0, 10);
	}
	test_fail(__FILE__, __LINE__, "no figure %s in: %s", name, text);
}

uint64_t figure(const struct outcome *outcome, const char *name)
{
	return find_figure(outcome->figures, name);
}

void tell_figure(const char *name, uint64_t value)
{
	dprintf(STDERR_FILENO, "%s=%llu\n", name, (unsigned long long)value);
}

uint64_t told_figure(const struct outcome *outcome, const char *name)
{
	return find_figure(outcome->error, name);
}

unsigned occurrences(const struct outcome *outcome, const char *text)
{
	unsigned count = 0;

	for (const char *at = outcome->error; (at = strstr(at, text)); at += strlen(text))
		count++;
	return count;
}

long resident_kib(void)
{
	long size = 0, resident = 0;
	char text[128] = "";
	int fd = open("/proc/self/statm", O_RDONLY);

	read_into(text, sizeof(text), fd);
	close(fd);
	CHECK_EQ(sscanf(text, "%ld %ld", &size, &resident), 2);
	return resident * 4;
}

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
