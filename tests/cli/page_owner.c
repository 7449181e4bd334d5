/*
 * A process that looks as if it ran under Gasket: it maps a file (argument 1, named libgasket.so),
 *makes a page, and answers requests. What status and set do can then be tested to the letter
 *without a collector. Further arguments:
 *
 *	quiet		never makes a page
 *	forked		the one with the page is a child
 *	deaf		answers nothing
 *	refuse		answers "refused", with text that must not reach a terminal
 *	report		leaves a report beside the page
 *	chroot=DIR	changes its root after the page was made
 *	uid=N		becomes another user after the page was made
 *	spoil=OFFSET	overwrites one 64-bit word of the page with ones
 *	NAME=NUMBER	sets a figure
 *
 * Prints its pid as a line when it is ready, and lives until its standard input ends.
 */
#include "core/profile/stats_page.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static bool deaf, refuse, report, quiet, forked;
static const char *new_root;
static int new_user = -1;
static long spoil_offset = -1;

static void demand(bool condition, const char *what)
{
	if (condition)
		return;
	perror(what);
	exit(1);
}

static void map_library(const char *path)
{
	int fd = open(path, O_RDONLY);

	demand(fd >= 0 && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED, path);
	close(fd);
}

static void set_figure(const char *name, uint64_t value)
{
#define STATS_NUMBER(figure, unit, writer, help) \
	if (!strcmp(name, #figure)) \
		stats_set(figure, value);
#define STATS_OPTION(figure, writer, help) STATS_NUMBER(figure, , writer, help)
#define STATS_CHOICE(figure, words, writer, help) STATS_NUMBER(figure, , writer, help)
#include "core/profile/stats_page.def"
}

static void take_argument(char *argument)
{
	char *value = strchr(argument, '=');

	if (value)
		*value++ = 0;
	if (!strcmp(argument, "chroot"))
		new_root = value;
	else if (!strcmp(argument, "uid"))
		new_user = atoi(value);
	else if (!strcmp(argument, "spoil"))
		spoil_offset = atol(value);
	else if (value)
		set_figure(argument, strtoull(value, NULL, 10));
	report |= !strcmp(argument, "report");
	deaf |= !strcmp(argument, "deaf");
	quiet |= !strcmp(argument, "quiet");
	forked |= !strcmp(argument, "forked");
	refuse |= !strcmp(argument, "refuse");
}

/* As the collector of a daemon does: the report goes beside the page. */
static void answer_with_report(const struct stats_command *command)
{
	static const char text[] = "Direct leak\n\tof \033[2J\n";
	const ssize_t length = sizeof(text) - 1;
	char path[STATS_TEXT_BYTES];
	int fd;

	demand(stats_report_path(path, sizeof(path)), "report path");
	fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
	demand(fd >= 0 && write(fd, text, (size_t)length) == length, path);
	close(fd);
	stats_command_done(command, STATS_REPLY_DONE, path);
}

static void answer(const struct stats_command *command)
{
	char text[64];

	if (report) {
		answer_with_report(command);
		return;
	}
	snprintf(text, sizeof(text), "request %u", (unsigned)command->request);
	if (refuse)
		stats_command_done(command, STATS_REPLY_REFUSED, "\033[2Jsorry");
	else
		stats_command_done(command, STATS_REPLY_DONE, text);
}

static void serve(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct stats_command command;

	for (;;) {
		uint32_t value = stats_wake_value();

		if (!deaf && stats_poll_command(&command))
			answer(&command);
		if (poll(&input, 1, 0) > 0)
			break;
		stats_wait(value, 20000000);
	}
}

int main(int argc, char **argv)
{
	stats_init(getenv("XDG_RUNTIME_DIR"));
	map_library(argv[1]);
	for (int i = 2; i < argc; i++)
		take_argument(argv[i]);
	if (forked && fork() != 0) {
		wait(NULL);
		return 0;
	}
	if (forked)
		stats_init(getenv("XDG_RUNTIME_DIR"));
	if (!quiet)
		demand(stats_publish(), "page");
	if (spoil_offset >= 0)
		memset((char *)stats + spoil_offset, 0xff, 8);
	demand(!new_root || !chroot(new_root), "chroot");
	demand(new_user < 0 || !setuid((uid_t)new_user), "setuid");
	printf("%d\n", getpid());
	fflush(stdout);
	serve();
	stats_unpublish();
	return 0;
}
