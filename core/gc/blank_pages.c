/*
 * Two levels: a table of all areas of 128 MiB below 2^47, and for each that has such a page a bitmap of 4 KiB. Memory is never given back.
 */
#include "core/gc/blank_pages.h"

#include "core/base/arith.h"
#include "core/os/memory.h"

#include <string.h>

enum {
	PAGE_SHIFT = 12,
	AREA_SHIFT = 27,
	AREA_PAGES = 1 << (AREA_SHIFT - PAGE_SHIFT),
	AREA_COUNT = 1 << (47 - AREA_SHIFT),
};

#define BYTES_MIN (256ull << 20)

_Static_assert(1 << PAGE_SHIFT == OS_PAGE_BYTES, "");

struct area {
	uint64_t words[AREA_PAGES / 64];
};

static struct {
	struct area **areas; // AREA_COUNT; NULL: not used yet
	uintptr_t base;
	uint64_t bytes;
} blank;

static struct area *area_of(uintptr_t page)
{
	uintptr_t number = page >> AREA_SHIFT;

	return blank.areas && number < AREA_COUNT ? blank.areas[number] : NULL;
}

static struct area *make_area(uintptr_t page)
{
	uintptr_t number = page >> AREA_SHIFT;

	if (!blank.areas)
		blank.areas = os_map(AREA_COUNT * sizeof(*blank.areas));
	if (!blank.areas || number >= AREA_COUNT)
		return NULL;
	if (!blank.areas[number])
		blank.areas[number] = os_map(sizeof(struct area));
	return blank.areas[number];
}

static size_t index_of(uintptr_t page)
{
	return (page >> PAGE_SHIFT) % AREA_PAGES;
}

uint64_t blank_pages_begin(uintptr_t base, uint64_t bytes)
{
	if (base != blank.base || bytes > blank.bytes) {
		blank_pages_forget();
		blank.base = base;
		blank.bytes = max_u64(BYTES_MIN, 2 * bytes);
	}
	return blank.bytes;
}

bool page_is_blank(uintptr_t page)
{
	const struct area *area = area_of(page);
	size_t index = index_of(page);

	return area && (area->words[index / 64] >> (index % 64) & 1);
}

void page_set_blank(uintptr_t page)
{
	struct area *area = make_area(page);
	size_t index = index_of(page);

	if (area)
		area->words[index / 64] |= 1ull << (index % 64);
}

void blank_pages_clear(uintptr_t start, uintptr_t end)
{
	for (uintptr_t page = start; page < end; page += OS_PAGE_BYTES) {
		struct area *area = area_of(page);
		size_t index = index_of(page);

		if (area)
			area->words[index / 64] &= ~(1ull << (index % 64));
	}
}

void blank_pages_forget(void)
{
	for (size_t i = 0; blank.areas && i < AREA_COUNT; i++) {
		if (blank.areas[i])
			memset(blank.areas[i], 0, sizeof(struct area));
	}
}
