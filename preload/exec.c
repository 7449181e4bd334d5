/*
 * The family of exec: the process becomes another program, or goes on as if nothing had been. The call may block (the file lies on a slow file system), so it is gated like
 * those of blocking.c. libc's variants are made from four of them here, so that none passes by.
 */
#include "core/gc/stop_signal.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"
#include "preload/gated.h"
#include "preload/real.h"

#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

/* The page belongs to the program; one that could not be replaced after all mostly ends. */
static void leave_program(void)
{
	stats_unpublish();
	gate_forbid_signals();
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
	GATED(WORDS(path, arguments, environment));

	leave_program();
	return REAL(execve)(path, arguments, environment);
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
	GATED(WORDS(file, arguments, environment));

	leave_program();
	return REAL(execvpe)(file, arguments, environment);
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
	GATED(WORDS(fd, arguments, environment));

	leave_program();
	return REAL(fexecve)(fd, arguments, environment);
}

EXPORT int execveat(
	int folder, const char *path, char *const arguments[], char *const environment[], int flags)
{
	GATED(WORDS(folder, path, arguments, environment));

	leave_program();
	return REAL(execveat)(folder, path, arguments, environment, flags);
}

long syscall_exec(long number, long a, long b, long c, long d, long e)
{
	long result;
	GATED(WORDS(a, b, c, d, e));

	leave_program();
	result = syscall6(number, a, b, c, d, e, 0);
	return syscall_failed_with((int)-result);
}

EXPORT int execv(const char *path, char *const arguments[])
{
	return execve(path, arguments, environ);
}

EXPORT int execvp(const char *file, char *const arguments[])
{
	return execvpe(file, arguments, environ);
}

/* Counts the arguments of execl and friends, without the final NULL. */
#define COUNT_ARGUMENTS(count, first) \
	va_list list; \
	size_t count = 1; \
	va_start(list, first); \
	while (va_arg(list, char *)) \
		count++; \
	va_end(list)

/* Copies them, final NULL included, and leaves `list` behind it. */
#define COPY_ARGUMENTS(vector, first) \
	va_start(list, first); \
	vector[0] = (char *)first; \
	for (size_t i_ = 1; (vector[i_] = va_arg(list, char *)) != 0; i_++) \
		;

EXPORT int execl(const char *path, const char *first, ...)
{
	COUNT_ARGUMENTS(count, first);
	char *arguments[count + 1];

	COPY_ARGUMENTS(arguments, first);
	va_end(list);
	return execve(path, arguments, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
	COUNT_ARGUMENTS(count, first);
	char *arguments[count + 1];

	COPY_ARGUMENTS(arguments, first);
	va_end(list);
	return execvpe(file, arguments, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
	COUNT_ARGUMENTS(count, first);
	char *arguments[count + 1], **environment;

	COPY_ARGUMENTS(arguments, first);
	environment = va_arg(list, char **);
	va_end(list);
	return execve(path, arguments, environment);
}
