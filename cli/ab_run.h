/*
 * One run of what is compared, under one allocator: a program that ends by itself, or a server with
 * a load that is sent to it.
 */
#pragma once

#include "cli/measure.h"

#include <stdbool.h>
#include <stdint.h>

struct allocator {
	char *name;
	char *library; // preloaded; NULL: libc's own malloc
	char *options; // GASKET_OPTIONS, or NULL
};

enum comparing {
	COMPARE_STDOUT,
	COMPARE_NONE,    // how it ends only
	COMPARE_COMMAND, // what a command makes of its output, and whether that command is content
};

/* What is run, and how its answer is taken. */
struct subject {
	const char *path; // of the program; NULL: there is a server
	char **argv;
	const char *server; // a line for the shell, as are load and filter
	const char *ready;  // a path; NULL: the port
	unsigned port;      // of 127.0.0.1
	const char *load;
	enum comparing comparing;
	const char *filter;
};

/* What a run said and how it ended, for comparison. */
struct outcome {
	int status;          // of the program or the load
	const char *trouble; // why there is no answer; NULL: there is one
	uint64_t bytes;
	uint64_t hash;
};

/* Keeps standard input for every run: a terminal is replaced by /dev/null, anything else is read
 * once, now. */
void runs_take_input(void);

struct run run_once(const struct subject *subject, const struct allocator *allocator,
	struct outcome *ret_outcome);

/* For a child that is about to exec: standard input as kept, output (-1: thrown away), no errors,
 * and the allocator's environment (NULL: as we were started ourselves). */
void run_prepare(const struct allocator *allocator, int output);

/* Starts the server, runs the load and stops the server. Wall time is the load's, all else the
 * server's. What the load prints goes to `output`. (ab_server.c) */
struct run run_server(const struct subject *subject, const struct allocator *allocator, int output,
	struct outcome *ret_outcome);

/* Ends the process with one line if the server could not be told from something that is already
 * there. */
void server_demand_free(const struct subject *subject);
