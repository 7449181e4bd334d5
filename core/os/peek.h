/*
 * Reading memory of this process that may vanish meanwhile, from any thread: the kernel copies, so a bad address is an answer and no fault.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies all bytes, or returns false (part of them may have been copied): not mapped, not readable, or the kernel refuses the call. */
bool peek(void *buffer, uintptr_t address, size_t bytes);

/*
 * May a pointer that the program passes to the kernel be read here, too? Asks without process_vm_readv, by a call that no filter refuses who lets a program
 * live. Its price is that of one short system call for 8 bytes. A bad pointer is the kernel's to refuse, and must not fault in a wrapper.
 */
bool peek_is_readable(const void *address, size_t bytes);

/* Copies as much as is readable from the front and returns its size. */
size_t peek_some(void *buffer, uintptr_t address, size_t bytes);
