/*
 * The test harness: what a C file with tests includes.
 *
 *	TEST(keeps_contents_across_realloc)
 *	{
 *		char *text = strdup("abc");
 *		CHECK_STR_EQ(text, "abc");
 *	}
 *
 *	TEST(double_free_is_fatal, .signal = SIGABRT, .error = "gasket: double free\n", .limit_seconds = 2)
 *	{
 *		...
 *	}
 *
 * A test program is such files and tests/harness/program.c, in C only. tests/harness/runner.cpp asks the program for its
 * tests (--list), registers each with googletest and runs each in a process of its own (--run NAME): by itself for programs
 * linked with libgasket_core.a, under LD_PRELOAD for the others. Output appears only if the test fails.
 *
 * A failed CHECK ends the whole process at once, with status TEST_FAILED and a line that names the values; it may stand in any
 * thread, and in a child made by fork (whose status its parent must look at: CHECK_CHILD_PASSES).
 * The macros evaluate each argument once and allocate nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { TEST_FAILED = 99, TEST_SKIPPED = 77, TEST_LIMIT_SECONDS = 60 };

/* One test and what is expected of it. Every field but name, run and file has a sensible zero. */
struct test {
	const char *name;
	const char *file;
	void (*run)(void);
	int limit_seconds; /* the process is killed and the test fails after this; 0: TEST_LIMIT_SECONDS */
	int signal;        /* the process must die of this signal */
	int exit_code;        /* the process must end with this status */
	const char *error;    /* standard error must be exactly this; NULL: not looked at */
	const char *contains; /* standard error must contain this; NULL: not looked at */
	const char *options;  /* appended to GASKET_OPTIONS */
	struct test *next;
};

/* Adds the test to the program's list, in the order of the source. Called before main. */
void test_register(struct test *test);

#define TEST(test_name, ...) \
	static void test_body_##test_name(void); \
	__attribute__((constructor)) static void test_register_##test_name(void) \
	{ \
		static struct test test = {.name = #test_name, \
			.file = __FILE__, \
			.run = test_body_##test_name, \
			##__VA_ARGS__}; \
		test_register(&test); \
	} \
	static void test_body_##test_name(void)

/* Ends the process as failed, with "file:line: " and the message on standard error. */
__attribute__((noreturn)) void test_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Ends the process as skipped. Say what the machine lacks; a test that can run here must not skip here. */
__attribute__((noreturn)) void test_skip(const char *reason);

__attribute__((noreturn)) void test_fail_compared(
	const char *file, int line, const char *text, long long left, long long right);
void test_check_string(
	const char *file, int line, const char *text, const char *left, const char *right);
void test_check_memory(const char *file, int line, const char *text, const void *left,
	const void *right, size_t bytes);

/* Waits for the child and fails unless it ended with status 0. */
void test_check_child(const char *file, int line, pid_t child);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			test_fail(__FILE__, __LINE__, "CHECK(%s) does not hold", #condition); \
	} while (0)

/* As CHECK, with a message of one's own: CHECK_MSG(count > 0, "count is %d", count). */
#define CHECK_MSG(condition, ...) \
	do { \
		if (!(condition)) \
			test_fail(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

/* Integers and pointers; pointers are compared and printed as numbers. */
#define TEST_COMPARE(left, sign, right) \
	do { \
		__typeof__(left) test_left = (left); \
		__typeof__(right) test_right = (right); \
		if (!(test_left sign test_right)) \
			test_fail_compared(__FILE__, __LINE__, #left " " #sign " " #right, \
				(long long)(intptr_t)test_left, (long long)(intptr_t)test_right); \
	} while (0)

#define CHECK_EQ(left, right) TEST_COMPARE(left, ==, right)
#define CHECK_NE(left, right) TEST_COMPARE(left, !=, right)
#define CHECK_LT(left, right) TEST_COMPARE(left, <, right)
#define CHECK_LE(left, right) TEST_COMPARE(left, <=, right)
#define CHECK_GT(left, right) TEST_COMPARE(left, >, right)
#define CHECK_GE(left, right) TEST_COMPARE(left, >=, right)
#define CHECK_NULL(pointer) CHECK_EQ((const void *)(pointer), (const void *)NULL)
#define CHECK_NOT_NULL(pointer) CHECK_NE((const void *)(pointer), (const void *)NULL)
#define CHECK_STR_EQ(left, right) \
	test_check_string(__FILE__, __LINE__, #left " == " #right, left, right)
#define CHECK_MEM_EQ(left, right, bytes) \
	test_check_memory(__FILE__, __LINE__, #left " == " #right, left, right, bytes)
#define CHECK_CHILD_PASSES(child) test_check_child(__FILE__, __LINE__, child)
