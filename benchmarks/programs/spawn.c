/*
 * spawn COUNT PROGRAM [ARGUMENT...]: starts a program COUNT times, one after the other, and says
 * how often it ended well. What starting and ending costs, with as little else as possible.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long count = argc > 2 ? strtol(argv[1], NULL, 10) : 0, well = 0;

	if (count < 1) {
		fputs("usage: spawn COUNT PROGRAM [ARGUMENT...]\n", stderr);
		return 2;
	}
	for (long i = 0; i < count; i++) {
		pid_t child;
		int status;

		if (posix_spawnp(&child, argv[2], NULL, NULL, argv + 2, environ)) {
			fprintf(stderr, "spawn: %s cannot be started\n", argv[2]);
			return 1;
		}
		if (waitpid(child, &status, 0) == child && WIFEXITED(status) &&
			!WEXITSTATUS(status))
			well++;
	}
	printf("%ld of %ld\n", well, count);
	return well == count ? 0 : 1;
}
