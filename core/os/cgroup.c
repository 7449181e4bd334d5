/*
 * A line of /proc/self/cgroup is "0::PATH" (version 2) or "NUMBER:CONTROLLER,...:PATH". In a container PATH may begin outside of what is mounted: whatever part of
 * it exists below the mount is looked at, and the mount itself.
 */
#include "core/os/cgroup.h"

#include "core/base/arith.h"
#include "core/base/format.h"
#include "core/os/syscall.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { TEXT_BYTES = 4096, PATH_BYTES = 1024, NUMBER_BYTES = 32 };

/* Larger ones mean none: version 1 says "none" by a number near 2^63. */
#define LIMIT_MAX (1ull << 60)

/* Length, 0 if it cannot be read. The text is terminated. */
static size_t read_text(const char *path, char *text, size_t capacity)
{
	long file = SYSCALL(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC), bytes;

	text[0] = 0;
	if (syscall_failed(file))
		return 0;
	bytes = SYSCALL(read, file, text, capacity - 1);
	SYSCALL(close, file);
	if (bytes <= 0)
		return 0;
	text[bytes] = 0;
	return (size_t)bytes;
}

/* The number in a file; UINT64_MAX without one ("max"). */
static uint64_t read_limit(const char *folder, const char *name)
{
	char path[PATH_BYTES + NUMBER_BYTES], text[NUMBER_BYTES];
	uint64_t number = 0;
	const char *at = text;

	format_text(path, sizeof(path), "%s/%s", folder, name);
	if (read_text(path, text, sizeof(text)) == 0 || *at < '0' || *at > '9')
		return UINT64_MAX;
	for (; *at >= '0' && *at <= '9'; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	return number;
}

static bool has_word(const char *list, const char *end, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at + length <= end; at++) {
		if ((at == list || at[-1] == ',') && memcmp(at, word, length) == 0 &&
			(at + length == end || at[length] == ','))
			return true;
	}
	return false;
}

/* The lowest limit in `folder` and those above it, down to the one of `mount_length` bytes. */
static uint64_t limit_above(char *folder, size_t mount_length, bool is_version_2)
{
	uint64_t limit = UINT64_MAX;
	size_t length = strlen(folder);

	for (;;) {
		while (length > mount_length && folder[length - 1] == '/')
			length--;
		folder[length] = 0;
		if (is_version_2)
			limit = min_u64(limit, min_u64(read_limit(folder, "memory.max"),
						       read_limit(folder, "memory.high")));
		else
			limit = min_u64(limit, read_limit(folder, "memory.limit_in_bytes"));
		if (length <= mount_length)
			return limit;
		while (length > mount_length && folder[length - 1] != '/')
			length--;
	}
}

/* One line, without its end. */
static uint64_t limit_of_line(const char *line, const char *end, const char *mount)
{
	const char *controllers = memchr(line, ':', (size_t)(end - line)), *path;
	char folder[PATH_BYTES], copy[PATH_BYTES];
	bool is_version_2;
	size_t mount_length;

	if (!controllers)
		return UINT64_MAX;
	controllers++;
	path = memchr(controllers, ':', (size_t)(end - controllers));
	if (!path || (size_t)(end - path) > sizeof(copy))
		return UINT64_MAX;
	is_version_2 = path == controllers;
	if (!is_version_2 && !has_word(controllers, path, "memory"))
		return UINT64_MAX;
	memcpy(copy, path + 1, (size_t)(end - path - 1));
	copy[end - path - 1] = 0;
	mount_length =
		format_text(folder, sizeof(folder), is_version_2 ? "%s" : "%s/memory", mount);
	if (mount_length + strlen(copy) >= sizeof(folder))
		return UINT64_MAX;
	format_text(folder + mount_length, sizeof(folder) - mount_length, "%s", copy);
	return limit_above(folder, mount_length, is_version_2);
}

uint64_t cgroup_memory_limit_in(const char *membership, const char *mount)
{
	char text[TEXT_BYTES];
	size_t length = read_text(membership, text, sizeof(text));
	uint64_t limit = UINT64_MAX;

	for (const char *line = text, *end = text + length; line < end;) {
		const char *next = memchr(line, '\n', (size_t)(end - line));

		next = next ? next : end;
		limit = min_u64(limit, limit_of_line(line, next, mount));
		line = next + 1;
	}
	return limit < LIMIT_MAX ? limit : 0;
}

uint64_t cgroup_memory_limit(void)
{
	return cgroup_memory_limit_in("/proc/self/cgroup", "/sys/fs/cgroup");
}
