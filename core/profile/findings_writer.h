/*
 * Writes a file of findings (findings.h), one section after the other, through a buffer: the memory needed does not grow with what is written, but
 * for the strings.
 *
 *	if (findings_open(&writer, path)) {
 *		findings_begin(&writer, FINDINGS_LIST, sizeof(struct finding));
 *		findings_put(&writer, &finding, 1);
 *		done = findings_close(&writer);
 *	}
 *
 * One thread at a time (callers hold the lock CYCLE). Failures are kept and told by findings_close().
 */
#pragma once

#include "core/os/whole_file.h"
#include "core/profile/findings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct findings_writer {
	struct whole_file file;
	char *buffer;
	size_t used;
	uint64_t offset; // of what comes next in the file, buffer included
	uint64_t limit;  // of bytes of the file, for who sets it; 0: none
	bool has_failed;
	char *strings;
	size_t string_bytes, string_capacity;
	uint32_t section_count;
	struct findings_section sections[FINDINGS_SECTION_KINDS];
};

/* False: no memory, or the file cannot be made (its path is in writer->file.path); nothing needs to be closed. `pattern` as in whole_file_open(). */
bool findings_open(struct findings_writer *writer, const char *pattern);

/* The next section; kind as in findings.h, each once. STRINGS is written by itself. */
void findings_begin(
	struct findings_writer *writer, enum findings_section_kind kind, size_t record_bytes);

/* Appends records to the section begun last. */
void findings_put(struct findings_writer *writer, const void *records, size_t count);

/* Keeps a string; returns what records say in its place: 0 for NULL, "", and without memory. Equal strings are not joined. */
uint32_t findings_string(struct findings_writer *writer, const char *text);

/* The sections MODULES, STACKS and FRAMES: all that the process knows. */
void findings_put_stacks(struct findings_writer *writer);

/* Gives it up, whatever was written, or what another process wrote that opened the file with this one's descriptor. */
void findings_abandon(struct findings_writer *writer);

/* True: the file stands whole under its name; else there is none. */
bool findings_close(struct findings_writer *writer);
