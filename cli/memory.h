/*
 * Memory for commands: without any, the command ends with one line.
 */
#pragma once

#include "cli/command.h"

#include <stdlib.h>
#include <string.h>

/* Zeroed. */
static inline void *memory_get(size_t count, size_t bytes)
{
	void *memory = calloc(count ? count : 1, bytes);

	if (!memory)
		fail(EXIT_FAILED, "no memory");
	return memory;
}

static inline char *memory_copy_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		fail(EXIT_FAILED, "no memory");
	return copy;
}

/* Room in `array` for one element behind its `count`; grows by doubling, at 0, 1, 2, 4, ... elements. */
static inline void *memory_grow(void *array, size_t count, size_t bytes)
{
	if ((count & (count - 1)) != 0)
		return array;
	array = reallocarray(array, count ? 2 * count : 1, bytes);
	if (!array)
		fail(EXIT_FAILED, "no memory");
	return array;
}
