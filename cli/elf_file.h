/*
 * What the loader reads in an ELF program: the loader's own path and the libraries it needs.
 */
#pragma once

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>

/* A mapped file. Every offset in it is somebody else's word and checked against `size`. */
struct elf_file {
	const unsigned char *bytes;
	size_t size;
	const Elf64_Ehdr
		*header; // class and machine may differ from ours: look before anything else
};

/* False when the descriptor is no ELF file; elf_unmap() afterwards if true. */
bool elf_map(struct elf_file *file, int fd);
void elf_unmap(struct elf_file *file);

/* Path of the loader (PT_INTERP); "" when there is none: static; NULL when the file is damaged. */
const char *elf_loader(const struct elf_file *file);

/* Name of the first needed library (DT_NEEDED) that begins with one of `prefixes` (ended by NULL),
 * or NULL. */
const char *elf_needed(const struct elf_file *file, const char *const *prefixes);
