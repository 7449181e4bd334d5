/*
 * Running a program and passing signals on.
 */
#include "cli/child.h"

#include "cli/command.h"
#include "cli/launch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t child;

enum { HANDLED_SIGNALS = 7 };

static struct sigaction inherited[HANDLED_SIGNALS]; // what the program gets

static void pass_on(int signal)
{
	if (child > 0)
		kill(child, signal);
}

static const struct {
	int signal;
	void (*handler)(int);
} handled[HANDLED_SIGNALS] = {
	{SIGINT, SIG_IGN},
	{SIGQUIT, SIG_IGN},
	{SIGTERM, pass_on},
	{SIGHUP, pass_on},
	{SIGUSR1, pass_on},
	{SIGUSR2, pass_on},
	{SIGALRM, pass_on},
};

/* Leaves the handled signals blocked, until it is known to whom they go; *ret_mask is the mask
 * before. */
static void handle_signals(sigset_t *ret_mask)
{
	sigset_t set;

	sigemptyset(&set);
	for (int i = 0; i < HANDLED_SIGNALS; i++)
		sigaddset(&set, handled[i].signal);
	sigprocmask(SIG_BLOCK, &set, ret_mask);
	for (int i = 0; i < HANDLED_SIGNALS; i++) {
		struct sigaction action = {
			.sa_handler = handled[i].handler, .sa_flags = SA_RESTART};

		sigaction(handled[i].signal, &action, &inherited[i]);
	}
}

static void restore_signals(const sigset_t *mask)
{
	for (int i = 0; i < HANDLED_SIGNALS; i++)
		sigaction(handled[i].signal, &inherited[i], NULL);
	sigprocmask(SIG_SETMASK, mask, NULL);
}

static void signal_default(int signal)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	sigaction(signal, &action, NULL);
}

void child_die_as(int signal)
{
	struct rlimit none = {0, 0};
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none);
	sigemptyset(&set);
	sigaddset(&set, signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal_default(signal);
	raise(signal);
	exit(128 + signal);
}

int child_run(const char *path, char **argv, pid_t *ret_pid)
{
	sigset_t mask;
	int status = 0;

	handle_signals(&mask);
	child = fork();
	if (child < 0)
		fail(EXIT_FAILED, "fork: %s", strerror(errno));
	if (child == 0) {
		restore_signals(&mask);
		launch_exec(path, argv);
	}
	*ret_pid = child;
	sigprocmask(SIG_SETMASK, &mask, NULL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	child = 0;
	return status;
}
