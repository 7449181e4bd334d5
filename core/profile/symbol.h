/*
 * Addresses to function names, by the ELF symbol table of the module's file (.symtab, else .dynsym), mapped with raw system calls while a
 * report is made. The file must still have the build-id that was mapped. Names are not demangled, lines are not looked up: that is
 * `gasket report`'s work, or c++filt's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct module;

/* What is known of an address. Text is valid until symbols_close(). */
struct symbol {
	const struct module *module; // NULL: unknown
	uintptr_t offset;            // address in the module's file
	const char *function;        // NULL: unknown
	uintptr_t function_offset;   // bytes from the function's start
};

/*
 * Looks up the code at `address` as it was in `epoch`. For a return address pass address - 1. Not thread-safe: callers hold the lock of the
 * report (one report at a time). True if the module is known.
 */
bool symbol_find(uintptr_t address, uint32_t epoch, struct symbol *ret_symbol);

/* Unmaps all files that symbol_find() mapped. */
void symbols_close(void);
