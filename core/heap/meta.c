/*
 * Metadata memory: one region, bump allocation downwards, a free list per size. Freed pieces are linked through their first word; pieces of a page and more
 * lose their pages first.
 */
#include "core/heap/meta.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/bits.h"
#include "core/os/memory.h"

enum {
	STEP = 256 * 1024,
	LINE = 64,
	SMALL_MAX = 4096,
	SMALL_LISTS = SMALL_MAX / LINE + 1,
	LIST_COUNT = SMALL_LISTS + 48, // then one per power of two
};

static struct {
	struct lock lock; // guards everything below
	struct region region;
	size_t used;
	size_t live_bytes;
	void *free_lists[LIST_COUNT];
} meta = {.lock = LOCK_INITIAL(META)};

struct region *meta_region(size_t capacity_bytes)
{
	meta.region = (struct region){.capacity = capacity_bytes, .step = STEP};
	return &meta.region;
}

void meta_unreserve(void)
{
	lock_acquire(&meta.lock);
	region_unreserve(&meta.region);
	lock_release(&meta.lock);
}

static size_t round_size(size_t bytes)
{
	if (bytes <= SMALL_MAX)
		return align_up(bytes ? bytes : 1, LINE);
	return (size_t)1 << (highest_bit(bytes - 1) + 1);
}

static unsigned list_of(size_t rounded)
{
	return rounded <= SMALL_MAX
		       ? (unsigned)(rounded / LINE)
		       : SMALL_LISTS + highest_bit(rounded) - highest_bit(SMALL_MAX) - 1;
}

void *meta_alloc(size_t bytes)
{
	size_t rounded;
	void **list;
	char *piece;

	if (bytes > meta.region.capacity)
		return 0;
	rounded = round_size(bytes);
	list = &meta.free_lists[list_of(rounded)];
	lock_acquire(&meta.lock);
	piece = *list;
	if (piece) {
		*list = *(void **)piece;
		meta.live_bytes += rounded;
	} else if (region_grow(&meta.region, meta.used + rounded)) {
		meta.used += rounded;
		piece = (char *)meta.region.base - meta.used;
		meta.live_bytes += rounded;
	}
	lock_release(&meta.lock);
	if (piece && rounded < OS_PAGE_BYTES)
		__builtin_memset(piece, 0, rounded);
	else if (piece)
		*(void **)piece = 0;
	return piece;
}

void meta_free(void *address, size_t bytes)
{
	size_t rounded = round_size(bytes);
	void **list = &meta.free_lists[list_of(rounded)];

	if (!address)
		return;
	// pieces of a page and more are zero while free, but for the link; they may straddle pages, so clear what discarding can not
	if (rounded >= OS_PAGE_BYTES) {
		uintptr_t start = (uintptr_t)address, end = start + rounded;
		uintptr_t low = align_up(start, OS_PAGE_BYTES),
			  high = align_down(end, OS_PAGE_BYTES);

		if (low < high && os_discard((void *)low, high - low)) {
			__builtin_memset(address, 0, low - start);
			__builtin_memset((void *)high, 0, end - high);
		} else {
			__builtin_memset(address, 0, rounded);
		}
	}
	lock_acquire(&meta.lock);
	*(void **)address = *list;
	*list = address;
	meta.live_bytes -= rounded;
	lock_release(&meta.lock);
}

size_t meta_bytes(void)
{
	return load_relaxed(&meta.live_bytes);
}

struct lock *meta_lock(void)
{
	return &meta.lock;
}
