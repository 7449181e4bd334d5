/*
 * The C halves of jump.S.
 */
#pragma once

#include <stdint.h>
#include <ucontext.h>

/* What syscall(number, ...) does: 0 the call, 1 the call inside the gate, 2 the call as its wrapper makes it (the collector thread ended; exec). */
enum { SYSCALL_DIRECT, SYSCALL_GATED, SYSCALL_GUARDED };
extern const uint8_t syscall_way[512] __attribute__((visibility("hidden")));

long syscall_gated(long number, long a, long b, long c, long d, long e, long f)
	__attribute__((visibility("hidden")));

long syscall_guarded(long number, long a, long b, long c, long d, long e, long f)
	__attribute__((visibility("hidden")));

/* execve and execveat: no signal of ours may be pending when the program is replaced. */
long syscall_exec(long number, long a, long b, long c, long d, long e)
	__attribute__((visibility("hidden")));

/* Sets errno; returns -1. */
long syscall_failed_with(int error) __attribute__((visibility("hidden")));

/* Each notes the call and returns libc's function, to which the wrapper jumps. */
void *jump_dlopen(const char *file, int mode) __attribute__((visibility("hidden")));
void *jump_vfork(void) __attribute__((visibility("hidden")));
void *jump_clone(int flags) __attribute__((visibility("hidden")));
void *jump_makecontext(const ucontext_t *context) __attribute__((visibility("hidden")));
