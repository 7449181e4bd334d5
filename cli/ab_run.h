/*
 * One run of a program under one allocator, measured.
 */
#pragma once

#include "cli/measure.h"

#include <stdint.h>

struct allocator {
	char *name;
	char *library; // preloaded; NULL: libc's own malloc
	char *options; // GASKET_OPTIONS, or NULL
};

/* What a run printed and how it ended, for comparison. */
struct outcome {
	int status;
	uint64_t bytes;
	uint64_t hash;
};

/* Keeps standard input for every run: a terminal is replaced by /dev/null, anything else is read
 * once, now. */
void runs_take_input(void);

struct run run_measured(const struct allocator *allocator, const char *path, char **argv);
struct outcome run_for_outcome(const struct allocator *allocator, const char *path, char **argv);
