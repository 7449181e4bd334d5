#include "core/os/whole_file.h"

#include "core/base/format.h"
#include "core/os/syscall.h"

#include <fcntl.h>

static uint64_t process_id(void)
{
	return (uint64_t)SYSCALL(getpid);
}

static void expand_path(const char *pattern, char *path)
{
	size_t length = 0;

	for (; *pattern && length + 24 < WHOLE_FILE_PATH_BYTES; pattern++) {
		if (pattern[0] == '%' && pattern[1] == 'p') {
			length += format_text(
				path + length, WHOLE_FILE_PATH_BYTES - length, "%lu", process_id());
			pattern++;
		} else {
			path[length++] = *pattern;
			if (pattern[0] == '%' && pattern[1] == '%')
				pattern++;
		}
	}
	path[length] = 0;
}

bool whole_file_open(struct whole_file *file, const char *pattern)
{
	expand_path(pattern, file->path);
	format_text(file->beside, sizeof(file->beside), "%s.%lu.tmp", file->path, process_id());
	SYSCALL(unlinkat, AT_FDCWD, file->beside, 0);
	file->fd = SYSCALL(openat, AT_FDCWD, file->beside,
		O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return !syscall_failed(file->fd);
}

bool whole_file_write(struct whole_file *file, const void *bytes, size_t count)
{
	const char *next = bytes;

	while (count > 0) {
		long written = SYSCALL(write, file->fd, next, count);

		if (written <= 0)
			return false;
		next += written;
		count -= (size_t)written;
	}
	return true;
}

bool whole_file_write_at(struct whole_file *file, uint64_t offset, const void *bytes, size_t count)
{
	return SYSCALL(pwrite64, file->fd, bytes, count, offset) == (long)count;
}

bool whole_file_close(struct whole_file *file, bool keep)
{
	keep &= !syscall_failed(SYSCALL(close, file->fd));
	file->fd = -1;
	if (keep && !syscall_failed(
			    SYSCALL(renameat2, AT_FDCWD, file->beside, AT_FDCWD, file->path, 0)))
		return true;
	SYSCALL(unlinkat, AT_FDCWD, file->beside, 0);
	return false;
}
