/*
 * Metadata memory: pieces that are recycled but never given back to the kernel (thread caches, thread records, side arrays, state groups).
 * Signals blocked; lock META inside.
 */
#pragma once

#include "core/os/lock.h"
#include "core/os/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The arena's region, of this capacity, to be initialised to grow down. */
struct region *meta_region(size_t capacity_bytes);

/* Gives reserved address space back. */
void meta_unreserve(void);

/* Zeroed memory, 64-byte aligned; NULL when the kernel has none. Sizes are rounded up to 64, above 4 KiB to a power of two. */
void *meta_alloc(size_t bytes);

/* Takes back what meta_alloc(bytes) returned. Large pieces give their pages to the kernel. */
void meta_free(void *address, size_t bytes);

/* For fork. */
struct lock *meta_lock(void);

/* Bytes handed out and not taken back. */
size_t meta_bytes(void);
