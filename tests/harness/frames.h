/*
 * Functions that are really there, with frames of their own, whatever the compiler thinks of them; and leaving nothing behind on the stack and in registers. Plain C and C++, also
 * for programs that know no harness.
 */
#pragma once

#include <stddef.h>

/* A function whose name and frame a stack must show. */
#ifdef __clang__
#define KEEP __attribute__((noinline))
#else
#define KEEP __attribute__((noinline, noclone))
#endif

/* Behind a call that is the last thing a function does: no tail call. */
#define AFTER_CALL __asm__ volatile("" : : : "memory")

/* Overwrites so many bytes of the dead part of the stack, from within a function that is called for it. */
#define WIPE_STACK(count) \
	do { \
		volatile char dead_[count]; \
\
		for (size_t i_ = 0; i_ < sizeof(dead_); i_++) \
			dead_[i_] = 0; \
	} while (0)

/* All registers that a call may change. */
static inline __attribute__((always_inline)) void wipe_registers(void)
{
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroall" ::: "memory");
	__asm__ volatile(
		"xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\txor %%esi, %%esi\n\txor %%edi, %%edi\n\t"
		"xor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\txor %%r11d, %%r11d" ::
			: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
}
