/*
 * The allocator's face: what malloc and free mean, without libc's promises (errno, glibc's corner cases: preload/). The one layer that sees heap and
 * collector. Every function is thread-safe; all but alloc_init() may be called from a signal handler of the program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Sets the heap up from `options`, once; later calls return at once. Called by the first slow path through alloc_start_hook. */
bool alloc_init(void);

/* Defined by preload/ (weak: absent in static test programs): reads the options before the first allocation. */
void alloc_start_hook(void);

/* A block of at least `size` bytes, aligned to 16; NULL: no memory, or size above PTRDIFF_MAX. */
void *alloc_malloc(size_t size);

/* The same, zeroed. */
void *alloc_zeroed(size_t size);

/* Aligned to `alignment`, a power of two. */
void *alloc_aligned(size_t alignment, size_t size);

/* Any pointer. NULL does nothing; what is no block of ours is counted and ignored. */
void alloc_free(void *pointer);

/* A block of `size` bytes with the old contents, or NULL and the old block as it was. `pointer` is not NULL, size may be 0. */
void *alloc_realloc(void *pointer, size_t size);

/* Bytes that may be used at `pointer`: 0 when it is not a block of ours. Constant over the block's life. */
size_t alloc_usable_size(const void *pointer);

/*
 * What the calling thread allocates from here to the end, realloc included, is ignored (core/gc/ignored.h). Nests. Nothing without a collector, or in a thread
 * that has no cache (one that ends; a signal handler that interrupted malloc).
 */
void alloc_ignore_begin(void);
void alloc_ignore_end(void);

/* The program limits its own address space, or locks it: what is reserved and not used goes back, or every mmap of the program would fail. */
void alloc_unreserve(void);

/* In a pause, or before other threads exist: free= changes. */
void alloc_apply_options(void);
