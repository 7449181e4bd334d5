/*
 * The main function of every C test program.
 *
 *	PROGRAM --list		one line a test: name, file, limit, signal, exit code, options, error, contains; fields are separated
 *				by tabs, text is hexadecimal ("-" for none)
 *	PROGRAM --run NAME	runs that one test in this process
 *	PROGRAM			runs every test, each in a fork: for a debugger or a quick look
 *
 * Under LD_PRELOAD the whole process runs on the allocator under test, so this file allocates nothing.
 */
#include "tests/harness/test.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test *first;
static struct test **end = &first;

void test_register(struct test *test)
{
	*end = test;
	end = &test->next;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	char text[2000];
	va_list arguments;

	va_start(arguments, format);
	int used = snprintf(text, sizeof(text), "%s:%d: ", file, line);
	vsnprintf(text + used, sizeof(text) - (size_t)used, format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "%s\n", text);
	_exit(TEST_FAILED);
}

void test_skip(const char *reason)
{
	dprintf(STDERR_FILENO, "skipped: %s\n", reason);
	_exit(TEST_SKIPPED);
}

void test_fail_compared(
	const char *file, int line, const char *text, long long left, long long right)
{
	test_fail(file, line, "CHECK(%s) does not hold: %lld (0x%llx) and %lld (0x%llx)", text,
		left, (unsigned long long)left, right, (unsigned long long)right);
}

void test_check_string(
	const char *file, int line, const char *text, const char *left, const char *right)
{
	if (left && right ? strcmp(left, right) != 0 : left != right)
		test_fail(file, line, "CHECK(%s) does not hold:\n  left:  %s\n  right: %s", text,
			left ? left : "NULL", right ? right : "NULL");
}

void test_check_memory(const char *file, int line, const char *text, const void *left,
	const void *right, size_t bytes)
{
	const unsigned char *a = left, *b = right;

	for (size_t i = 0; i < bytes; i++)
		if (a[i] != b[i])
			test_fail(file, line,
				"CHECK(%s) does not hold at byte %zu of %zu: 0x%02x and 0x%02x",
				text, i, bytes, a[i], b[i]);
}

void test_check_child(const char *file, int line, pid_t child)
{
	int status;

	if (child < 0)
		test_fail(file, line, "fork failed: errno %d", errno);
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			test_fail(file, line, "waitpid failed: errno %d", errno);
	if (WIFSIGNALED(status))
		test_fail(file, line, "the child died of signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		test_fail(file, line, "the child ended with status %d", WEXITSTATUS(status));
}

static void print_text(const char *text)
{
	dprintf(STDOUT_FILENO, text ? "\t=" : "\t-");
	for (; text && *text; text++)
		dprintf(STDOUT_FILENO, "%02x", (unsigned char)*text);
}

static void list_tests(void)
{
	for (const struct test *test = first; test; test = test->next) {
		dprintf(STDOUT_FILENO, "%s\t%s\t%d\t%d\t%d", test->name, test->file,
			test->limit_seconds ? test->limit_seconds : TEST_LIMIT_SECONDS,
			test->signal, test->exit_code);
		print_text(test->options);
		print_text(test->error);
		print_text(test->contains);
		dprintf(STDOUT_FILENO, "\n");
	}
}

static const struct test *find_test(const char *name)
{
	const struct test *test = first;

	while (test && strcmp(test->name, name) != 0)
		test = test->next;
	return test;
}

/* For people: no limits and no options, and only exit code and signal are looked at. */
static int run_all(void)
{
	int failed = 0;

	for (const struct test *test = first; test; test = test->next) {
		int status = 0;
		pid_t child = fork();

		if (child == 0) {
			test->run();
			_exit(0);
		}
		waitpid(child, &status, 0);
		bool passed = WIFSIGNALED(status)
				      ? WTERMSIG(status) == test->signal
				      : !test->signal && WEXITSTATUS(status) == test->exit_code;
		failed += !passed;
		dprintf(STDOUT_FILENO, "%s %s\n", passed ? "ok    " : "FAILED", test->name);
	}
	return failed ? 1 : 0;
}

int main(int count, char **arguments)
{
	if (count == 1)
		return run_all();
	if (count == 2 && strcmp(arguments[1], "--list") == 0) {
		list_tests();
		return 0;
	}
	const struct test *test =
		count == 3 && strcmp(arguments[1], "--run") == 0 ? find_test(arguments[2]) : NULL;
	if (!test) {
		dprintf(STDERR_FILENO, "usage: %s [--list | --run NAME]\n", arguments[0]);
		return 2;
	}
	test->run();
	return 0;
}
