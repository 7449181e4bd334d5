/*
 * Reading memory of this process that may vanish meanwhile, from any thread: the kernel copies, so a bad address is an answer and no fault.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies all bytes, or returns false (part of them may have been copied): not mapped, not readable, or the kernel refuses the call. */
bool peek(void *buffer, uintptr_t address, size_t bytes);

/* Copies as much as is readable from the front and returns its size. */
size_t peek_some(void *buffer, uintptr_t address, size_t bytes);
