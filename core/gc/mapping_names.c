/*
 * The kernel's list is read once for addresses that only grow, else from its beginning.
 */
#include "core/gc/mapping_names.h"

#include "core/base/format.h"
#include "core/os/syscall.h"
#include "core/profile/findings_writer.h"

#include <fcntl.h>

void mapping_names_end(struct mapping_names *names)
{
	if (names->is_open)
		SYSCALL(close, names->file);
	names->is_open = false;
}

static void rewind_names(struct mapping_names *names)
{
	mapping_names_end(names);
	names->file = SYSCALL(openat, AT_FDCWD, "/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	names->is_open = !syscall_failed(names->file);
	names->used = names->next = 0;
	names->start = names->end = 0;
}

/* False at the end. What does not fit is left out. */
static bool next_line(struct mapping_names *names)
{
	size_t length = 0;

	for (;;) {
		if (names->next == names->used) {
			long bytes =
				SYSCALL(read, names->file, names->buffer, sizeof(names->buffer));

			if (syscall_failed(bytes) || bytes == 0)
				return false;
			names->used = (size_t)bytes;
			names->next = 0;
		}
		if (names->buffer[names->next] == '\n')
			break;
		if (length + 1 < sizeof(names->line))
			names->line[length++] = names->buffer[names->next];
		names->next++;
	}
	names->next++;
	names->line[length] = 0;
	return true;
}

static const char *take_hexadecimal(const char *at, uintptr_t *ret_number)
{
	*ret_number = 0;
	for (;; at++) {
		unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
				 : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a' + 10)
							    : 16;

		if (digit == 16)
			return at;
		*ret_number = *ret_number * 16 + digit;
	}
}

/* "start-end rwxp offset device inode   name". False: there is no such mapping. */
static bool find_mapping(struct mapping_names *names, uintptr_t address)
{
	if (names->start > address || names->end == 0)
		rewind_names(names);
	while (names->end <= address) {
		const char *at;

		if (!next_line(names))
			return false;
		at = take_hexadecimal(names->line, &names->start);
		take_hexadecimal(at + (*at == '-'), &names->end);
		names->name = 0;
	}
	return names->start <= address;
}

static const char *last_column(const char *line)
{
	for (int column = 0; column < 5; column++) {
		while (*line && *line != ' ')
			line++;
		while (*line == ' ')
			line++;
	}
	return line;
}

uint32_t mapping_name_at(
	struct mapping_names *names, struct findings_writer *writer, uintptr_t address)
{
	const char *name;
	char text[64];

	if (!find_mapping(names, address))
		return 0;
	if (names->name == 0) {
		name = last_column(names->line);
		format_text(text, sizeof(text), "[anonymous %lx-%lx]", names->start, names->end);
		names->name = findings_string(writer, *name ? name : text);
	}
	return names->name;
}
