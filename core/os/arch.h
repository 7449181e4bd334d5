/*
 * The few things that depend on the CPU and are worth an intrinsic. Scalar code is the reference; a test compares both.
 */
#pragma once

#include "core/base/atomic.h"

#include <stdint.h>

#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#endif

/* Bit i is set when bytes[i] == value, for 64 bytes. The bytes may change meanwhile: each bit is right for some moment. Address 64-aligned. */
static inline uint64_t bytes_equal_mask(const uint8_t *bytes, uint8_t value)
{
	uint64_t mask = 0;
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
	const __m128i wanted = _mm_set1_epi8((char)value);

	for (int i = 0; i < 4; i++) {
		__m128i chunk = _mm_load_si128((const __m128i *)bytes + i);

		mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(chunk, wanted)) << (16 * i);
	}
#else
	for (int i = 0; i < 64; i++)
		mask |= (uint64_t)(load_acquire(&bytes[i]) == value) << i; // pairs with the sweep's release of FREE
#endif
	return mask;
}
