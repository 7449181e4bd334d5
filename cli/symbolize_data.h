/*
 * Addresses in a module's data to variables, as symbolize.h does it for functions.
 */
#pragma once

#include "cli/symbolize.h"

/* A variable. Texts are the caller's, to be freed by symbol_data_release(). */
struct symbol_data {
	char *name;      // demangled; NULL: nothing is known
	uint64_t offset; // of the address in it
	char *file;      // where it is declared, or NULL
	unsigned line;   // 0: unknown
};

/* What is at `offset` in the module. */
struct symbol_data symbolizer_find_data(
	struct symbolizer *symbolizer, struct symbol_module *module, uint64_t offset);

/*
 * The same for a thread-local variable of the executable, by the distance from it up to the thread pointer (x86-64: the executable's lie right below that). *ret_offset is the
 * place in the executable's thread-local storage. False: it is none of these.
 */
bool symbolizer_find_thread_local(struct symbolizer *symbolizer, struct symbol_module *executable,
	uint64_t below, uint64_t *ret_offset, struct symbol_data *ret_data);

void symbol_data_release(struct symbol_data *data);
