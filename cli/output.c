/*
 * The file beside is made anew, so a link that somebody has put there is not followed. Where none can be made (the directory is somebody else's, the file is ours) the
 * old one is written over.
 */
#include "cli/output.h"

#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_regular_or_missing(const char *path)
{
	struct stat status;

	return lstat(path, &status) ? errno == ENOENT : S_ISREG(status.st_mode);
}

/* Descriptor of a new file beside `path`; -1: there is none, and `beside` is NULL. */
static int open_beside(struct output *output, mode_t mode)
{
	int fd;

	if (asprintf(&output->beside, "%s.%d.tmp", output->path, getpid()) < 0)
		fail(EXIT_FAILED, "no memory");
	unlink(output->beside);
	fd = open(output->beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (int)mode);
	if (fd < 0) {
		int error = errno;

		free(output->beside);
		output->beside = NULL;
		errno = error;
	}
	return fd;
}

bool output_open(struct output *output, const char *path, FILE *stream, mode_t mode)
{
	int fd = -1;

	*output = (struct output){.stream = stream, .path = path};
	if (!path)
		return true;
	if (is_regular_or_missing(path))
		fd = open_beside(output, mode);
	if (fd < 0)
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, (int)mode);
	output->stream = fd < 0 ? NULL : fdopen(fd, "w");
	if (!output->stream)
		warn_line("%s: %s", path, strerror(errno));
	return output->stream != NULL;
}

/* A device or pipe is not opened to try: that may wait, or be seen by who reads it. */
bool output_is_possible(const char *path)
{
	struct output output = {.path = path};
	struct stat status;
	int fd, error = EISDIR;

	if (!is_regular_or_missing(path)) {
		if (stat(path, &status) || !S_ISDIR(status.st_mode))
			return true;
	} else {
		fd = open_beside(&output, 0600);
		error = errno;
		if (fd >= 0) {
			close(fd);
			unlink(output.beside);
			free(output.beside);
			return true;
		}
		if (!access(path, W_OK))
			return true;
	}
	warn_line("%s: %s", path, strerror(error));
	return false;
}

/* Not an error of close() alone: ferror() knows of those before. */
static bool finish_stream(struct output *output)
{
	bool done = !output->failed && !fflush(output->stream) && !ferror(output->stream);
	int error = errno;

	if (!output->path) {
		clearerr(
			output->stream); // it is told here, and not again at the end of the command
	} else if (fclose(output->stream) && done) {
		error = errno;
		done = false;
	}
	errno = error;
	return done;
}

bool output_close(struct output *output)
{
	bool done = finish_stream(output);
	int error;

	if (done && output->beside)
		done = rename(output->beside, output->path) == 0;
	error = errno;
	if (!done) {
		if (output->beside)
			unlink(output->beside);
		warn_line("%s: %s", output->path ? output->path : "output", strerror(error));
	}
	free(output->beside);
	*output = (struct output){0};
	return done;
}

/* What could not be read ends the copy as what could not be written does. */
bool output_copy(int from, const char *path, mode_t mode)
{
	static char buffer[1 << 18];
	struct output output;
	ssize_t bytes;

	if (!output_open(&output, path, NULL, mode))
		return false;
	while ((bytes = read(from, buffer, sizeof(buffer))) > 0)
		fwrite(buffer, 1, (size_t)bytes, output.stream);
	output.failed = bytes < 0;
	return output_close(&output);
}

void output_demand_open(struct output *output, const char *path, FILE *stream, mode_t mode)
{
	if (!output_open(output, path, stream, mode))
		exit(EXIT_FAILED);
}

void output_demand_close(struct output *output)
{
	if (!output_close(output))
		exit(EXIT_FAILED);
}
