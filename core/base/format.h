/*
 * Text without stdio: bounded, allocates nothing, async-signal-safe.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * Writes formatted text and a final 0 into `buffer` of `capacity` bytes (at least 1); longer text is cut. Knows %s %c %d %u %x %p and %%, the
 * length modifiers l ll z, and a minimum width with optional 0 or - flag. Doubles: %f is not known; print thousandths as integers.
 * Returns the number of bytes before the final 0.
 */
__attribute__((format(printf, 3, 4))) size_t format_text(
	char *buffer, size_t capacity, const char *format, ...);
size_t format_text_list(char *buffer, size_t capacity, const char *format, va_list arguments);
