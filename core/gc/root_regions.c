/*
 * A list without order: programs name a few. What is read of a region is what is mapped of it now, page by page where there is something; what cannot be
 * read is passed over, as the interface promises. The rest of a mapping is read as ever, and words of both are handed over twice.
 *
 * Devices and the like are left alone. In shared memory only pages that are present or cached are read: those that are on disk are found by the pass over all
 * mappings.
 */
#include "core/gc/root_regions.h"

#include "core/base/arith.h"
#include "core/gc/root_reader.h"
#include "core/gc/world.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"

struct root_region {
	uintptr_t start;
	uintptr_t end;
};

enum { FIRST_CAPACITY = 256 };

/* Guard: lock. The collector reads it in a pause, when nobody holds the lock. */
static struct {
	struct lock lock;
	struct root_region *list;
	size_t count;
	size_t capacity;
} regions = {.lock = LOCK_INITIAL(ROOT_REGIONS)};

static bool grow_locked(void)
{
	size_t capacity = regions.capacity ? 2 * regions.capacity : FIRST_CAPACITY;
	struct root_region *larger = os_map(capacity * sizeof(*larger));

	if (!larger)
		return false;
	for (size_t i = 0; i < regions.count; i++)
		larger[i] = regions.list[i];
	if (regions.list)
		os_unmap(regions.list, regions.capacity * sizeof(*larger));
	regions.list = larger;
	regions.capacity = capacity;
	return true;
}

bool root_regions_add(uintptr_t start, size_t bytes)
{
	struct signal_guard guard;
	bool done;

	if (start + bytes < start)
		return false;
	signals_block(&guard);
	lock_acquire(&regions.lock);
	done = regions.count < regions.capacity || grow_locked();
	if (done)
		regions.list[regions.count++] = (struct root_region){start, start + bytes};
	lock_release(&regions.lock);
	signals_restore(&guard);
	return done;
}

bool root_regions_remove(uintptr_t start, size_t bytes)
{
	struct signal_guard guard;
	bool done = false;

	signals_block(&guard);
	lock_acquire(&regions.lock);
	for (size_t i = 0; i < regions.count && !done; i++) {
		done = regions.list[i].start == start && regions.list[i].end == start + bytes;
		if (done)
			regions.list[i] = regions.list[--regions.count];
	}
	lock_release(&regions.lock);
	signals_restore(&guard);
	return done;
}

static bool scan_mapped(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	bool is_shared = mapping->kind == MAPPING_SHMEM || mapping->shared;

	start = align_up(start, sizeof(uintptr_t));
	end = align_down(end, sizeof(uintptr_t));
	if (start >= end)
		return true;
	switch (mapping->kind) {
	case MAPPING_ANONYMOUS:
	case MAPPING_STACK:
	case MAPPING_FILE:
	case MAPPING_SHMEM:
		return root_read_pages(scan, start, end, is_shared ? PAGES_SHARED : PAGES_PRESENT,
			ROOT_READ_TOLERANT);
	default:
		return true;
	}
}

/* But for what is ours: words that we have just read would stand there. */
static bool scan_not_ours(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	const struct root_ranges *claims = scan->claims;

	for (size_t i = root_ranges_find(claims, start); i < claims->count && start < end; i++) {
		const struct root_range *range = &claims->list[i];

		if (range->start >= end)
			break;
		if (!scan_mapped(scan, mapping, start, max_u64(start, range->start)))
			return false;
		start = max_u64(start, range->end);
	}
	return start >= end || scan_mapped(scan, mapping, start, end);
}

/* The heap lies within what is ours, and counts. */
static bool scan_part(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	uintptr_t low = heap.base, high = low + load_relaxed(&heap.used);

	return scan_not_ours(scan, mapping, start, min_u64(end, low)) &&
	       scan_mapped(scan, mapping, max_u64(start, low), min_u64(end, high)) &&
	       scan_not_ours(scan, mapping, max_u64(start, high), end);
}

static bool scan_region(struct root_scan *scan, const struct root_region *region)
{
	for (size_t i = 0; i < scan->maps->count; i++) {
		const struct mapping *mapping = &scan->maps->list[i];

		if (mapping->start < region->end && mapping->end > region->start &&
			!scan_part(scan, mapping, max_u64(mapping->start, region->start),
				min_u64(mapping->end, region->end)))
			return false;
	}
	world_beat();
	return true;
}

bool root_regions_scan(struct root_scan *scan)
{
	scan->scanner = ROOT_OWNER_NOBODY;
	for (size_t i = 0; i < regions.count; i++) {
		if (!scan_region(scan, &regions.list[i]))
			return false;
	}
	return true;
}

struct lock *root_regions_lock(void)
{
	return &regions.lock;
}
