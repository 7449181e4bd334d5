/*
 * A shape is a way to leak, as a small program of its own: `run` makes the mistake, and with `fixed` set does the same without it. The two differ in what the
 * published fix changed and in nothing else. The programs are written for this test; the link is where the mistake was found, not where the text is from.
 *
 * A shape without a site leaks nothing, and only looks as if it did.
 */
#pragma once

#include "tests/harness/frames.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is lost, in bytes as the program asked for them. */
struct shape_amount {
	unsigned blocks; // 0: libc's own business, some
	size_t bytes;    // 0: likewise
};

struct shape {
	const char *name; // NULL behind the last one of a table
	void (*run)(bool fixed);
	const char *site;           // a function that must be in the stack of every direct leak
	struct shape_amount direct; // held by nothing
	struct shape_amount held;   // by the direct ones alone
	const char *link;           // to the fix, or the report of it
};

extern const struct shape error_shapes[], string_shapes[], container_shapes[], owner_shapes[],
	thread_shapes[], libc_shapes[], process_shapes[], cpp_shapes[], kept_shapes[];

/* Runs the named shape of any table, deep below the caller, and leaves no address of its own on the stack or in a register. Returns whether there is one. */
__attribute__((visibility("default"))) bool shape_run(const char *name, bool fixed);

/* Prints the tables, one shape a line, fields separated by tabs. */
void shape_list(void);

#ifdef __cplusplus
}
#endif

#define SHAPE_LINK(path) "https://github.com/" path

/* A loop that no compiler unrolls: each copy of a call would be a site of its own. */
#define TIMES(count) for (volatile int turn = 0; turn < (count); turn = turn + 1)

/* The compiler must believe that somebody reads the block. */
static inline void use(const void *block)
{
	__asm__ volatile("" : : "r"(block) : "memory");
}
