/*
 * CPU time, peak memory, faults and switches are the kernel's for the child and the children it
 * waited for. The peak cannot be below that of this process (the kernel counts what was there
 * before exec). Mean memory is sampled: resident pages of the child and its descendants, every
 * millisecond at first, every ten later on; it costs the machine less than a thousandth of a CPU.
 */
#include "cli/measure.h"

#include "cli/command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 16 };

static const double INTERVAL_MIN = 0.001, INTERVAL_MAX = 0.01, INTERVAL_SHARE = 0.02;

double measure_clock(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int process_fd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static ssize_t read_text(const char *path, char *text, size_t capacity)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, capacity - 1);

	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = 0;
	return length;
}

static double resident_bytes(long pid)
{
	char path[64], text[128];
	unsigned long pages = 0;

	snprintf(path, sizeof(path), "/proc/%ld/statm", pid);
	read_text(path, text, sizeof(text));
	return sscanf(text, "%*u %lu", &pages) == 1 ? (double)pages * (double)getpagesize() : 0;
}

static double tree_resident_bytes(long pid, int depth);

/* Of the children one thread has made. */
static double children_resident_bytes(long pid, const char *thread, int depth)
{
	char path[320], text[4096], *rest = text, *word;
	double bytes = 0;

	snprintf(path, sizeof(path), "/proc/%ld/task/%s/children", pid, thread);
	read_text(path, text, sizeof(text));
	while ((word = strsep(&rest, " "))) {
		if (*word)
			bytes += tree_resident_bytes(atol(word), depth + 1);
	}
	return bytes;
}

static double tree_resident_bytes(long pid, int depth)
{
	double bytes = resident_bytes(pid);
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%ld/task", pid);
	tasks = depth < DEPTH_MAX ? opendir(path) : NULL;
	while (tasks && (entry = readdir(tasks))) {
		if (entry->d_name[0] != '.')
			bytes += children_resident_bytes(pid, entry->d_name, depth);
	}
	if (tasks)
		closedir(tasks);
	return bytes;
}

/* The child has had what it has now since the last sample. */
static void take_sample(struct measurement *measurement)
{
	double bytes = tree_resident_bytes(measurement->child, 0);
	double now = measure_clock() - measurement->start;

	if (bytes <= 0)
		return;
	measurement->byte_seconds += bytes * (now - measurement->last_sample);
	measurement->last_sample = now;
}

void measure_start(
	struct measurement *measurement, void (*become)(const void *data), const void *data)
{
	*measurement = (struct measurement){.start = measure_clock()};
	measurement->child = fork();
	if (measurement->child < 0)
		fail(EXIT_FAILED, "fork: %s", strerror(errno));
	if (measurement->child == 0) {
		become(data);
		_exit(EXIT_CANNOT_RUN);
	}
	measurement->fd = process_fd(measurement->child);
}

bool measure_while(struct measurement *measurement, int fd, double seconds)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	double start = measure_clock();

	for (;;) {
		double now = measure_clock(),
		       interval = (now - measurement->start) * INTERVAL_SHARE;
		int ready;

		if (interval < INTERVAL_MIN)
			interval = INTERVAL_MIN;
		if (interval > INTERVAL_MAX)
			interval = INTERVAL_MAX;
		ready = poll(&wait, 1, (int)(interval * 1000));
		if (ready > 0)
			return true;
		if (ready < 0 && errno != EINTR)
			fail(EXIT_FAILED, "poll: %s", strerror(errno));
		take_sample(measurement);
		if (seconds > 0 && now - start > seconds)
			return false;
	}
}

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

struct run measure_end(struct measurement *measurement)
{
	struct run run = {0};
	struct rusage usage;

	if (measurement->fd >= 0)
		measure_while(measurement, measurement->fd, 0);
	while (wait4(measurement->child, &run.status, 0, &usage) < 0) {
		if (errno != EINTR)
			fail(EXIT_FAILED, "wait: %s", strerror(errno));
	}
	run.metric[METRIC_WALL] = measure_clock() - measurement->start;
	run.user_seconds = seconds_of(usage.ru_utime);
	run.system_seconds = seconds_of(usage.ru_stime);
	run.metric[METRIC_CPU] = run.user_seconds + run.system_seconds;
	run.metric[METRIC_PEAK] = (double)usage.ru_maxrss * 1024;
	if (measurement->last_sample > 0)
		run.metric[METRIC_MEAN] = measurement->byte_seconds / measurement->last_sample;
	run.major_faults = (double)usage.ru_majflt;
	run.metric[METRIC_FAULTS] = (double)usage.ru_minflt + run.major_faults;
	run.involuntary_switches = (double)usage.ru_nivcsw;
	run.metric[METRIC_SWITCHES] = (double)usage.ru_nvcsw + run.involuntary_switches;
	if (measurement->fd >= 0)
		close(measurement->fd);
	return run;
}
