/*
 * The pass over the roots: claims, then words, then memory range by range (root_reader.c). Nothing here is thread-safe: collector thread.
 */
#include "core/gc/roots.h"

#include "core/base/arith.h"
#include "core/base/check.h"
#include "core/base/option.h"
#include "core/gc/root_reader.h"
#include "core/gc/root_regions.h"
#include "core/gc/tracked_roots.h"
#include "core/gc/world.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"
#include "core/os/pages.h"
#include "core/os/proc.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>

enum {
	RANGES_MAX = 1 << 17,
	IMAGE_RANGES_MAX = 4,
	SKIP_BYTES_MIN = 1 << 20, // of ours: smaller ones are walked faster than stepped over
};

/* Collector thread only, but for what is set at start. */
static struct {
	const struct scanner *const *scanners; // set at start
	size_t count;
	struct {
		uintptr_t start, end;
	} image[IMAGE_RANGES_MAX]; // set at start
	size_t image_count;

	struct maps maps;
	struct root_ranges claims;
} roots;

void roots_register(const struct scanner *const *scanners, size_t count)
{
	check(count < ROOT_OWNER_NOBODY);
	roots.scanners = scanners;
	roots.count = count;
}

void roots_exclude_image(const void *header)
{
	const ElfW(Ehdr) *file = header;
	const ElfW(Phdr) *segments = (const ElfW(Phdr) *)((const char *)header + file->e_phoff);

	for (size_t i = 0; i < file->e_phnum && roots.image_count < IMAGE_RANGES_MAX; i++) {
		uintptr_t start = (uintptr_t)header + segments[i].p_vaddr;

		if (segments[i].p_type != PT_LOAD || !(segments[i].p_flags & PF_W))
			continue;
		roots.image[roots.image_count].start = align_down(start, OS_PAGE_BYTES);
		roots.image[roots.image_count].end =
			align_up(start + segments[i].p_memsz, OS_PAGE_BYTES);
		roots.image_count++;
	}
}

static bool make_arrays(void)
{
	size_t bytes = RANGES_MAX * sizeof(struct root_range);
	char *memory = os_map(3 * bytes);

	if (!memory)
		return false;
	roots.claims.list = (void *)memory;
	roots.claims.batch = (void *)(memory + bytes);
	roots.claims.spare = (void *)(memory + 2 * bytes);
	roots.claims.capacity = RANGES_MAX;
	return true;
}

static void beat(void)
{
	world_beat();
}

bool roots_prepare(void)
{
	pages_set_beat(beat);
	if (roots.claims.capacity == 0 && !make_arrays())
		return false;
	if (!proc_is_open() || !root_reader_prepare() || !maps_reserve(&roots.maps))
		return false;
	if (tracked_roots_must_go()) {
		if (!maps_read(&roots.maps))
			return false;
		tracked_roots_let_go(&roots.maps);
	}
	for (size_t i = 0; i < roots.count; i++) {
		if (roots.scanners[i]->prepare)
			roots.scanners[i]->prepare();
	}
	return true;
}

/* ---- failures ---- */

const char *roots_failure_text(enum roots_failure failure)
{
	static const char *const texts[ROOTS_FAILURE_COUNT] = {
		[ROOTS_NOT_FAILED] = "none",
		[ROOTS_NOT_PREPARED] = "no memory for roots, or no /proc",
		[ROOTS_MAPS_UNREADABLE] = "list of mappings unreadable",
		[ROOTS_PAGES_UNREADABLE] = "page tables unreadable",
		[ROOTS_MEMORY_UNREADABLE] = "memory unreadable",
		[ROOTS_TOO_MANY_RANGES] = "too many ranges of roots",
		[ROOTS_THREAD_UNREADABLE] = "registers of a thread unreadable",
		[ROOTS_TABLE_FULL] = "too many pointers held by the kernel",
	};

	return failure < ROOTS_FAILURE_COUNT ? texts[failure] : "unknown";
}

bool root_fail(struct root_scan *scan, enum roots_failure failure, uintptr_t address)
{
	if (scan->failure == ROOTS_NOT_FAILED) {
		scan->failure = failure;
		scan->failure_address = address;
		scan->failure_scanner =
			scan->scanner < roots.count ? roots.scanners[scan->scanner]->name : 0;
	}
	return false;
}

/* ---- claims ---- */

static bool claim(struct root_scan *scan, uintptr_t start, uintptr_t end, bool is_stack)
{
	start = align_down(start, sizeof(uintptr_t));
	end = align_up(end, sizeof(uintptr_t));
	return root_ranges_add(scan->claims, start, end, is_stack) ||
	       root_fail(scan, ROOTS_TOO_MANY_RANGES, start);
}

bool root_claim(struct root_scan *scan, uintptr_t start, uintptr_t end)
{
	return claim(scan, start, end, false);
}

bool root_claim_stack(struct root_scan *scan, uintptr_t start, uintptr_t end)
{
	return claim(scan, start, end, true);
}

bool root_claims_done(struct root_scan *scan)
{
	return root_ranges_fold(scan->claims, scan->scanner) ||
	       root_fail(scan, ROOTS_TOO_MANY_RANGES, 0);
}

bool root_exclude(struct root_scan *scan, uintptr_t start, uintptr_t end)
{
	start = align_up(start, sizeof(uintptr_t));
	end = align_down(end, sizeof(uintptr_t));
	return root_ranges_add(scan->claims, start, end, false) ||
	       root_fail(scan, ROOTS_TOO_MANY_RANGES, start);
}

static bool exclusions_done(struct root_scan *scan)
{
	return root_ranges_fold(scan->claims, ROOT_OWNER_NOBODY) ||
	       root_fail(scan, ROOTS_TOO_MANY_RANGES, 0);
}

static void exclude_mapping(uintptr_t address, size_t bytes, void *argument)
{
	root_exclude(argument, address, address + bytes);
}

/* What is ours, and the heap, whose blocks the marker reads. */
static bool exclude_ours(struct root_scan *scan)
{
	os_own_mappings(exclude_mapping, scan);
	for (size_t i = 0; i < roots.image_count; i++)
		root_exclude(scan, roots.image[i].start, roots.image[i].end);
	root_exclude(scan, heap.base, heap.base + load_relaxed(&heap.used));
	return scan->failure == ROOTS_NOT_FAILED && exclusions_done(scan);
}

/* A scanner may end its batch itself (root_claims_done) and leave exclusions, or leave claims. */
static bool claim_all(struct root_scan *scan)
{
	for (scan->scanner = 0; scan->scanner < roots.count; scan->scanner++) {
		const struct scanner *scanner = roots.scanners[scan->scanner];

		if (scanner->claim && (!scanner->claim(scan) || !exclusions_done(scan)))
			return false;
		world_beat();
	}
	return true;
}

/* ---- memory, in the order of addresses ---- */

bool roots_are_off(const char *name)
{
	const char *at = options.scan_off;
	size_t length = strlen(name);

	while (CHECKS && *at) {
		size_t part = 0;

		while (at[part] && at[part] != '+')
			part++;
		if (part == length && memcmp(at, name, length) == 0)
			return true;
		at += part + (at[part] == '+');
	}
	return false;
}

const char *roots_scanner_name(uint32_t scanner)
{
	return scanner < roots.count ? roots.scanners[scanner]->name : 0;
}

/* Part of a mapping, in the name of its owner; `range` is the claim in which it lies, or NULL. */
static bool read_as(struct root_scan *scan, const struct root_range *range,
	const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	uint32_t owner = range ? range->owner : (uint32_t)roots.count - 1;
	const struct scanner *scanner = owner < roots.count ? roots.scanners[owner] : 0;

	if (start >= end || owner == ROOT_OWNER_NOBODY || (scanner && roots_are_off(scanner->name)))
		return true;
	scan->scanner = owner;
	if (range && range->is_stack)
		return root_read_stack(scan, mapping, start, end);
	return scanner && scanner->is_trackable ? tracked_roots_read(scan, mapping, start, end)
						: root_read_mapping(scan, mapping, start, end);
}

/* One mapping, range by range; *at is the first range that may concern it. */
static bool read_by_owners(struct root_scan *scan, const struct mapping *mapping, size_t *at)
{
	const struct root_ranges *claims = scan->claims;
	uintptr_t start = mapping->start;

	while (*at < claims->count && claims->list[*at].end <= start)
		(*at)++;
	for (size_t i = *at; i < claims->count && claims->list[i].start < mapping->end; i++) {
		const struct root_range *range = &claims->list[i];

		if (!read_as(scan, NULL, mapping, start, range->start))
			return false;
		start = max_u64(start, range->start);
		if (!read_as(scan, range, mapping, start, min_u64(range->end, mapping->end)))
			return false;
		start = range->end;
	}
	return read_as(scan, NULL, mapping, start, mapping->end);
}

static bool read_all_mappings(struct root_scan *scan)
{
	size_t at = 0;

	for (size_t i = 0; i < scan->maps->count; i++) {
		if (!read_by_owners(scan, &scan->maps->list[i], &at))
			return false;
		world_beat();
	}
	return root_reader_finish(scan);
}

/* ---- the pass ---- */

/*
 * Memory of the heap whose mapping is not what we made it: the marker reads its spans with care. Executable memory holds pointers at any byte, and what the
 * program mapped over ours may hold some that the marker does not see (shared memory without page tables): it is a root like any other mapping.
 */
static bool scan_odd(
	struct root_scan *scan, uintptr_t start, uintptr_t end, const struct mapping *mapping)
{
	heap_make_odd(start, end - start);
	if (!mapping)
		return true;
	if (mapping->kind != MAPPING_ANONYMOUS)
		return root_read_mapping(scan, mapping, start, end);
	return !(mapping->protection & PROT_EXEC) ||
	       root_read_pages(scan, start, end, PAGES_OWN, ROOT_READ_BYTES);
}

/* Programs change the protection of malloced memory, or map something over it, by calls nobody tells us of: compare the heap's mappings with ours. */
static bool scan_odd_heap(struct root_scan *scan)
{
	uintptr_t at = heap.base;
	uintptr_t end = at + load_relaxed(&heap.used);

	for (size_t i = 0; i < scan->maps->count && at < end; i++) {
		const struct mapping *mapping = &scan->maps->list[i];
		uintptr_t last = min_u64(mapping->end, end);

		if (mapping->end <= at || mapping->start >= end)
			continue;
		if (mapping->start > at)
			heap_make_odd(at, mapping->start - at);
		at = max_u64(at, mapping->start);
		if ((mapping->kind != MAPPING_ANONYMOUS ||
			    mapping->protection != (PROT_READ | PROT_WRITE)) &&
			!scan_odd(scan, at, last, mapping))
			return false;
		at = last;
	}
	return at >= end || scan_odd(scan, at, end, 0);
}

static bool scan_words_of_all(struct root_scan *scan)
{
	for (scan->scanner = 0; scan->scanner < roots.count; scan->scanner++) {
		const struct scanner *scanner = roots.scanners[scan->scanner];

		if (scanner->scan && !roots_are_off(scanner->name) && !scanner->scan(scan))
			return root_fail(scan, ROOTS_MEMORY_UNREADABLE, 0);
		world_beat();
		if (world_is_abandoned())
			return root_fail(scan, ROOTS_THREAD_UNREADABLE, 0);
	}
	return true;
}

static bool begin(struct root_scan *scan)
{
	scan->failure = ROOTS_NOT_FAILED;
	scan->failure_address = 0;
	scan->failure_scanner = 0;
	scan->requests_in_flight = false;
	scan->bytes_read = 0;
	scan->trackable_bytes = 0;
	scan->swap_is_noted = false;
	scan->maps = &roots.maps;
	scan->claims = &roots.claims;
	scan->scanner = (uint32_t)roots.count;
	root_ranges_clear(&roots.claims);
	root_reader_begin();
	if (roots.claims.capacity == 0 || !proc_is_open())
		return root_fail(scan, ROOTS_NOT_PREPARED, 0);
	if (!maps_read(&roots.maps))
		return root_fail(scan, ROOTS_MAPS_UNREADABLE, 0);
	world_beat();
	return exclude_ours(scan);
}

bool root_note_swapped(struct root_scan *scan)
{
	size_t count;

	if (!scan->swap_is_noted && !maps_note_swapped(&roots.maps, &count))
		return root_fail(scan, ROOTS_PAGES_UNREADABLE, 0);
	scan->swap_is_noted = true;
	return true;
}

/* After the pass: no page that was to be read was swapped out meanwhile. */
static bool swap_is_the_same(const struct root_scan *scan)
{
	size_t count = 0;

	return !scan->swap_is_noted || (maps_note_swapped(&roots.maps, &count) && count == 0);
}

/* End of the highest mapping that is the program's (above it there may be the vsyscall page, among the kernel's addresses). */
static uintptr_t top_of(const struct maps *maps)
{
	size_t i = maps->count;

	while (i > 1 && maps->list[i - 1].end > INTPTR_MAX)
		i--;
	return maps->list[i - 1].end;
}

/*
 * Where nobody will ask: what is claimed for nobody, so far. The page tables of heap, marks and queue would be most of the walk, and of a thread's stack all but a
 * page or two is dead. And what is tracked: even where it is not any more, that costs only a further question.
 */
static uintptr_t find_skipped(uintptr_t address)
{
	const struct root_ranges *claims = &roots.claims;
	const struct root_range *range;
	uintptr_t first = UINTPTR_MAX;

	for (size_t i = 0; first == UINTPTR_MAX && (range = tracked_roots_range(i)); i++) {
		if (range->end > address)
			first = range->start;
	}
	for (size_t i = root_ranges_find(claims, address); i < claims->count; i++) {
		range = &claims->list[i];
		if (range->start >= first)
			break;
		if (range->owner == ROOT_OWNER_NOBODY &&
			range->end - range->start >= SKIP_BYTES_MIN)
			return range->start;
	}
	return first;
}

/* The regions first: the claims are then what is ours, and the heap. */
static bool scan_held(struct root_scan *scan)
{
	return root_regions_scan(scan) && claim_all(scan) && scan_odd_heap(scan) &&
	       scan_words_of_all(scan) && read_all_mappings(scan);
}

bool roots_scan(struct root_scan *scan)
{
	bool complete;

	if (!begin(scan))
		return false;
	pages_hold(top_of(scan->maps), find_skipped);
	tracked_roots_begin(scan->tracking);
	complete = scan_held(scan);
	pages_release();
	if (complete && !(pages_were_all_told() && swap_is_the_same(scan)))
		return root_fail(scan, ROOTS_PAGES_UNREADABLE, 0);
	return complete;
}

void roots_for_each_read(
	void (*visit)(const char *scanner, uintptr_t start, uintptr_t end, void *argument),
	void *argument)
{
	const struct root_ranges *claims = &roots.claims;

	for (size_t i = 0; i < roots.maps.count; i++) {
		const struct mapping *mapping = &roots.maps.list[i];
		size_t k = root_ranges_find(claims, mapping->start);

		if (mapping->shared || !(mapping->protection & PROT_WRITE))
			continue;
		for (uintptr_t at = mapping->start, end; at < mapping->end; at = end) {
			uint32_t owner = (uint32_t)roots.count - 1;
			bool is_claimed = k < claims->count && claims->list[k].start <= at;

			end = mapping->end;
			if (is_claimed) {
				owner = claims->list[k].owner;
				end = min_u64(end, claims->list[k++].end);
			} else if (k < claims->count) {
				end = min_u64(end, claims->list[k].start);
			}
			if (owner < roots.count)
				visit(roots.scanners[owner]->name, at, end, argument);
		}
	}
}
