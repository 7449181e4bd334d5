/*
 * gasket leaks: runs the program as a child with leak checking on, waits, and turns what its
 * processes found into a status.
 *
 * Each process writes its figures and its report to files of its own in a private directory (options
 * stats_file and report); the figures tell whether leaks were looked for, and found. The reports are
 * shown when the program has ended: many programs close their standard error before that. The program's own status is never
 * altered inside, so scripts and makefiles run to their end; only a final 0 is replaced. Terminal
 * signals reach the program by themselves, being sent to the whole process group; others are passed
 * on.
 */
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/option_table.h"
#include "cli/program.h"
#include "core/profile/stats_page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[128];
static volatile pid_t child;

/* What the files in the directory say together. */
struct findings {
	bool leaks;                  // in any process
	enum stats_exit_check check; // of the program itself
	bool seen;                   // the program itself left a file
};

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

/* In $TMPDIR if options can name it. */
static void make_directory(void)
{
	const char *place = getenv("TMPDIR");

	if (!place || *place != '/' || strpbrk(place, ":,%") ||
		strlen(place) > sizeof(directory) / 2)
		place = "/tmp";
	snprintf(directory, sizeof(directory), "%s/gasket-leaks-XXXXXX", place);
	if (!mkdtemp(directory))
		fail(EXIT_FAILED, "%s: %s", directory, strerror(errno));
}

static void add_own_options(void)
{
	char *text;

	make_directory();
	if (asprintf(&text,
		    "mode=watch:leaks=report:stacks=all:report=%s/%%p.report:stats_file=%s/%%p",
		    directory, directory) < 0)
		fail(EXIT_FAILED, "no memory");
	launch_add_options(text);
	free(text);
}

/* The number of the line name=number in an open file, or -1. */
static long read_figure(FILE *file, const char *name)
{
	char line[128];
	size_t length = strlen(name);

	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, length) && line[length] == '=')
			return strtol(line + length + 1, NULL, 10);
	}
	return -1;
}

static void take_file(struct findings *findings, int directory_fd, const char *name, pid_t program)
{
	int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	long check;

	if (!file)
		return;
	check = read_figure(file, "exit_check");
	if (check == STATS_EXIT_CHECK_LEAKS)
		findings->leaks = true;
	if (strtol(name, NULL, 10) == program && check >= 0 && check < STATS_EXIT_CHECK_COUNT) {
		findings->seen = true;
		findings->check = (enum stats_exit_check)check;
	}
	fclose(file);
}

static bool is_report(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && !strcmp(dot, ".report");
}

/* Copies a report to standard error. */
static void show_report(int directory_fd, const char *name)
{
	int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char buffer[4096];
	ssize_t bytes;

	if (fd < 0)
		return;
	while ((bytes = read(fd, buffer, sizeof(buffer))) > 0)
		fwrite(buffer, 1, (size_t)bytes, stderr);
	close(fd);
}

/* Reads the files and removes them and the directory. */
static struct findings take_findings(pid_t program)
{
	struct findings findings = {0};
	DIR *list = opendir(directory);
	struct dirent *entry;

	while (list && (entry = readdir(list))) {
		if (entry->d_name[0] == '.')
			continue;
		if (is_report(entry->d_name))
			show_report(dirfd(list), entry->d_name);
		else
			take_file(&findings, dirfd(list), entry->d_name, program);
		unlinkat(dirfd(list), entry->d_name, 0);
	}
	if (list)
		closedir(list);
	rmdir(directory);
	return findings;
}

static void signal_default(int signal)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	sigaction(signal, &action, NULL);
}

/* Ends as the program did, without a second core file. */
static void die_of(int signal)
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

static int status_of(const char *name, int status, const struct findings *findings)
{
	if (WIFSIGNALED(status))
		die_of(WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	if (findings->leaks)
		return EXIT_LEAKS;
	if (findings->seen && findings->check == STATS_EXIT_CHECK_CLEAN)
		return 0;
	if (!findings->seen)
		warn_line("%s: not checked: it did not end under Gasket", name);
	else if (findings->check == STATS_EXIT_CHECK_NO_VERDICT)
		warn_line("%s: not checked: the collector came to no verdict", name);
	else
		warn_line("%s: not checked: leaks were not looked for at its end", name);
	return EXIT_NOT_CHECKED;
}

static int run_and_wait(const char *path, char **argv)
{
	struct findings findings;
	sigset_t mask;
	int status;

	handle_signals(&mask);
	child = fork();
	if (child < 0)
		fail(EXIT_FAILED, "fork: %s", strerror(errno));
	if (child == 0) {
		restore_signals(&mask);
		launch_exec(path, argv);
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	findings = take_findings(child);
	return status_of(argv[0], status, &findings);
}

int leaks_command(int argc, char **argv)
{
	const char *argument;
	char *options = NULL, *path;
	int first = 1;

	while (command_next_switch(argc, argv, &argument, &first)) {
		char *joined;

		options_demand_valid("leaks", argument);
		if (asprintf(&joined, "%s%s%s", options ? options : "", options ? ":" : "",
			    argument) < 0)
			fail(EXIT_FAILED, "no memory");
		free(options);
		options = joined;
	}
	if (first == argc)
		fail(EXIT_USAGE, "leaks: no program; see gasket help leaks");
	path = program_demand_preloadable(argv[first]);
	launch_preload(launch_find_library());
	add_own_options();
	launch_add_options(options);
	return run_and_wait(path, argv + first);
}
