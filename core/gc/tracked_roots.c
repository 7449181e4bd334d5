#include "core/gc/tracked_roots.h"

#include "core/base/arith.h"
#include "core/gc/blank_pages.h"
#include "core/gc/mark.h"
#include "core/gc/root_reader.h"
#include "core/gc/words.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"
#include "core/os/tracking.h"

#include <string.h>
#include <sys/mman.h>

enum {
	RANGES_MAX = 1024,
	PIECE_BYTES = 32 << 20, // read at once beside the program
};

/*
 * Smaller ones are read in the pauses: watching costs two calls of the kernel a range, and the program a fault for each page that it writes. So are larger ones, which
 * hold next to nothing: they would be asked for piece by piece.
 */
#define RANGE_BYTES_MIN (1ull << 20)
#define RANGE_BYTES_MAX (64ull << 30)

static struct {
	struct root_range list
		[RANGES_MAX]; // whole pages, ascending; `owner` are the flags by which it is read
	size_t count;
	size_t next;                // no range before it concerns the mapping that is read next
	uint64_t bytes, bytes_read; // beside the program
} tracked;

static uint32_t is_given_way; // set by any thread, for good
static uint32_t is_watching;  // set and cleared by the collector

bool tracked_roots_give_way(void)
{
	store_seq(&is_given_way, 1u);
	return load_seq(&is_watching);
}

bool tracked_roots_must_go(void)
{
	return load_relaxed(&is_given_way) && load_relaxed(&is_watching);
}

void tracked_roots_let_go(const struct maps *maps)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct mapping *mapping = &maps->list[i];

		if (!mapping->shared && !heap_contains(mapping->start))
			tracking_unregister(mapping->start, mapping->end);
	}
	store_seq(&is_watching, 0u);
}

void tracked_roots_begin(enum root_tracking tracking)
{
	if (tracking == ROOT_TRACKING_NOTE)
		tracked.count = 0;
	tracked.next = 0;
}

uint64_t tracked_roots_bytes(void)
{
	return tracked.bytes;
}

uint64_t tracked_roots_bytes_read(void)
{
	return tracked.bytes_read;
}

const struct root_range *tracked_roots_range(size_t index)
{
	return index < tracked.count ? &tracked.list[index] : NULL;
}

static unsigned flags_of(const struct mapping *mapping)
{
	return mapping->protection & PROT_EXEC ? ROOT_READ_BYTES : ROOT_READ_WORDS;
}

/*
 * A file's, if it can be written now: nearly all of a loaded file is not, and what is watched is read from disk page by page. The main thread's stack has its own
 * owner.
 */
static bool is_trackable(const struct mapping *mapping)
{
	if (mapping->shared || !(mapping->protection & PROT_READ))
		return false;
	return mapping->kind == MAPPING_ANONYMOUS ||
	       (mapping->kind == MAPPING_FILE &&
		       (mapping->protection & (PROT_WRITE | PROT_EXEC)) == PROT_WRITE);
}

static bool is_worth_it(uintptr_t start, uintptr_t end)
{
	return end > start && end - start >= RANGE_BYTES_MIN && end - start <= RANGE_BYTES_MAX;
}

static bool read_whole(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	return start >= end || root_read_mapping(scan, mapping, start, end);
}

/* Only counts. */
static bool read_trackable(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	uint64_t before = scan->bytes_read;

	if (!root_read_mapping(scan, mapping, start, end))
		return false;
	scan->trackable_bytes += scan->bytes_read - before;
	return true;
}

static bool note(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	uintptr_t first = align_up(start, OS_PAGE_BYTES), last = align_down(end, OS_PAGE_BYTES);

	if (!is_worth_it(first, last) || tracked.count == RANGES_MAX || load_seq(&is_given_way))
		return read_whole(scan, mapping, start, end);
	tracked.list[tracked.count++] = (struct root_range){
		.start = first, .end = last, .owner = (uint16_t)flags_of(mapping)};
	return read_whole(scan, mapping, start, first) && read_whole(scan, mapping, last, end);
}

/* ---- pages that were written ---- */

struct reading {
	struct root_scan *scan;
	uintptr_t start, end; // the part that is wanted
	unsigned flags;
	uint64_t bytes; // output
};

/* Of code, with the words that begin or end on the pages beside. */
static bool read_run(uintptr_t start, uintptr_t end, void *argument)
{
	struct reading *reading = argument;

	if (reading->flags & ROOT_READ_BYTES) {
		start -= sizeof(uintptr_t);
		end += sizeof(uintptr_t);
	}
	start = max_u64(start, reading->start);
	end = min_u64(end, reading->end);
	reading->bytes += end - start;
	return (CHECKS && roots_are_off("written_roots")) ||
	       root_scan_memory(reading->scan, start, end, reading->flags);
}

static bool read_changed(struct root_scan *scan, uintptr_t start, uintptr_t end, unsigned flags)
{
	struct reading reading = {scan, start, end, flags, 0};

	start = align_down(start, OS_PAGE_BYTES);
	end = align_up(end, OS_PAGE_BYTES);
	return (tracking_harvest(start, end, HARVEST_WRITTEN, read_run, &reading) &&
		       tracking_harvest(start, end, HARVEST_UNWATCHED, read_run, &reading)) ||
	       root_fail(scan, ROOTS_PAGES_UNREADABLE, start);
}

/* What was noted of it by what changed, the rest whole; and so what was no code then. Mappings come in the order of addresses. */
static bool use(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	while (tracked.next < tracked.count && tracked.list[tracked.next].end <= start)
		tracked.next++;
	for (size_t i = tracked.next; i < tracked.count && tracked.list[i].start < end; i++) {
		const struct root_range *range = &tracked.list[i];
		uintptr_t first = max_u64(start, range->start), last = min_u64(end, range->end);

		if ((flags_of(mapping) | range->owner) != range->owner)
			continue;
		if (!read_whole(scan, mapping, start, first) ||
			!read_changed(scan, first, last, range->owner))
			return false;
		start = last;
	}
	return read_whole(scan, mapping, start, end);
}

bool tracked_roots_read(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	if (!is_trackable(mapping))
		return root_read_mapping(scan, mapping, start, end);
	switch (scan->tracking) {
	case ROOT_TRACKING_NOTE:
		return note(scan, mapping, start, end);
	case ROOT_TRACKING_USE:
		return use(scan, mapping, start, end);
	default:
		return is_worth_it(start, end) ? read_trackable(scan, mapping, start, end)
					       : root_read_mapping(scan, mapping, start, end);
	}
}

/* ---- beside the program ---- */

/* What the sink needs. */
struct reader {
	struct root_scan scan;
	struct marker *marker;
	uint64_t heap_bytes; // how far from heap.base blocks may lie, for a page to be called blank
};

/* A pointer in the copy names a block of the time it was copied. */
static void read_page(const struct reader *reader, uintptr_t page, const uintptr_t *words)
{
	uintptr_t candidates[WORDS_BLOCK];
	size_t found;

	if (load_acquire(&heap.used) > reader->heap_bytes) {
		mark_words(reader->marker, words, WORDS_BLOCK);
		return;
	}
	found = words_filter(words, WORDS_BLOCK, heap.base, reader->heap_bytes, candidates);
	if (found == 0)
		page_set_blank(page);
	else
		mark_words(reader->marker, candidates, found);
}

/* Whole pages, but for code. */
static void take_words(void *argument, const uintptr_t *words, size_t count)
{
	const struct reader *reader = argument;

	if (reader->scan.stride != sizeof(uintptr_t) || count % WORDS_BLOCK != 0) {
		mark_words(reader->marker, words, count);
		return;
	}
	for (size_t i = 0; i < count; i += WORDS_BLOCK)
		read_page(reader, reader->scan.address + i * sizeof(*words), words + i);
}

static void begin_reading(struct reader *reader, struct marker *marking)
{
	reader->marker = marking;
	reader->scan = (struct root_scan){.sink = take_words, .sink_argument = reader};
	reader->heap_bytes = blank_pages_begin(heap.base, load_acquire(&heap.used));
	root_reader_begin();
}

static bool forget_blank(uintptr_t start, uintptr_t end, void *argument)
{
	(void)argument;
	if (!CHECKS || !roots_are_off("written_roots"))
		blank_pages_clear(start, end);
	return true;
}

/* What was written since the range was last protected is not blank any more; nor is what nobody watches yet: mremap may have brought it, with the bit of where it was. */
static bool watch(const struct root_range *range)
{
	store_seq(&is_watching, 1u);
	return !load_seq(&is_given_way) &&
	       tracking_harvest(range->start, range->end, HARVEST_UNWATCHED, forget_blank, NULL) &&
	       tracking_register(range->start, range->end) &&
	       tracking_harvest(range->start, range->end, HARVEST_PROTECT, forget_blank, NULL);
}

/* Keeps the order. */
static void drop(size_t index)
{
	tracked.count--;
	memmove(&tracked.list[index], &tracked.list[index + 1],
		(tracked.count - index) * sizeof(tracked.list[0]));
}

/* Of a run of pages that hold something those that are not blank. */
static bool read_unknown(uintptr_t start, uintptr_t end, void *argument)
{
	struct reading *reading = argument;
	uintptr_t page = start;

	reading->bytes += end - start;
	while (page < end) {
		start = page;
		while (page < end && !page_is_blank(page))
			page += OS_PAGE_BYTES;
		if (!root_scan_memory(reading->scan, start, page, reading->flags))
			return false;
		while (page < end && page_is_blank(page))
			page += OS_PAGE_BYTES;
	}
	return true;
}

static bool read_all(
	struct reading *reading, const struct root_range *range, bool (*may_go_on)(void))
{
	reading->flags = range->owner;
	for (uintptr_t at = range->start, end; at < range->end; at = end) {
		end = min_u64(range->end, at + PIECE_BYTES);
		if (!may_go_on() || !pages_for_each(at, end, PAGES_OWN, read_unknown, reading) ||
			!root_reader_finish(reading->scan))
			return false;
	}
	return true;
}

bool tracked_roots_mark(struct marker *marking, bool (*may_go_on)(void))
{
	struct reader reader;
	struct reading reading = {.scan = &reader.scan};
	size_t i = 0;

	begin_reading(&reader, marking);
	while (i < tracked.count && may_go_on()) {
		const struct root_range *range = &tracked.list[i];

		// gone meanwhile, or refused
		if (watch(range) && read_all(&reading, range, may_go_on))
			i++;
		else
			drop(i);
	}
	tracked.bytes = reading.bytes;
	tracked.bytes_read = reader.scan.bytes_read;
	return may_go_on();
}

static bool read_written(uintptr_t start, uintptr_t end, void *argument)
{
	blank_pages_clear(start, end);
	return read_run(start, end, argument);
}

uint64_t tracked_roots_mark_written(struct marker *marking)
{
	struct reader reader;
	struct reading reading = {.scan = &reader.scan};
	size_t i = 0;

	begin_reading(&reader, marking);
	while (i < tracked.count) {
		const struct root_range *range = &tracked.list[i];

		reading.start = range->start;
		reading.end = range->end;
		reading.flags = range->owner;
		if (tracking_harvest(
			    range->start, range->end, HARVEST_PROTECT, read_written, &reading) &&
			root_reader_finish(&reader.scan))
			i++;
		else
			drop(i);
	}
	return reading.bytes;
}
