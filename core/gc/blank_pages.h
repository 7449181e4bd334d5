/*
 * A bit for each page outside the heap: when it was last read, after it had been protected, no word of it could name a block. Until the kernel tells that it was
 * written such a page need not be read again: most of what a program maps by itself never refers to its heap.
 *
 * Whoever learns that pages were written clears their bits before they are protected anew or read; whoever sets a bit has read the page after that. A page that is not watched
 * any more, or is another one by now, counts as written.
 *
 * Collector thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Blocks lie in [base, base + bytes): asked again when they lie elsewhere. There is a margin, for of random words some name a block and the more the larger the heap is; when it is
 * used up, no page is blank. Returns the bytes that may be used until then.
 */
uint64_t blank_pages_begin(uintptr_t base, uint64_t bytes);

/* `page` is the address of its first byte. */
bool page_is_blank(uintptr_t page);

/* What could not be noted for want of memory is not blank. */
void page_set_blank(uintptr_t page);

/* The pages of [start, end). */
void blank_pages_clear(uintptr_t start, uintptr_t end);

/* In a fork child, whose memory nobody watches. */
void blank_pages_forget(void);
