/*
 * The malloc family with glibc's promises: errno, zero sizes, alignments. The work is core/alloc's; here sizes from outside are checked once.
 *
 * glibc's corner cases, compared row by row by tests/api: malloc(0) is a block of its own; realloc(p, 0) frees and returns NULL; sizes above PTRDIFF_MAX and
 * products that overflow fail with ENOMEM; success and free leave errno alone; memalign rounds odd alignments up to a power of two.
 */
#include "preload/malloc.h"

#include "core/alloc/alloc.h"
#include "core/alloc/fast.h"
#include "core/alloc/sized_free.h"
#include "core/base/arith.h"
#include "core/base/attr.h"
#include "core/base/bits.h"
#include "core/heap/size_class.h"
#include "core/os/memory.h"

#include <errno.h>

/* The same function under another exported name: half a pair must never be glibc's. */
#define ALIAS(name) __attribute__((alias(#name), visibility("default")))

static COLD void *out_of_memory(void)
{
	errno = ENOMEM;
	return 0;
}

static NOINLINE void *small_slow(unsigned class, size_t granules)
{
	void *block = alloc_small_slow(class, granules);

	return LIKELY(block != 0) ? block : out_of_memory();
}

static NOINLINE void *slow(size_t size)
{
	void *block = alloc_slow(size);

	return LIKELY(block != 0) ? block : out_of_memory();
}

EXPORT void *malloc(size_t size)
{
	return alloc_malloc_fast(size, small_slow, slow);
}

EXPORT void free(void *pointer)
{
	alloc_free_fast(pointer);
}

EXPORT void *calloc(size_t count, size_t size)
{
	size_t bytes;
	void *block;

	if (!multiply_size(count, size, &bytes))
		return out_of_memory();
	block = alloc_zeroed(bytes);
	return LIKELY(block != 0) ? block : out_of_memory();
}

EXPORT void *realloc(void *pointer, size_t size)
{
	void *block;

	if (!pointer)
		return malloc(size);
	if (size == 0) {
		alloc_free(pointer);
		return 0;
	}
	block = alloc_realloc(pointer, size);
	return LIKELY(block != 0) ? block : out_of_memory();
}

EXPORT void *reallocarray(void *pointer, size_t count, size_t size)
{
	size_t bytes;

	return multiply_size(count, size, &bytes) ? realloc(pointer, bytes) : out_of_memory();
}

/* `alignment` is a power of two. */
static void *allocate_aligned(size_t alignment, size_t size)
{
	void *block = size <= BLOCK_BYTES_MAX - UNIT_BYTES ? alloc_aligned(alignment, size) : 0;

	return block ? block : out_of_memory();
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	if (alignment <= GRANULE_BYTES)
		return malloc(size);
	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return 0;
	}
	if (!is_power_of_two(alignment))
		alignment = (size_t)2 << highest_bit(alignment);
	return allocate_aligned(alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

EXPORT int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
	void *block;

	if (alignment % sizeof(void *) != 0 || !is_power_of_two(alignment))
		return EINVAL;
	block = memalign(alignment, size);
	if (!block)
		return ENOMEM;
	*ret_block = block;
	return 0;
}

EXPORT void *valloc(size_t size)
{
	return allocate_aligned(OS_PAGE_BYTES, size);
}

EXPORT void *pvalloc(size_t size)
{
	if (size > BLOCK_BYTES_MAX - OS_PAGE_BYTES)
		return out_of_memory();
	return allocate_aligned(OS_PAGE_BYTES, align_up(size, OS_PAGE_BYTES));
}

EXPORT size_t malloc_usable_size(void *pointer)
{
	return pointer ? alloc_usable_size(pointer) : 0;
}

/* C23: sizes and alignments are hints, for real programs get them wrong. */
EXPORT void free_sized(void *pointer, size_t size)
{
	if (alloc_checks_freed())
		alloc_check_freed(pointer, size, 0, false);
	alloc_free(pointer);
}

EXPORT void free_aligned_sized(void *pointer, size_t alignment, size_t size)
{
	if (alloc_checks_freed())
		alloc_check_freed(pointer, size, alignment, false);
	alloc_free(pointer);
}

ALIAS(free) void cfree(void *pointer);
ALIAS(malloc) void *__libc_malloc(size_t size);
ALIAS(calloc) void *__libc_calloc(size_t count, size_t size);
ALIAS(realloc) void *__libc_realloc(void *pointer, size_t size);
ALIAS(reallocarray) void *__libc_reallocarray(void *pointer, size_t count, size_t size);
ALIAS(free) void __libc_free(void *pointer);
ALIAS(free) void __libc_cfree(void *pointer);
ALIAS(memalign) void *__libc_memalign(size_t alignment, size_t size);
ALIAS(valloc) void *__libc_valloc(size_t size);
ALIAS(pvalloc) void *__libc_pvalloc(size_t size);

/* No alias: the compiler knows more about posix_memalign than may be said of another name. */
EXPORT int __posix_memalign(void **ret_block, size_t alignment, size_t size)
{
	return posix_memalign(ret_block, alignment, size);
}
