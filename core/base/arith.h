/*
 * Arithmetic on sizes that come from outside. Sizes pass through here once, in preload/ and core/alloc; inside they are asserted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest block any allocator may hand out: differences of pointers into it must fit ptrdiff_t. */
#define BLOCK_BYTES_MAX ((size_t)PTRDIFF_MAX)

/* *ret_product = a * b; false (and untouched) on overflow. */
static inline bool multiply_size(size_t a, size_t b, size_t *ret_product)
{
	size_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*ret_product = product;
	return true;
}

static inline bool is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

/* Rounds up to a multiple of `unit`, a power of two. The caller has excluded overflow. */
static inline uintptr_t align_up(uintptr_t value, uintptr_t unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

static inline uintptr_t align_down(uintptr_t value, uintptr_t unit)
{
	return value & ~(unit - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* low <= address < high. */
static inline bool range_contains(uintptr_t low, uintptr_t high, uintptr_t address)
{
	return address >= low && address < high;
}
