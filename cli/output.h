/*
 * Where a command writes: its own stream, or a file. A file appears whole or not at all: it is written beside its name and renamed when everything is on it. What is no
 * regular file (a device, a pipe, a link) is written to as it is: never replaced.
 *
 * One thread; a file that is not closed by output_close() leaves NAME.PID.tmp behind.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct output {
	FILE *stream;     // to write to
	const char *path; // NULL: a stream of the caller's
	char *beside;     // where the file grows; NULL: under its own name
	bool failed;      // for a reason outside of the stream; errno tells it
};

/* Opens `path`, or takes `stream` if that is NULL. A new file gets `mode` less the umask. False: there was one line about it. */
bool output_open(struct output *output, const char *path, FILE *stream, mode_t mode);

/* Everything is written, or there was one line about it and false comes back; a file of that name is then what it was. */
bool output_close(struct output *output);

/* Copies the rest of a file. False: there was one line about it, and a file of that name is what it was. */
bool output_copy(int from, const char *path, mode_t mode);

/* Nothing is known that would keep output_open() from the path; else there was one line. For what takes long before there is anything to write. */
bool output_is_possible(const char *path);

/* Both, for commands that have nothing else to do: they end with EXIT_FAILED. */
void output_demand_open(struct output *output, const char *path, FILE *stream, mode_t mode);
void output_demand_close(struct output *output);
