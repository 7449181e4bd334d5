/*
 * Folders within folders, so deep that the path of a file in them is longer than any system call would take. The kernel prints it whole all the same.
 */
#pragma once

#include "tests/harness/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each level is 250 characters; newlines among them are printed as four characters each. */
enum { DEEP_NAME_BYTES = 250 };

struct deep_folder {
	char top[32];
	char name[DEEP_NAME_BYTES + 1];
	int levels;
};

/* Makes the innermost folder the working directory. */
static inline void deep_enter(struct deep_folder *folder, int levels, char letter)
{
	*folder = (struct deep_folder){.top = "/tmp/gasket-deep-XXXXXX", .levels = levels};
	memset(folder->name, letter, DEEP_NAME_BYTES);
	CHECK_NOT_NULL(mkdtemp(folder->top));
	CHECK_EQ(chdir(folder->top), 0);
	for (int i = 0; i < levels; i++) {
		CHECK_EQ(mkdir(folder->name, 0700), 0);
		CHECK_EQ(chdir(folder->name), 0);
	}
}

/* Removes the folders; they hold no file any more. */
static inline void deep_leave(const struct deep_folder *folder)
{
	for (int i = 0; i < folder->levels; i++) {
		CHECK_EQ(chdir(".."), 0);
		CHECK_EQ(rmdir(folder->name), 0);
	}
	CHECK_EQ(chdir("/"), 0);
	CHECK_EQ(rmdir(folder->top), 0);
}
