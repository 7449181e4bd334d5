/*
 * gasket snapshot: has a process write its blocks and what refers to them, and takes the file to where it is wanted. There it appears whole, or not at all.
 */
#include "cli/snapshot.h"

#include "cli/command.h"
#include "cli/request.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int snapshot_take(const char *command, pid_t pid, int seconds)
{
	struct request_answer answer;
	enum process_result result;
	struct process process;
	int fd;

	result = process_open(&process, pid, true);
	if (result != PROCESS_FOUND) {
		process_warn(&process, result);
		exit(EXIT_FAILED);
	}
	answer = request_make(&process, STATS_REQUEST_SNAPSHOT_NOW, seconds);
	if (answer.reply != STATS_REPLY_DONE)
		fail(EXIT_FAILED, "%d (%s): %s: %s%s%s", pid, process.name, command,
			request_reply_words(answer.reply), *answer.text ? ": " : "", answer.text);
	fd = process_take_snapshot(&process);
	if (fd < 0)
		fail(EXIT_FAILED, "%d (%s): %s: its file is gone", pid, process.name, command);
	process_close(&process);
	return fd;
}

static bool copy_bytes(int from, int to)
{
	static char buffer[1 << 18];
	ssize_t bytes;

	while ((bytes = read(from, buffer, sizeof(buffer))) > 0) {
		for (ssize_t done = 0, part; done < bytes; done += part) {
			part = write(to, buffer + done, (size_t)(bytes - done));
			if (part < 0)
				return false;
		}
	}
	return bytes == 0;
}

static void copy_to(int from, const char *path)
{
	char beside[PATH_MAX];
	int fd;

	if (snprintf(beside, sizeof(beside), "%s.%d.tmp", path, getpid()) >= (int)sizeof(beside))
		fail(EXIT_FAILED, "%s: %s", path, strerror(ENAMETOOLONG));
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(EXIT_FAILED, "%s: %s", beside, strerror(errno));
	if (copy_bytes(from, fd) && close(fd) == 0 && rename(beside, path) == 0)
		return;
	fd = errno;
	unlink(beside);
	fail(EXIT_FAILED, "%s: %s", path, strerror(fd));
}

int snapshot_command(int argc, char **argv)
{
	int seconds = SNAPSHOT_TIMEOUT_SECONDS, first = 1, letter, fd;
	const char *argument, *output = NULL;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 't')
			seconds = request_parse_timeout("snapshot", argument);
		else
			output = argument;
	}
	if (argc - first != 1 || !output || !*output)
		fail(EXIT_USAGE,
			"snapshot: needs a process id and -o FILE; see gasket help snapshot");
	fd = snapshot_take("snapshot", process_parse_pid("snapshot", argv[first]), seconds);
	copy_to(fd, output);
	close(fd);
	return 0;
}
