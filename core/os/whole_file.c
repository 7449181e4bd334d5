#include "core/os/whole_file.h"

#include "core/base/format.h"
#include "core/os/syscall.h"

#include <fcntl.h>
#include <sys/stat.h>

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

static bool begins_with(const char *text, const char *start)
{
	while (*start && *text == *start) {
		text++;
		start++;
	}
	return *start == 0;
}

/* A folder of the system's own, where nobody else can put links; but for the parts that anybody may write to. */
static bool is_in_dev(const char *path)
{
	return begins_with(path, "/dev/") && !begins_with(path, "/dev/shm/") &&
	       !begins_with(path, "/dev/mqueue/");
}

static bool is_no_file(const char *path)
{
	struct stat status;

	return !syscall_failed(SYSCALL(newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW)) &&
	       (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) ||
		       S_ISBLK(status.st_mode));
}

bool whole_file_open(struct whole_file *file, const char *pattern)
{
	expand_path(pattern, file->path);
	file->is_in_place = is_in_dev(file->path) || is_no_file(file->path);
	if (file->is_in_place) {
		// not for ever, if nobody reads a pipe
		file->fd = SYSCALL(openat, AT_FDCWD, file->path,
			O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
				(is_in_dev(file->path) ? 0 : O_NOFOLLOW));
		return !syscall_failed(file->fd);
	}
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
	if (file->is_in_place)
		return keep;
	if (keep && !syscall_failed(
			    SYSCALL(renameat2, AT_FDCWD, file->beside, AT_FDCWD, file->path, 0)))
		return true;
	SYSCALL(unlinkat, AT_FDCWD, file->beside, 0);
	return false;
}
