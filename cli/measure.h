/*
 * What a program costs: a child is started, watched until it ends, and accounted for. Used by
 * `gasket ab` and by benchmarks/.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum metric {
	METRIC_WALL,     // seconds
	METRIC_CPU,      // seconds, user and system
	METRIC_PEAK,     // bytes: the highest resident memory of any one process
	METRIC_MEAN,     // bytes: resident memory of all its processes, over time; 0: not known
	METRIC_FAULTS,   // page faults, minor and major
	METRIC_SWITCHES, // context switches, voluntary and not
	METRIC_COUNT
};

/* What a run cost, and how it ended. */
struct run {
	double metric[METRIC_COUNT];
	double user_seconds;
	double system_seconds;
	double major_faults;
	double involuntary_switches;
	int status; // of wait
};

/* A child that is being watched. */
struct measurement {
	pid_t child;
	int fd; // of the child (pidfd), or -1: its memory is then not sampled
	double start;
	double last_sample; // seconds since start
	double byte_seconds;
};

/* Starts a child that calls become(data), which must not return. */
void measure_start(
	struct measurement *measurement, void (*become)(const void *data), const void *data);

/* Waits for `fd` to become readable (a pidfd: for the end of that process) and samples the child's
 * memory meanwhile; false when that took longer than `seconds`, if these are above 0. */
bool measure_while(struct measurement *measurement, int fd, double seconds);

/* Waits for the child's end. */
struct run measure_end(struct measurement *measurement);

/* A descriptor that becomes readable when the process ends; -1: the kernel has none. */
int process_fd(pid_t pid);

/* Seconds of a clock that only goes forward. */
double measure_clock(void);
