/*
 * A program run as a child of the command, which does not get in the way of its signals.
 */
#pragma once

#include <sys/types.h>

/*
 * Runs the program and waits for its end; returns what waitpid() tells. Terminal signals reach it by themselves, being sent to the whole process
 * group; others are passed on. *ret_pid is set before it runs.
 */
int child_run(const char *path, char **argv, pid_t *ret_pid);

/* Ends this process by the signal the child died of, without a second core file. */
void child_die_as(int signal) __attribute__((noreturn));
