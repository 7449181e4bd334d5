/*
 * Libraries that are unloaded and processes that fork. A child is a program of its own: what it loses is in its report and not in its parent's.
 */
#include "tests/leaks/shape.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- plugins; SHAPES_STATE names one ---- */

struct module {
	void *handle;
	void (*start)(int count);
	void (*stop)(void);
	void *(*create)(size_t bytes);
	char name[40];
};

KEEP static struct module *module_load(void)
{
	struct module *module = calloc(1, sizeof(*module));
	const char *path = getenv("SHAPES_STATE");

	module->handle = path ? dlopen(path, RTLD_NOW) : NULL;
	if (!module->handle)
		abort();
	module->start = (void (*)(int))dlsym(module->handle, "state_start");
	module->stop = (void (*)(void))dlsym(module->handle, "state_stop");
	module->create = (void *(*)(size_t))dlsym(module->handle, "state_create");
	return module;
}

static void module_unload(struct module *module)
{
	dlclose(module->handle);
	memset(module, 0, sizeof(*module));
}

/* The list of what the plugin has lies in the plugin's own data, and goes with it. */
KEEP static void globals_of_plugin(bool fixed)
{
	struct module *module = module_load();

	module->start(5);
	if (fixed)
		module->stop();
	module_unload(module);
	free(module);
}

/* What a plugin gave to the program, which forgets it when the plugin is gone. */
KEEP static void block_from_plugin(bool fixed)
{
	struct module *module = module_load();
	void *block = module->create(720);

	if (fixed)
		free(block);
	module_unload(module);
	free(module);
}

KEEP static void record_of_module(bool fixed)
{
	TIMES(3)
	{
		struct module *module = module_load();

		module_unload(module);
		if (fixed)
			free(module);
	}
}

/* ---- children ---- */

/* Runs the function in a child, which ends as programs do. */
static void in_child(void (*run)(bool), bool fixed)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		run(fixed);
		return; // the child goes on to the end of main
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		abort();
}

KEEP static char **arguments_create(int count)
{
	char **arguments = calloc((size_t)count + 1, sizeof(*arguments));

	for (volatile int i = 0; i < count; i = i + 1) {
		char word[32];

		snprintf(word, sizeof(word), "argument number %d", i);
		arguments[i] = strdup(word);
	}
	return arguments;
}

KEEP static void execute(bool fixed)
{
	char **arguments = arguments_create(3);

	execv("/nonexistent/program", arguments);
	for (int i = 0; arguments[i] && fixed; i++)
		free(arguments[i]);
	if (fixed)
		free(arguments);
}

/* The program cannot be started, and the child goes on without what it had prepared for it. */
KEEP static void words_for_failed_exec(bool fixed)
{
	in_child(execute, fixed);
}

struct copy {
	struct copy *next;
	char text[56];
};

static struct copy *copies;

KEEP static void copies_create(void)
{
	TIMES(4)
	{
		struct copy *copy = calloc(1, sizeof(*copy));

		copy->next = copies;
		copies = copy;
	}
}

static void copies_free(void)
{
	while (copies) {
		struct copy *next = copies->next;

		free(copies);
		copies = next;
	}
}

KEEP static void forget_copies(bool fixed)
{
	if (fixed)
		copies_free();
	copies = NULL;
}

/* The parent frees its list; its child, who had a copy of it, forgets that. */
KEEP static void copy_in_child(bool fixed)
{
	copies_create();
	in_child(forget_copies, fixed);
	copies_free();
}

/* What the parent had lost before is lost in the child as well: each tells it. */
KEEP static void *lost_before_fork(void)
{
	return malloc(400);
}

static void nothing(bool fixed)
{
	use(&fixed);
}

KEEP static void lost_in_both(bool fixed)
{
	void *block = lost_before_fork();

	if (fixed)
		free(block);
	block = NULL;
	use(block);
	in_child(nothing, fixed);
}

const struct shape process_shapes[] = {
	{"globals_of_plugin", globals_of_plugin, "state_start", {1, 128}, {4, 512},
		SHAPE_LINK("samtools/htslib/pull/1072")},
	{"block_from_plugin", block_from_plugin, "state_create", {1, 720}, {0, 0}, "own"},
	{"record_of_module", record_of_module, "module_load", {3, 216}, {0, 0},
		SHAPE_LINK("OpenSC/libp11/pull/139")},
	{"words_for_failed_exec", words_for_failed_exec, "arguments_create", {1, 32}, {3, 54},
		SHAPE_LINK("linux-audit/audit-userspace/pull/485")},
	{"copy_in_child", copy_in_child, "copies_create", {1, 64}, {3, 192},
		SHAPE_LINK("libcheck/check/pull/294")},
	{"lost_in_both", lost_in_both, "lost_before_fork", {2, 800}, {0, 0}, "own"},
	{0},
};
