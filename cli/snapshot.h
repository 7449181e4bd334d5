/*
 * Snapshots of live processes (core/gc/heap_file.h).
 */
#pragma once

#include <sys/types.h>

enum { SNAPSHOT_TIMEOUT_SECONDS = 60 };

/* Has the process make one, and returns the open file, which has no name any more. Else the end of `command` with one line. */
int snapshot_take(const char *command, pid_t pid, int seconds);
