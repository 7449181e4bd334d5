/*
 * gasket snapshot: has a process write its blocks and what refers to them, and takes the file to where it is wanted. There it appears whole, or not at all.
 */
#include "cli/snapshot.h"

#include "cli/command.h"
#include "cli/output.h"
#include "cli/request.h"

#include <stdio.h>
#include <stdlib.h>
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

int snapshot_command(int argc, char **argv)
{
	int seconds = SNAPSHOT_TIMEOUT_SECONDS, first = 1, letter, fd;
	const char *argument, *path = NULL;
	pid_t pid;
	bool done;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 't')
			seconds = request_parse_timeout("snapshot", argument);
		else
			path = argument;
	}
	if (argc - first != 1 || !path || !*path)
		fail(EXIT_USAGE,
			"snapshot: needs a process id and -o FILE; see gasket help snapshot");
	pid = process_parse_pid("snapshot", argv[first]);
	if (!output_is_possible(path))
		return EXIT_FAILED;
	fd = snapshot_take("snapshot", pid, seconds);
	done = output_copy(fd, path, 0600);
	close(fd);
	return done ? 0 : EXIT_FAILED;
}
