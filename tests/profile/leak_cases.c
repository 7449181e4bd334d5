/*
 * leak_cases CASE [STATUS]: leaks a known number of blocks of known sizes from functions whose names a report must show. Prints a line to
 * standard output first, into its buffer, and ends with STATUS (0). Loops are volatile, or each turn might become a site of its own.
 *
 *	clean	nothing
 *	leaks	3 blocks, 2 lists of 4, 1 ring of 3, one tree with two leaves
 *	plugin	5 blocks from the library named by the third argument, opened and closed again
 *	misuse	a block freed twice
 *	race	like leaks, and a thread calls _exit(STATUS) while main looks for leaks
 */
#include "tests/harness/frames.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct node {
	struct node *left, *right;
	char text[80];
};

KEEP static void *make_plain(void)
{
	void *block = malloc(200);

	memset(block, 1, 200);
	return block;
}

KEEP static struct node *make_node(void)
{
	struct node *node = calloc(1, sizeof(*node));

	AFTER_CALL;
	return node;
}

KEEP static struct node *make_list(int length)
{
	struct node *first = NULL;

	while (length-- > 0) {
		struct node *node = make_node();

		node->left = first;
		first = node;
	}
	return first;
}

KEEP static struct node *make_ring(void)
{
	struct node *list = make_list(3);

	list->left->left->left = list;
	return list;
}

KEEP static struct node *make_tree(void)
{
	struct node *root = make_node();

	root->left = make_node();
	root->right = make_node();
	return root;
}

/* The dead part of the stack holds no address afterwards. */
KEEP static void scrub(void)
{
	WIPE_STACK(16384);
}

KEEP static void leak_all(void)
{
	for (volatile int i = 0; i < 3; i++)
		make_plain();
	for (volatile int i = 0; i < 2; i++)
		make_list(4);
	make_ring();
	make_tree();
	AFTER_CALL;
}

KEEP static void leak_in_plugin(const char *path)
{
	void *plugin = dlopen(path, RTLD_NOW);
	void *(*plugin_make)(size_t) =
		plugin ? (void *(*)(size_t))dlsym(plugin, "plugin_make") : NULL;

	if (!plugin_make)
		exit(1);
	for (volatile int i = 0; i < 5; i++)
		plugin_make(300);
	dlclose(plugin);
	AFTER_CALL;
}

KEEP static void free_twice(void)
{
	void *block = make_plain();

	free(block);
	free(block);
	AFTER_CALL;
}

static sem_t is_leaving;
static struct node *volatile long_list;
static int status;

static void on_leave(void)
{
	sem_post(&is_leaving);
}

static void *end_too(void *argument)
{
	sem_wait(&is_leaving);
	usleep(3000);
	_exit(status);
	return argument;
}

/* The list is what makes the check last. */
KEEP static void race(void)
{
	pthread_t thread;

	long_list = make_list(1000000);
	if (sem_init(&is_leaving, 0, 0) != 0 || pthread_create(&thread, NULL, end_too, NULL) != 0)
		exit(1);
	atexit(on_leave);
	leak_all();
}

int main(int count, char **arguments)
{
	const char *name = count > 1 ? arguments[1] : "clean";

	status = count > 2 ? atoi(arguments[2]) : 0;
	printf("case %s\n", name);
	if (strcmp(name, "leaks") == 0)
		leak_all();
	if (strcmp(name, "plugin") == 0)
		leak_in_plugin(arguments[3]);
	if (strcmp(name, "misuse") == 0)
		free_twice();
	if (strcmp(name, "race") == 0)
		race();
	scrub();
	return status;
}
