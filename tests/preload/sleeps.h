/*
 * How a test sees that a thread was woken although nobody calls it.
 */
#pragma once

#include "tests/harness/test.h"

#include <stdio.h>
#include <sys/types.h>

/* How often the thread gave up its processor: once for each time it was woken. */
static inline long count_sleeps(pid_t task)
{
	char path[64], line[256];
	long count = -1;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", task);
	status = fopen(path, "r");
	CHECK_NOT_NULL(status);
	while (fgets(line, sizeof(line), status))
		sscanf(line, "voluntary_ctxt_switches: %ld", &count);
	fclose(status);
	return count;
}
