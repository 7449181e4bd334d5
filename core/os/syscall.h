/*
 * Raw system calls: no libc, no errno, no cancellation point. The result is the kernel's: negative values from -4095 to -1 are -errno.
 * Everything in core/ and scanners/ enters the kernel through here, so that a stopped, dying or forked thread needs no libc state.
 */
#pragma once

#include "core/os/fault.h"

#include <stdbool.h>
#include <sys/syscall.h>

/* Of kernels that are younger than the headers may be. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	long fault;

	if (CHECKS && UNLIKELY(fault_is_armed) && fault_strikes(number, &fault))
		return fault;
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
#else
#error "unknown machine: add its system call instruction here"
#endif
}

#define SYSCALL_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define SYSCALL_0(n) syscall6(n, 0, 0, 0, 0, 0, 0)
#define SYSCALL_1(n, a) syscall6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYSCALL_2(n, a, b) syscall6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSCALL_3(n, a, b, c) syscall6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSCALL_4(n, a, b, c, d) syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYSCALL_5(n, a, b, c, d, e) \
	syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYSCALL_6(n, a, b, c, d, e, f) \
	syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* SYSCALL(write, fd, buffer, bytes): any system call by name with 0 to 6 arguments, pointers or integers. */
#define SYSCALL(name, ...) \
	SYSCALL_PICK(0, ##__VA_ARGS__, SYSCALL_6, SYSCALL_5, SYSCALL_4, SYSCALL_3, SYSCALL_2, \
		SYSCALL_1, SYSCALL_0) \
	(SYS_##name, ##__VA_ARGS__)

static inline bool syscall_failed(long result)
{
	return (unsigned long)result >= (unsigned long)-4095L;
}
