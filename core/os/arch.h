/*
 * The few things that depend on the CPU and are worth an intrinsic. Scalar code is the reference; a test compares both.
 */
#pragma once

#include "core/base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#endif

/* Other CPUs see stores in the order in which they were made: who sees the second sees the first. */
#if defined(__x86_64__)
#define STORES_IN_ORDER true
#else
#define STORES_IN_ORDER false
#endif

/* Bit i is set when bytes[i] == value, for 64 bytes. The bytes may change meanwhile: each bit is right for some moment. Address 64-aligned. */
static inline uint64_t bytes_equal_mask(const uint8_t *bytes, uint8_t value)
{
	uint64_t mask = 0;
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
	const __m128i wanted = _mm_set1_epi8((char)value);

	for (int i = 0; i < 4; i++) {
		__m128i chunk = _mm_load_si128((const __m128i *)bytes + i);

		mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(chunk, wanted))
			<< (16 * i);
	}
#else
	for (int i = 0; i < 64; i++)
		mask |= (uint64_t)(load_acquire(&bytes[i]) == value)
			<< i; // pairs with the sweep's release of FREE
#endif
	return mask;
}

/* The CPU has 256-bit integer instructions, and the kernel keeps their registers. */
static inline bool cpu_has_avx2(void)
{
#if defined(__x86_64__)
	const unsigned os_keeps_registers = 1u << 27, avx2 = 1u << 5, sse_and_avx = 6;
	unsigned a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & os_keeps_registers) == 0)
		return false;
	__asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(a), "=d"(d) : "c"(0)); // xgetbv
	return (a & sse_and_avx) == sse_and_avx && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
	       (b & avx2) != 0;
#else
	return false;
#endif
}

/*
 * Memory behind protection keys (x86-64, where kernel and CPU have them): what this thread may do with each key is in a register of its own, which it may change
 * without the kernel. Opens all keys; returns what to put back, or PROTECTION_KEYS_NONE.
 */
#define PROTECTION_KEYS_NONE UINT64_MAX

static inline uint64_t protection_keys_open(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d, former;

	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (c & 1u << 4) == 0) // OSPKE
		return PROTECTION_KEYS_NONE;
	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(former), "=d"(d) : "c"(0));      // rdpkru
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0), "c"(0), "d"(0) : "memory"); // wrpkru
	return former;
#else
	return PROTECTION_KEYS_NONE;
#endif
}

static inline void protection_keys_restore(uint64_t former)
{
#if defined(__x86_64__)
	if (former != PROTECTION_KEYS_NONE)
		__asm__ volatile(".byte 0x0f, 0x01, 0xef"
				 :
				 : "a"((unsigned)former), "c"(0), "d"(0)
				 : "memory");
#else
	(void)former;
#endif
}
