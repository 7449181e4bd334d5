/*
 * The tables together, and how a shape of them is run: far below the caller, on stack that is wiped afterwards, so that no word that is left there by
 * chance hides a leak.
 */
#include "tests/leaks/shape.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BELOW_BYTES = 64 * 1024, WIPED_BYTES = 512 * 1024 };

static const struct {
	const char *family;
	const struct shape *list;
} tables[] = {
	{"errors", error_shapes},
	{"strings", string_shapes},
	{"containers", container_shapes},
	{"owners", owner_shapes},
	{"threads", thread_shapes},
	{"libc", libc_shapes},
	{"process", process_shapes},
	{"c++", cpp_shapes},
	{"kept", kept_shapes},
};

enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

/* The dead part of the stack, and the registers a call may change. */
KEEP static void wipe(void)
{
	WIPE_STACK(WIPED_BYTES);
	wipe_registers();
}

KEEP static void run_below(const struct shape *shape, bool fixed)
{
	char room[BELOW_BYTES];

	use(room);
	shape->run(fixed);
	use(room);
}

bool shape_run(const char *name, bool fixed)
{
	bool found = false;

	for (int i = 0; i < TABLES; i++) {
		for (const struct shape *shape = tables[i].list; shape->name; shape++) {
			if (strcmp(shape->name, name) != 0)
				continue;
			run_below(shape, fixed);
			found = true;
		}
	}
	wipe();
	return found;
}

void shape_list(void)
{
	for (int i = 0; i < TABLES; i++) {
		for (const struct shape *shape = tables[i].list; shape->name; shape++)
			printf("%s\t%s\t%s\t%u\t%zu\t%u\t%zu\t%s\n", tables[i].family, shape->name,
				shape->site ? shape->site : "", shape->direct.blocks,
				shape->direct.bytes, shape->held.blocks, shape->held.bytes,
				shape->link);
	}
}
