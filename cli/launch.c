/*
 * Environment and exec. The path in LD_PRELOAD is absolute, for the program may change its
 * directory and start others; the loader splits LD_PRELOAD at colons and blanks, so a path with one
 * in it cannot be passed.
 */
#include "cli/launch.h"

#include "cli/command.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY_NAME "libgasket.so"

const char *launch_find_library(void)
{
	static const char *const places[] = {".", "../lib", "../lib/gasket",
		"../lib/x86_64-linux-gnu", "../lib/aarch64-linux-gnu", "../lib64"};
	static char library[PATH_MAX];
	char own[PATH_MAX], path[2 * PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);

	if (length <= 0)
		fail(EXIT_CANNOT_RUN, "/proc/self/exe cannot be read; is /proc mounted?");
	own[length] = 0;
	dirname(own);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/" LIBRARY_NAME, own, places[i]);
		if (realpath(path, library) && !access(library, R_OK))
			return library;
	}
	fail(EXIT_CANNOT_RUN, LIBRARY_NAME " not found in %s or %s/../lib", own, own);
}

static void set_joined(const char *name, const char *first, char separator, const char *second)
{
	char *value;

	if (asprintf(&value, "%s%.*s%s", first, *first && *second ? 1 : 0, &separator, second) <
			0 ||
		setenv(name, value, 1))
		fail(EXIT_FAILED, "no memory");
	free(value);
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

void launch_preload(const char *library)
{
	if (strpbrk(library, ": \t\n"))
		fail(EXIT_CANNOT_RUN, "%s: the loader cannot preload a path with a blank or colon",
			library);
	set_joined("LD_PRELOAD", library, ':', environment("LD_PRELOAD"));
}

void launch_add_options(const char *options)
{
	if (options)
		set_joined("GASKET_OPTIONS", environment("GASKET_OPTIONS"), ':', options);
}

void launch_exec(const char *path, char **argv)
{
	execv(path, argv);
	if (errno == ENOEXEC) // a script without #!
		execvp(path, argv);
	fail(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "%s: %s", argv[0],
		strerror(errno));
}
