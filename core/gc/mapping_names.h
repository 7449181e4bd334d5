/*
 * Names of mappings by address, for files of findings: that of the file, the kernel's word for it, or where it lies. Addresses had best come in order. Lock CYCLE, or in a copy
 * of the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct findings_writer;

/* A list of mappings, read line by line. Zero at first. */
struct mapping_names {
	bool is_open;
	long file;
	size_t used, next;    // of the buffer
	uintptr_t start, end; // of the mapping in `line`
	uint32_t name;        // its string, once it was wanted; 0: not yet
	char line[320];
	char buffer[4096];
};

/* A string of the writer; 0: nothing is mapped there. */
uint32_t mapping_name_at(
	struct mapping_names *names, struct findings_writer *writer, uintptr_t address);

void mapping_names_end(struct mapping_names *names);
