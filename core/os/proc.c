/*
 * The files of /proc and the walk over the tasks. Entries of the task folder come from getdents64 into the caller's buffer; a task's state is
 * one read of its stat, whose second field, the name, may itself hold spaces and parentheses: fields are counted from the last one.
 */
#include "core/os/proc.h"

#include "core/base/format.h"
#include "core/os/directory.h"
#include "core/os/memory.h"
#include "core/os/syscall.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static struct {
	int descriptor
		[PROC_FILE_COUNT]; // plus one, so that zero bytes mean "not open"; written by the collector thread only
	int task;
} files;

static const struct {
	const char *path;
	const char *older_path; // before Linux 3.17, or NULL
	bool needed;
	int flags;
} file_table[PROC_FILE_COUNT] = {
	[PROC_MAPS] = {"/proc/thread-self/maps", "/proc/self/maps", true, O_RDONLY},
	[PROC_PAGEMAP] = {"/proc/thread-self/pagemap", "/proc/self/pagemap", false, O_RDONLY},
	[PROC_MEM] = {"/proc/thread-self/mem", "/proc/self/mem", false, O_RDONLY},
	[PROC_SMAPS] = {"/proc/thread-self/smaps", "/proc/self/smaps", false, O_RDONLY},
	[PROC_ROLLUP] = {"/proc/thread-self/smaps_rollup", "/proc/self/smaps_rollup", false,
		O_RDONLY},
	[PROC_TASKS] = {"/proc/self/task", 0, true, O_RDONLY | O_DIRECTORY},
};

/* Descriptors 0 to 2 are left free: in a table whose standard files were closed, somebody's write to fd 2 would end here. */
static int open_above_standard(const char *path, int flags)
{
	long low = SYSCALL(openat, AT_FDCWD, path, flags | O_CLOEXEC);
	long high;

	if (syscall_failed(low) || low > 2)
		return (int)low;
	high = SYSCALL(fcntl, low, F_DUPFD_CLOEXEC, 3);
	SYSCALL(close, low);
	return (int)high;
}

bool proc_open(void)
{
	if (proc_is_open())
		return true;
	files.task = (int)SYSCALL(gettid);
	for (int i = 0; i < PROC_FILE_COUNT; i++) {
		int descriptor = open_above_standard(file_table[i].path, file_table[i].flags);

		if (descriptor < 0 && file_table[i].older_path)
			descriptor =
				open_above_standard(file_table[i].older_path, file_table[i].flags);
		if (descriptor < 0 && file_table[i].needed) {
			proc_close();
			return false;
		}
		files.descriptor[i] = descriptor < 0 ? 0 : descriptor + 1;
	}
	return true;
}

void proc_close(void)
{
	for (int i = 0; i < PROC_FILE_COUNT; i++) {
		if (files.descriptor[i] > 0)
			SYSCALL(close, files.descriptor[i] - 1);
	}
	proc_forget();
}

void proc_forget(void)
{
	for (int i = 0; i < PROC_FILE_COUNT; i++)
		files.descriptor[i] = 0;
}

bool proc_is_open(void)
{
	return files.descriptor[PROC_MAPS] > 0;
}

int proc_task(void)
{
	return files.task;
}

int proc_descriptor(enum proc_file file)
{
	return files.descriptor[file] - 1;
}

/* The second number of statm, in pages. */
uint64_t proc_resident_bytes(void)
{
	char text[128];
	long file = SYSCALL(openat, AT_FDCWD, "/proc/thread-self/statm", O_RDONLY | O_CLOEXEC);
	long bytes, at = 0;
	uint64_t pages = 0;

	if (syscall_failed(file))
		return UINT64_MAX;
	bytes = SYSCALL(read, file, text, sizeof(text) - 1);
	SYSCALL(close, file);
	if (bytes <= 0)
		return UINT64_MAX;
	text[bytes] = 0;
	while (text[at] && text[at] != ' ')
		at++;
	for (at += text[at] == ' '; text[at] >= '0' && text[at] <= '9'; at++)
		pages = pages * 10 + (uint64_t)(text[at] - '0');
	return pages > 0 ? pages * OS_PAGE_BYTES : UINT64_MAX;
}

/* ---- tasks ---- */

bool task_walk_begin(struct task_walk *walk)
{
	walk->bytes = 0;
	walk->offset = 0;
	walk->failed = syscall_failed(SYSCALL(lseek, proc_descriptor(PROC_TASKS), 0, SEEK_SET));
	return !walk->failed;
}

static bool refill(struct task_walk *walk)
{
	long bytes = SYSCALL(
		getdents64, proc_descriptor(PROC_TASKS), walk->buffer, sizeof(walk->buffer));

	walk->offset = 0;
	walk->bytes = syscall_failed(bytes) ? 0 : bytes;
	walk->failed = syscall_failed(bytes);
	return walk->bytes > 0;
}

/* A number, or 0 for "." and "..". */
static int parse_number(const char *name)
{
	int tid = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		tid = tid * 10 + (*name - '0');
	return tid;
}

bool task_walk_next(struct task_walk *walk, int *ret_tid)
{
	for (;;) {
		const struct directory_entry *entry;
		int tid;

		if (walk->offset >= walk->bytes && !refill(walk))
			return false;
		entry = (const struct directory_entry *)(walk->buffer + walk->offset);
		walk->offset += entry->bytes;
		tid = parse_number(entry->name);
		if (tid != 0) {
			*ret_tid = tid;
			return true;
		}
	}
}

bool task_count(uint32_t *ret_count)
{
	enum { LINKS_OF_A_FOLDER = 2 };
	struct stat status;

	if (syscall_failed(SYSCALL(fstat, proc_descriptor(PROC_TASKS), &status)) ||
		status.st_nlink <= LINKS_OF_A_FOLDER)
		return false;
	*ret_count = (uint32_t)status.st_nlink - LINKS_OF_A_FOLDER;
	return true;
}

/* ---- descriptors ---- */

/* The folder shows a descriptor at its own number, so closing what was listed disturbs nothing. False: the folder could not be read to its end. */
static bool close_listed(int folder, int kept)
{
	char buffer[2048];
	long bytes;

	while ((bytes = SYSCALL(getdents64, folder, buffer, sizeof(buffer))) > 0) {
		for (long offset = 0; offset < bytes;) {
			const struct directory_entry *entry =
				(const struct directory_entry *)(buffer + offset);
			int descriptor = parse_number(entry->name);

			offset += entry->bytes;
			if (entry->name[0] != '.' && descriptor != folder && descriptor != kept)
				SYSCALL(close, descriptor);
		}
	}
	return bytes == 0;
}

/* A table that is full has no room for the folder. */
static bool close_all_numbers(int kept)
{
	enum { NUMBERS_MAX = 1 << 20 };
	struct rlimit limit;

	if (syscall_failed(SYSCALL(prlimit64, 0, RLIMIT_NOFILE, 0, &limit)) ||
		limit.rlim_max > NUMBERS_MAX)
		return false;
	for (int descriptor = 0; descriptor < (int)limit.rlim_max; descriptor++) {
		if (descriptor != kept)
			SYSCALL(close, descriptor);
	}
	return true;
}

bool descriptors_close(int kept)
{
	char path[40];
	long folder = SYSCALL(
		openat, AT_FDCWD, "/proc/thread-self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_done;

	if (syscall_failed(folder)) {
		format_text(path, sizeof(path), "/proc/self/task/%ld/fd", SYSCALL(gettid));
		folder = SYSCALL(openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (syscall_failed(folder))
		return close_all_numbers(kept);
	is_done = close_listed((int)folder, kept);
	SYSCALL(close, folder);
	return is_done || close_all_numbers(kept);
}

/* A file of a task's folder. Negative: the task is gone, or it is unreadable. */
static long open_of_task(int tid, const char *name)
{
	char path[32];

	format_text(path, sizeof(path), "%d/%s", tid, name);
	return SYSCALL(openat, proc_descriptor(PROC_TASKS), path, O_RDONLY | O_CLOEXEC);
}

static bool parse_state(const char *text, size_t bytes, char *ret_state, unsigned *ret_flags)
{
	enum { SPACES_BEFORE_FLAGS = 6 }; // after the state: ppid pgrp session tty tpgid flags
	unsigned flags = 0;
	int spaces = 0;
	size_t i = bytes;

	while (i > 0 && text[i - 1] != ')')
		i--;
	if (i == 0 || i + 2 >= bytes)
		return false;
	*ret_state = text[i + 1];
	for (i = i + 2; i < bytes && spaces < SPACES_BEFORE_FLAGS; i++)
		spaces += text[i] == ' ';
	for (; i < bytes && text[i] >= '0' && text[i] <= '9'; i++)
		flags = flags * 10 + (unsigned)(text[i] - '0');
	*ret_flags = flags;
	return i < bytes;
}

bool task_read_state(int tid, char *ret_state, unsigned *ret_flags)
{
	char text[512];
	long file = open_of_task(tid, "stat"), bytes;

	if (syscall_failed(file))
		return false;
	bytes = SYSCALL(read, file, text, sizeof(text));
	SYSCALL(close, file);
	return !syscall_failed(bytes) && parse_state(text, (size_t)bytes, ret_state, ret_flags);
}

/* A line "name", colon, tab and a hexadecimal number, found byte by byte: lines before it may be of any length. */
struct hex_line {
	const char *name; // with the newline before it and the tab behind it
	size_t matched;
	uint64_t value;
	bool is_over;
};

static void hex_line_take(struct hex_line *line, char byte)
{
	if (line->is_over)
		return;
	if (line->name[line->matched] != 0)
		line->matched = byte == line->name[line->matched] ? line->matched + 1
								  : byte == line->name[0];
	else if (byte >= '0' && byte <= '9')
		line->value = line->value << 4 | (uint64_t)(byte - '0');
	else if (byte >= 'a' && byte <= 'f')
		line->value = line->value << 4 | (uint64_t)(byte - 'a' + 10);
	else
		line->is_over = true;
}

bool task_read_signals(int tid, uint64_t *ret_pending, uint64_t *ret_blocked)
{
	struct hex_line pending = {.name = "\nSigPnd:\t"}, blocked = {.name = "\nSigBlk:\t"};
	long file = open_of_task(tid, "status"), bytes;
	char text[512];

	if (syscall_failed(file))
		return false;
	while (!blocked.is_over && (bytes = SYSCALL(read, file, text, sizeof(text))) > 0) {
		for (long i = 0; i < bytes; i++) {
			hex_line_take(&pending, text[i]);
			hex_line_take(&blocked, text[i]);
		}
	}
	SYSCALL(close, file);
	if (!pending.is_over || !blocked.is_over)
		return false;
	*ret_pending = pending.value;
	*ret_blocked = blocked.value;
	return true;
}
