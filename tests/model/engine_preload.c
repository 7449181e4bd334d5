/*
 * The model's engine is whatever malloc the process has: libgasket.so under LD_PRELOAD.
 */
#include "tests/model/engine.h"
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static bool has_option(const char *text)
{
	const char *options = getenv("GASKET_OPTIONS");

	return options && strstr(options, text);
}

void engine_start(void)
{
	CHECK_MSG(gasket_collect && gasket_block_state, "the program does not run under Gasket");
}

void engine_stop(void)
{
}

void engine_enter(void)
{
}

void engine_leave(void)
{
}

void engine_thread_begin(void)
{
}

void engine_thread_end(void)
{
}

void *engine_malloc(size_t bytes)
{
	return malloc(bytes);
}

void *engine_calloc(size_t bytes)
{
	return calloc(1, bytes);
}

void *engine_aligned(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

void *engine_realloc(void *block, size_t bytes)
{
	return realloc(block, bytes);
}

void engine_free(void *block)
{
	free(block);
}

size_t engine_usable(void *block)
{
	return malloc_usable_size(block);
}

bool engine_collect(void)
{
	return gasket_collect() == 1;
}

int engine_state(const void *block)
{
	return gasket_block_state(block);
}

bool engine_reclaims_leaks(void)
{
	return has_option("probation=off") && !has_option("leaks=report") &&
	       !has_option("leaks=off") && !has_option("mode=watch") && !has_option("mode=fast");
}

bool engine_keeps_freed(void)
{
	return !has_option("free=trust") && !has_option("mode=fast");
}
