/*
 * Two kinds of "this cannot be": check() for our own mistakes (checking builds only, no side effects inside), fatal() for damaged
 * metadata (always on, one fixed string). A program's mistakes are neither: they are counted and ignored.
 */
#pragma once

#include "core/base/attr.h"

/* Prints "gasket: fatal: MESSAGE" to fd 2 with one write and ends the process by SIGABRT. */
__attribute__((noreturn)) COLD void fatal(const char *message);

#define check(condition) \
	do { \
		if (CHECKS && UNLIKELY(!(condition))) \
			fatal("check failed: " #condition); \
	} while (0)
