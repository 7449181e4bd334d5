/*
 * Two levels: a table of all areas of 128 MiB below 2^47, and for each that has such a page a bitmap of 4 KiB. Memory is never given back; to forget costs
 * nothing, for each fork does.
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

#define BYTES_MIN (256ull << 20)

_Static_assert(1 << PAGE_SHIFT == OS_PAGE_BYTES, "");

struct area {
	uint64_t *words; // AREA_PAGES bits; NULL: not used yet
	uint64_t generation;
};

static struct {
	struct area *areas; // AREA_COUNT
	bool no_memory;
	uint64_t generation; // bits of an older one do not count
	uintptr_t base;
	uint64_t bytes;
} blank;

uint64_t blank_pages_begin(uintptr_t base, uint64_t bytes)
{
	if (base != blank.base || bytes > blank.bytes) {
		blank_pages_forget();
		blank.base = base;
		blank.bytes = max_u64(BYTES_MIN, 2 * bytes);
	}
	return blank.bytes;
}

void blank_pages_forget(void)
{
	blank.generation++;
	blank.no_memory = false;
}

static struct area *area_of(uintptr_t page)
{
	uintptr_t number = page >> AREA_SHIFT;

	return blank.areas && number < AREA_COUNT ? &blank.areas[number] : NULL;
}

static bool has_bits(const struct area *area)
{
	return area && area->words && area->generation == blank.generation;
}

static size_t index_of(uintptr_t page)
{
	return (page >> PAGE_SHIFT) % AREA_PAGES;
}

bool page_is_blank(uintptr_t page)
{
	const struct area *area = area_of(page);
	size_t index = index_of(page);

	return has_bits(area) && (area->words[index / 64] >> (index % 64) & 1);
}

/* False: no memory. */
static bool make_bits(struct area *area)
{
	if (!area->words)
		area->words = os_map(AREA_PAGES / 8);
	else
		memset(area->words, 0, AREA_PAGES / 8);
	area->generation = blank.generation;
	return area->words != NULL;
}

void page_set_blank(uintptr_t page)
{
	struct area *area;
	size_t index = index_of(page);

	if (blank.no_memory)
		return;
	if (!blank.areas)
		blank.areas = os_map(AREA_COUNT * sizeof(*blank.areas));
	area = area_of(page);
	if (!area || !(has_bits(area) || make_bits(area))) {
		blank.no_memory = true;
		return;
	}
	area->words[index / 64] |= 1ull << (index % 64);
}

void blank_pages_clear(uintptr_t start, uintptr_t end)
{
	for (uintptr_t page = start; page < end; page += OS_PAGE_BYTES) {
		struct area *area = area_of(page);
		size_t index = index_of(page);

		if (has_bits(area))
			area->words[index / 64] &= ~(1ull << (index % 64));
	}
}
