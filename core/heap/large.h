/*
 * Large blocks: each fills a span of its own. All slow paths; signals are blocked inside.
 */
#pragma once

#include "core/heap/heap.h"

/* A block of at least `bytes` (pad included by the caller), aligned to `alignment` bytes. *ret_zero: contents are known to be zero. */
void *large_alloc(size_t bytes, size_t alignment, bool *ret_zero);

/* The program frees a large block. Any thread. */
void large_note_freed(const struct span *span);

/* free=trust: a block whose state is HINTED goes back at once, or, while a cycle marks, after the cycle. */
void large_free_hinted(struct span *span);

/*
 * free=hint: gives the pages of a block whose state is HINTED back to the kernel: whoever still reads there finds zeros. False: it keeps them (a cycle is under way,
 * or the program has locked them or changed their protection).
 */
bool large_drop(struct span *span);

/* From now on the program may use the block to its end: it has asked for its size. Any thread that owns it. */
void large_tell_all(struct span *span);

/*
 * Changes the size without moving. Growing takes the free units behind the block; a tail cut off becomes a hinted block of its own
 * (free=trust: free at once). False: unchanged.
 */
bool large_resize(struct span *span, size_t bytes, bool trust);

/*
 * A new block of at least `bytes` bytes for the contents of this one. Its pages are moved (mremap) where that saves anything: the old block becomes HINTED
 * with fresh zero pages (or is freed, trust). Where it does not *ret_moved is false, and the caller copies and frees. NULL: nothing changed.
 */
void *large_move(struct span *span, size_t bytes, bool trust, bool *ret_moved);
