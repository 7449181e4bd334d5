/*
 * Files that appear whole under their name, or not at all: written beside it as PATH.PID.tmp and renamed. Raw system calls, no memory but the
 * caller's. Files are 0600; what stands under the name is replaced, never followed or written into.
 *
 * But for what is no file: a device, a pipe, and whatever the system has put into /dev (where /dev/stderr is a link). That is written to as it is, and never
 * replaced.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHOLE_FILE_PATH_BYTES = 512 };

struct whole_file {
	long fd; // negative: not open
	bool is_in_place;
	char path[WHOLE_FILE_PATH_BYTES];
	char beside[WHOLE_FILE_PATH_BYTES + 32];
};

/* Opens the file; in `pattern` %p becomes the process id, %% a percent sign. False: it cannot be made (the path is in file->path). */
bool whole_file_open(struct whole_file *file, const char *pattern);

/* Writes all bytes at the end, or (write_at) from `offset` on. False: the disk is full or the like; the file is still open. */
bool whole_file_write(struct whole_file *file, const void *bytes, size_t count);
bool whole_file_write_at(struct whole_file *file, uint64_t offset, const void *bytes, size_t count);

/* Closes; renames if `keep`, else removes what was written. True: it stands under its name. */
bool whole_file_close(struct whole_file *file, bool keep);
