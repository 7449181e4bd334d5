/*
 * Compiler attributes used across the tree. The only header in core/base that may test the compiler.
 */
#pragma once

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))
#define EXPORT __attribute__((visibility("default")))
#define HIDDEN \
	__attribute__(( \
		visibility("hidden"))) /* on variables of fast paths: no detour through the GOT */
#define UNUSED __attribute__((unused))
#define ALIGNED(bytes) __attribute__((aligned(bytes)))

/* Small variables that every fork's child writes: they lie side by side, for each page costs it a fault and a copy. */
#define WRITTEN_BY_FORK __attribute__((section("written_by_fork")))

/* Keeps `pointer` in a register or stack slot up to this point, so that a conservative scan of a thread stopped before it still
 * finds the address (a block must stay named until its state byte is stored). */
#define KEEP_ALIVE(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

/* Set by -Dchecks=true: full internal checks, `scan_off` and `scribble`. Always 0 or 1, so `if (CHECKS)` compiles both ways. */
#ifndef CHECKS
#define CHECKS 0
#endif

/* The first symbol version of libc on this machine: what all of them have. */
#if defined(__x86_64__)
#define LIBC_OLDEST "GLIBC_2.2.5"
#else
#define LIBC_OLDEST "GLIBC_2.17"
#endif
