/*
 * Addresses in modules to functions, files and lines, with elfutils' libdw, after the process is gone or on another machine.
 *
 * A module is a path and a build-id. Its file is looked for under that path and by its build-id below /usr/lib/debug, both inside of a given
 * system root; it is used only if it has that build-id. Debug data is found by build-id or debug link. What cannot be found costs names, nothing
 * else. The same addresses always give the same names, in whatever order they are asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYMBOL_BUILD_ID_MAX = 32 };

struct symbol_file; // its ELF file

/* One for each pair of path and build-id: modules may be compared by address. */
struct symbol_module {
	const char *path;
	const char *base_name;
	char build_id[2 * SYMBOL_BUILD_ID_MAX + 1]; // hex digits; "": none was recorded
	struct symbol_file *file;                   // NULL: not looked for yet
};

/* One function at an address. */
struct symbol_frame {
	const char *function; // demangled, or NULL
	const char *linkage;  // the same as the linker knows it
	const char *file;     // source, or NULL
	unsigned line;        // 0: unknown
};

/* What is at an address: the function that was inlined last comes first, that which is really there is last. */
struct symbol {
	const struct symbol_module *module;
	uint64_t offset; // in the module's file, as addr2line takes it
	size_t count;    // of frames; 0: nothing is known
	struct symbol_frame *frames;
};

struct symbolizer;

/* A directory that can take the place of /; else the command ends with one line. */
void symbolizer_demand_root(const char *root);

/* `root`: directory that takes the place of /, or NULL. Demanded. */
struct symbolizer *symbolizer_create(const char *root);

/* Everything it gave out is gone. NULL is allowed. */
void symbolizer_destroy(struct symbolizer *symbolizer);

/* Texts are copied. */
struct symbol_module *symbolizer_module(struct symbolizer *symbolizer, const char *path,
	const unsigned char *build_id, size_t build_id_bytes);

/* Its file was found, so that a name that is missing is missing there, too. */
bool symbolizer_has_file(struct symbolizer *symbolizer, struct symbol_module *module);

/* The module's file as libdw has it, whose addresses are ours plus *ret_bias; NULL: no file was found. */
struct Dwfl_Module *symbolizer_open(
	struct symbolizer *symbolizer, struct symbol_module *module, uint64_t *ret_bias);

/* Name, as the linker knows it, of the symbol that an address of libdw's lies in, and how far in; NULL: none reaches that far. */
const char *symbolizer_table_name(
	struct Dwfl_Module *module, uint64_t address, uint64_t *ret_distance);

/* What is at `offset` in the module; for a return address pass the offset of the byte before. Never NULL. */
const struct symbol *symbolizer_find(
	struct symbolizer *symbolizer, struct symbol_module *module, uint64_t offset);

/* A C++ or Rust name as it was written, or a copy of `name`. The caller frees it. */
char *symbol_demangle(const char *name);
