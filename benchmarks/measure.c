/*
 * measure FILE PROGRAM [ARGUMENT...]: runs a program and writes one line of key=value words to
 * FILE: what it cost (see cli/measure.h) and how it ended. The environment is the program's, so
 * what is preloaded must be named behind `env`; this process stays small, for its own peak is the
 * least the kernel reports.
 */
#include "cli/measure.h"

#include "cli/command.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void fail(int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("measure: ", stderr);
	vfprintf(stderr, format, arguments);
	putc('\n', stderr);
	va_end(arguments);
	exit(status);
}

static void become(const void *data)
{
	char *const *argv = data;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(argv[0], argv);
	fail(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "%s: %s", argv[0],
		strerror(errno));
}

int main(int argc, char **argv)
{
	struct measurement measurement;
	struct run run;
	FILE *file;

	if (argc < 3)
		fail(EXIT_USAGE, "usage: measure FILE PROGRAM [ARGUMENT...]");
	measure_start(&measurement, become, argv + 2);
	run = measure_end(&measurement);
	file = fopen(argv[1], "we");
	if (!file)
		fail(EXIT_FAILED, "%s: %s", argv[1], strerror(errno));
	fprintf(file, "%s=%d wall=%.6f user=%.6f sys=%.6f peak_kib=%.0f mean_kib=%.0f",
		WIFSIGNALED(run.status) ? "signal" : "exit",
		WIFSIGNALED(run.status) ? WTERMSIG(run.status) : WEXITSTATUS(run.status),
		run.metric[METRIC_WALL], run.user_seconds, run.system_seconds,
		run.metric[METRIC_PEAK] / 1024, run.metric[METRIC_MEAN] / 1024);
	fprintf(file, " minor_faults=%.0f major_faults=%.0f voluntary=%.0f involuntary=%.0f\n",
		run.metric[METRIC_FAULTS] - run.major_faults, run.major_faults,
		run.metric[METRIC_SWITCHES] - run.involuntary_switches, run.involuntary_switches);
	return fclose(file) ? EXIT_FAILED : 0;
}
