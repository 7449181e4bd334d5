/*
 * A library for leak_cases to open and close.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_make(size_t bytes);

static __attribute__((noinline)) void *plugin_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	memset(block, 1, bytes);
	return block;
}

void *plugin_make(size_t bytes)
{
	void *block = plugin_allocate(bytes);

	__asm__ volatile("" : : : "memory");
	return block;
}
