/*
 * shapes --list
 * shapes HOW leak|fixed NAME...: runs the shapes, one after the other:
 *
 *	here	in main
 *	thread	each in a thread of its own, which has ended by then
 *	fork	all in a child, while the parent does nothing
 *	plugin	in a library that is opened for it and closed again (SHAPES_PLUGIN names it)
 */
#include "tests/leaks/shape.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
	const char *name;
	bool fixed;
	bool found;
};

static pid_t started_as;

static void *run_request(void *argument)
{
	struct request *request = argument;

	request->found = shape_run(request->name, request->fixed);
	if (getpid() != started_as) // a child that came out of the shape
		exit(request->found ? 0 : 1);
	return NULL;
}

static bool run_here(struct request *request)
{
	run_request(request);
	return request->found;
}

static bool run_in_thread(struct request *request)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_request, request) != 0)
		return false;
	pthread_join(thread, NULL);
	return request->found;
}

static bool run_in_plugin(struct request *request)
{
	const char *path = getenv("SHAPES_PLUGIN");
	void *plugin = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	bool (*run)(const char *, bool) =
		plugin ? (bool (*)(const char *, bool))dlsym(plugin, "shape_run") : NULL;
	bool found = run && run(request->name, request->fixed);

	if (!plugin) {
		fprintf(stderr, "shapes: %s\n", dlerror());
		return false;
	}
	dlclose(plugin);
	return found;
}

static const struct {
	const char *name;
	bool (*run)(struct request *request);
} ways[] = {
	{"here", run_here},
	{"thread", run_in_thread},
	{"fork", run_here},
	{"plugin", run_in_plugin},
};

/* Returns in the child only; the parent waits and ends as the child did. */
static void go_on_in_child(void)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		started_as = getpid();
		return;
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		exit(1);
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int main(int count, char **arguments)
{
	if (count == 2 && !strcmp(arguments[1], "--list")) {
		shape_list();
		return 0;
	}
	started_as = getpid();
	for (size_t way = 0; count > 3 && way < sizeof(ways) / sizeof(ways[0]); way++) {
		if (strcmp(ways[way].name, arguments[1]) != 0)
			continue;
		if (!strcmp(arguments[1], "fork"))
			go_on_in_child();
		for (int i = 3; i < count; i++) {
			struct request request = {
				arguments[i], !strcmp(arguments[2], "fixed"), false};

			if (!ways[way].run(&request)) {
				fprintf(stderr, "shapes: %s: not run\n", arguments[i]);
				return 2;
			}
		}
		return 0;
	}
	fprintf(stderr, "shapes HOW leak|fixed NAME...\n");
	return 2;
}
