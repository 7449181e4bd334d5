/*
 * Page heap. A free run is described at its first and last unit (boundary tags), so freed spans find their neighbours in O(1). Runs are kept in
 * three sets of bins: runs that may hold pages, runs of which the kernel took all but locked pages, and runs known to be clean; within a set one bin per length up to 63 units, then eight
 * per power of two. Of its dirty units a run knows how many there are and within which bounds, so nothing done under the lock takes time in
 * proportion to a long run. A clean unit reads as zero: its map entry is 0, a dirty free unit has MAP_DIRTY.
 *
 * Purging takes a run out of the bins, drops the lock for the system call, and puts it back, so nobody waits for madvise.
 */
#include "core/heap/page_heap.h"

#include "core/base/bits.h"
#include "core/heap/groups.h"
#include "core/heap/meta.h"
#include "core/os/clock.h"
#include "core/os/syscall.h"
#include "core/os/lock.h"

/* Entries of free units; 0: clean. Their class is none. */
#define MAP_DIRTY 0x100ull // may hold pages
#define MAP_STUCK 0x200ull // holds pages that the kernel did not take (the program locked them)

enum {
	EXACT_BINS = 64,
	BIN_COUNT = EXACT_BINS + 24 * 8, // eight per doubling
	BIN_WORDS = BIN_COUNT / 64,
	DIRTY = 0,
	STUCK = 1,
	CLEAN = 2,
	SET_COUNT = 3,
	WINDOW_STEP = 4 << 20,
	SPANS_STEP = 64 * 1024,
	MAP_STEP = 16 * 1024,
	PURGE_UNITS_MAX = 64,
	FIND_TRIES = 64, // runs of the first bin a search looks at before it takes a longer one
	EDGE_UNITS =
		1, // at either end of the window, mapped and never used: some programs read a few bytes before or behind a block
};

static struct {
	struct lock lock; // guards everything below
	struct region window;
	struct region map;
	struct region spans;
	struct list_link bins[SET_COUNT][BIN_COUNT];
	uint64_t occupied[SET_COUNT][BIN_WORDS]; // bit per bin that is not empty
	struct page_heap_stats stats;
	size_t idle_unit_count; // the fewest dirty ones since page_heap_take_idle()
	bool is_marking;
	uint32_t moves;      // by mremap, under way; no lock, sequentially consistent like the next
	uint32_t is_watched; // no move begins
	bool has_lost_runs; // page_heap_repair(): a neighbour that calls itself free may not be merged with
} page_heap = {.lock = LOCK_INITIAL(PAGE_HEAP)};

bool page_heap_init(size_t window_bytes, struct region *meta, bool reserve)
{
	struct region *states = groups_states_region(window_bytes);
	struct region *marks = groups_marks_region(window_bytes);
	size_t units = window_bytes >> UNIT_SHIFT;

	page_heap.map = (struct region){.capacity = units * sizeof(uint64_t), .step = MAP_STEP};
	page_heap.spans =
		(struct region){.capacity = units * sizeof(struct span), .step = SPANS_STEP};
	page_heap.window = (struct region){.capacity = window_bytes, .step = WINDOW_STEP};
	// the largest last, so that all begin close together
	if (!regions_init(marks, &page_heap.map, reserve) ||
		!regions_init(meta, &page_heap.spans, reserve) ||
		!regions_init(states, &page_heap.window, reserve))
		return false;
	heap.states = (uint8_t *)states->base;
	heap.marks = (uint64_t *)marks->base;
	heap.base = page_heap.window.base + EDGE_UNITS * UNIT_BYTES;
	heap.map = (uint64_t *)page_heap.map.base;
	heap.spans = (struct span *)page_heap.spans.base;
	for (int set = 0; set < SET_COUNT; set++) {
		for (int bin = 0; bin < BIN_COUNT; bin++)
			list_init(&page_heap.bins[set][bin]);
	}
	return true;
}

size_t page_heap_take_idle(void)
{
	size_t dirty, idle;

	lock_acquire(&page_heap.lock);
	dirty = page_heap.stats.dirty_unit_count;
	idle = min_u64(page_heap.idle_unit_count, dirty);
	page_heap.idle_unit_count = dirty;
	lock_release(&page_heap.lock);
	return idle;
}

const struct page_heap_stats *page_heap_stats(void)
{
	return &page_heap.stats;
}

struct lock *page_heap_lock(void)
{
	return &page_heap.lock;
}

static unsigned bin_of(size_t units)
{
	unsigned bit;

	if (units < EXACT_BINS)
		return (unsigned)units;
	bit = highest_bit(units);
	return EXACT_BINS + (bit - highest_bit(EXACT_BINS)) * 8 + ((units >> (bit - 3)) & 7);
}

static unsigned set_of(const struct span *run)
{
	return run->dirty_unit_count > 0 ? DIRTY : run->stuck_unit_count > 0 ? STUCK : CLEAN;
}

static void count_free_units(const struct span *run, int sign)
{
	struct page_heap_stats *stats = &page_heap.stats;
	size_t dirty = run->dirty_unit_count,
	       clean = run->unit_count - dirty - run->stuck_unit_count;

	store_relaxed(&stats->dirty_unit_count,
		sign > 0 ? stats->dirty_unit_count + dirty : stats->dirty_unit_count - dirty);
	store_relaxed(&stats->clean_unit_count,
		sign > 0 ? stats->clean_unit_count + clean : stats->clean_unit_count - clean);
}

/* What the free units of a range hold: dirty ones, how many and in which bounds; and stuck ones. */
struct dirt {
	uint32_t count, low, high;
	uint32_t stuck;
};

static struct dirt dirt_of(const struct span *run)
{
	return (struct dirt){
		run->dirty_unit_count, run->dirty_low, run->dirty_high, run->stuck_unit_count};
}

static struct dirt dirt_sum(struct dirt a, struct dirt b)
{
	struct dirt sum = a.count > 0 ? a : b;

	if (a.count > 0 && b.count > 0)
		sum = (struct dirt){a.count + b.count, (uint32_t)min_u64(a.low, b.low),
			(uint32_t)max_u64(a.high, b.high), 0};
	sum.stuck = a.stuck + b.stuck;
	return sum;
}

/* Describes [first, first + count) as a free run and enters it in its bin. */
static void run_insert(uint32_t first, uint32_t count, struct dirt dirt)
{
	struct span *run = &heap.spans[first], *last = &heap.spans[first + count - 1];
	unsigned set, bin = bin_of(count);

	store_relaxed(&last->kind, SPAN_FREE_RUN);
	store_relaxed(&run->kind, SPAN_FREE_RUN);
	run->dirty_unit_count = dirt.count;
	run->dirty_low = dirt.low;
	run->dirty_high = dirt.high;
	run->stuck_unit_count = dirt.stuck;
	last->unit_count = run->unit_count = count;
	set = set_of(run);
	list_push_front(&page_heap.bins[set][bin], &run->link);
	page_heap.occupied[set][bin / 64] |= 1ull << (bin % 64);
	count_free_units(run, 1);
}

static void run_remove(struct span *run)
{
	unsigned set = set_of(run), bin = bin_of(run->unit_count);

	list_remove(&run->link);
	if (list_is_empty(&page_heap.bins[set][bin]))
		page_heap.occupied[set][bin / 64] &= ~(1ull << (bin % 64));
	count_free_units(run, -1);
	store_relaxed(&heap.spans[span_first_unit(run) + run->unit_count - 1].kind, SPAN_UNUSED);
	store_relaxed(&run->kind, SPAN_UNUSED);
}

static uint32_t count_entries(uint64_t entry, uint32_t first, uint32_t end)
{
	uint32_t count = 0;

	page_heap.stats.examined_count += end - first;
	for (uint32_t i = first; i < end; i++)
		count += heap.map[i] == entry;
	return count;
}

/*
 * Cuts what lies in [first, end), the low end of a run, off *dirt. Nobody looks at single units where the dirty ones lie side by side; what is left over
 * follows by subtraction, for it may be long.
 */
static struct dirt dirt_cut(struct dirt *dirt, uint32_t first, uint32_t end)
{
	struct dirt part = {0};

	if (dirt->count > 0 && dirt->low < end) {
		part = (struct dirt){0, dirt->low, (uint32_t)min_u64(end, dirt->high), 0};
		part.count = dirt->count == dirt->high - dirt->low
				     ? part.high - part.low
				     : count_entries(MAP_DIRTY, part.low, part.high);
		dirt->count -= part.count;
		dirt->low = part.high;
	}
	if (UNLIKELY(dirt->stuck > 0)) {
		part.stuck = count_entries(MAP_STUCK, first, end);
		dirt->stuck -= part.stuck;
	}
	return part;
}

/* Enters free units, merged with free neighbours. */
static void run_insert_merged(uint32_t first, uint32_t count, struct dirt dirt)
{
	uint32_t end = first + count;

	if (!page_heap.has_lost_runs && first > 0 && heap.spans[first - 1].kind == SPAN_FREE_RUN) {
		struct span *before = &heap.spans[first - heap.spans[first - 1].unit_count];

		dirt = dirt_sum(dirt, dirt_of(before));
		run_remove(before);
		first = span_first_unit(before);
	}
	if (!page_heap.has_lost_runs && end < heap_used_units() &&
		heap.spans[end].kind == SPAN_FREE_RUN) {
		struct span *after = &heap.spans[end];

		dirt = dirt_sum(dirt, dirt_of(after));
		end += after->unit_count;
		run_remove(after);
	}
	run_insert(first, end - first, dirt);
}

/* The first non-empty bin at or after `bin`, or BIN_COUNT. */
static unsigned next_bin(unsigned set, unsigned bin)
{
	for (unsigned word = bin / 64; word < BIN_WORDS; word++) {
		uint64_t bits = page_heap.occupied[set][word];

		if (word == bin / 64)
			bits &= UINT64_MAX << (bin % 64);
		if (bits)
			return word * 64 + lowest_bit(bits);
	}
	return BIN_COUNT;
}

/* Every run of a bin behind the first fits; in the first one at most `tries` are looked at. */
static struct span *find_in_set(unsigned set, size_t units, uint32_t tries)
{
	unsigned bin = bin_of(units);

	list_for_each(link, &page_heap.bins[set][bin])
	{
		struct span *run = list_entry(link, struct span, link);

		if (tries-- == 0)
			break;
		page_heap.stats.examined_count++;
		if (run->unit_count >= units)
			return run;
	}
	bin = next_bin(set, bin + 1);
	return bin < BIN_COUNT ? list_entry(page_heap.bins[set][bin].next, struct span, link) : 0;
}

static struct span *find_run(size_t units, uint32_t tries)
{
	struct span *run = 0;

	for (unsigned set = DIRTY; !run && set < SET_COUNT; set++)
		run = find_in_set(set, units, tries);
	return run;
}

/* Opens fresh units at the end of the window so that a run of `units` exists; false when the kernel or the window refuses. */
static bool window_grow(size_t units)
{
	uint32_t used = heap_used_units();
	size_t missing = units, end;

	if (!page_heap.has_lost_runs && used > 0 && heap.spans[used - 1].kind == SPAN_FREE_RUN)
		missing -= min_u64(missing, heap.spans[used - 1].unit_count);
	end = used + missing;
	if (end + 2 * EDGE_UNITS > page_heap.window.capacity >> UNIT_SHIFT ||
		!region_grow(&page_heap.map, end * sizeof(uint64_t)) ||
		!region_grow(&page_heap.spans, end * sizeof(struct span)) ||
		!region_grow(&page_heap.window, (end + 2 * EDGE_UNITS) << UNIT_SHIFT))
		return false;
	// all of a step becomes usable at once
	end = min_u64((page_heap.window.committed >> UNIT_SHIFT) - 2 * EDGE_UNITS,
		min_u64(page_heap.map.committed / sizeof(uint64_t),
			page_heap.spans.committed / sizeof(struct span)));
	// descriptors stay untouched until a span needs one: a huge calloc must cost no memory
	store_release(&heap.used, end << UNIT_SHIFT);
	run_insert_merged(used, (uint32_t)end - used, (struct dirt){0});
	return true;
}

/* Takes exactly `units` units, the first at an address that is a multiple of `alignment` units, out of a run that is long enough; the rest goes back. */
static struct span *run_carve(struct span *run, size_t units, size_t alignment, bool *ret_fresh)
{
	uint32_t first = span_first_unit(run), end = first + run->unit_count;
	size_t base_unit =
		heap.base >>
		UNIT_SHIFT; // addresses count, and the base is a multiple of one unit only
	uint32_t start = (uint32_t)(align_up(base_unit + first, alignment) - base_unit);
	uint32_t stop = start + (uint32_t)units;
	struct dirt rest = dirt_of(run), before = dirt_cut(&rest, first, start),
		    taken = dirt_cut(&rest, start, stop);

	run_remove(run);
	if (start > first)
		run_insert(first, start - first, before);
	if (stop < end)
		run_insert(stop, end - stop, rest);
	page_heap.idle_unit_count =
		min_u64(page_heap.idle_unit_count, page_heap.stats.dirty_unit_count);
	*ret_fresh = taken.count + taken.stuck == 0;
	return &heap.spans[start];
}

static void enter_map(struct span *span)
{
	uint32_t first = span_first_unit(span);

	for (uint32_t i = 0; i < span->unit_count; i++) {
		uint64_t entry = span->class == SIZE_CLASS_LARGE
					 ? MAP_ENTRY(span->class, 0, first)
					 : MAP_ENTRY(span->class, i, span->group);

		store_release(&heap.map[first + i], entry);
	}
}

static void leave_map(const struct span *span, uint64_t entry)
{
	for (uint32_t i = 0; i < span->unit_count; i++)
		store_release(&heap.map[span_first_unit(span) + i], entry);
}

/* Under the lock: whoever ends a cycle meets every span that was born into it. */
static uint32_t newborn_sweep(void)
{
	return page_heap.is_marking ? SPAN_MARKING : SPAN_SWEPT;
}

static void span_init(struct span *span, unsigned class, uint32_t units, int32_t group, bool fresh)
{
	list_init(&span->link);
	list_init(&span->class_link);
	span->unit_count = units;
	span->group = group;
	span->slot_count = size_classes[class].slot_count;
	store_relaxed(&span->class,
		(uint8_t) class); // pairs with the loads of sweep_from, which may look at a former life
	span->place = SPAN_CURRENT;
	span->odd = 0;
	span->moved = 0;
	span->fresh = fresh;
	span->ignores = 0;
	span->dropped = 0;
	span->free_hint = 0;
	store_relaxed(&span->tail_words, (uint16_t)0);
	span->first_hint_cycle = 0;
	span->birth_cycle = 0;
	span->stack_ids = 0;
	span->side = 0;
	// nobody may release a large span before its state is stored: the caller ends BUSY
	store_relaxed(&span->sweep, class == SIZE_CLASS_LARGE ? SPAN_BUSY : newborn_sweep());
	store_relaxed(&span->kind, class == SIZE_CLASS_LARGE ? SPAN_LARGE : SPAN_SMALL);
	if (units > 1)
		store_relaxed(&heap.spans[span_first_unit(span) + units - 1].kind, SPAN_UNUSED);
	enter_map(span);
}

struct span *page_heap_alloc(unsigned class, size_t unit_count, size_t alignment_units)
{
	size_t wanted = unit_count + alignment_units - 1;
	struct span *span = 0;
	int32_t group;
	bool fresh;

	lock_acquire(&page_heap.lock);
	if (wanted > page_heap.window.capacity >> UNIT_SHIFT)
		goto unlock;
	span = find_run(wanted, FIND_TRIES);
	if (!span)
		span = find_run(wanted, window_grow(wanted) ? FIND_TRIES : UINT32_MAX);
	if (!span || !groups_alloc(size_classes[class].group_count, &group)) {
		span = 0;
		goto unlock;
	}
	span = run_carve(span, unit_count, alignment_units, &fresh);
	span_init(span, class, (uint32_t)unit_count, group, fresh);
	store_relaxed(
		&page_heap.stats.used_unit_count, page_heap.stats.used_unit_count + unit_count);
unlock:
	lock_release(&page_heap.lock);
	return span;
}

void page_heap_end_birth(struct span *span)
{
	lock_acquire(&page_heap.lock);
	store_release(&span->sweep, newborn_sweep());
	lock_release(&page_heap.lock);
}

void page_heap_set_marking(bool is_marking)
{
	lock_acquire(&page_heap.lock);
	store_relaxed(&page_heap.is_marking, is_marking);
	lock_release(&page_heap.lock);
}

bool page_heap_begin_move(void)
{
	add_seq(&page_heap.moves, 1u);
	if (!load_seq(&page_heap.is_watched))
		return true;
	page_heap_end_move();
	return false;
}

void page_heap_end_move(void)
{
	sub_seq(&page_heap.moves, 1u);
}

bool page_heap_end_moves(uint64_t patience_ns)
{
	uint64_t deadline = clock_now_ns() + patience_ns;

	store_seq(&page_heap.is_watched, 1u);
	while (load_seq(&page_heap.moves) > 0) {
		if (clock_now_ns() > deadline)
			return false;
		SYSCALL(sched_yield);
	}
	return true;
}

void page_heap_allow_moves(void)
{
	store_seq(&page_heap.is_watched, 0u);
}

void page_heap_forget_moves(void)
{
	store_relaxed(&page_heap.moves, 0u);
}

static void free_side_arrays(struct span *span)
{
	meta_free(span->stack_ids, span->slot_count * sizeof(*span->stack_ids));
	span->stack_ids = 0;
}

void page_heap_note_moved(struct span *span)
{
	if (span->moved)
		return;
	span->moved = 1;
	add_relaxed(&page_heap.stats.moved_span_count, 1);
}

void page_heap_note_dropped(struct span *span)
{
	lock_acquire(&page_heap.lock);
	if (!span->dropped)
		store_relaxed(&page_heap.stats.dropped_unit_count,
			page_heap.stats.dropped_unit_count + span->unit_count);
	span->dropped = 1;
	lock_release(&page_heap.lock);
}

uint64_t page_heap_used_bytes(void)
{
	size_t dropped = load_relaxed(&page_heap.stats.dropped_unit_count),
	       used = load_relaxed(&page_heap.stats.used_unit_count);

	return (uint64_t)(used > dropped ? used - dropped : 0) << UNIT_SHIFT;
}

/* The program may have changed protection or mapping, and mremap leaves separate mappings: fresh pages heal both. */
static bool heal(struct span *span)
{
	if (!os_remap_fresh((void *)span_address(span), span_bytes(span)))
		return false;
	if (span->moved)
		sub_relaxed(&page_heap.stats.moved_span_count, 1);
	return true;
}

void page_heap_free(struct span *span)
{
	uint32_t first = span_first_unit(span), count = span->unit_count;
	bool is_odd = load_relaxed(&span->odd), is_clean = (span->moved || is_odd) && heal(span);

	free_side_arrays(span);
	lock_acquire(&page_heap.lock);
	leave_map(span, is_clean ? 0 : MAP_DIRTY);
	groups_free(span->group, size_classes[span->class].group_count);
	if (is_odd && !is_clean) {
		store_relaxed(&span->kind, SPAN_LOST); // perhaps nobody can write there
	} else {
		store_relaxed(&span->kind, SPAN_UNUSED);
		run_insert_merged(
			first, count, (struct dirt){is_clean ? 0 : count, first, first + count, 0});
	}
	store_relaxed(&page_heap.stats.used_unit_count, page_heap.stats.used_unit_count - count);
	if (span->dropped)
		store_relaxed(&page_heap.stats.dropped_unit_count,
			page_heap.stats.dropped_unit_count - count);
	span->dropped = 0;
	lock_release(&page_heap.lock);
}

bool page_heap_grow_in_place(struct span *span, size_t unit_count)
{
	uint32_t end = span_first_unit(span) + span->unit_count;
	size_t missing = unit_count - span->unit_count;
	struct span *after = &heap.spans[end];
	bool done = false, fresh;

	lock_acquire(&page_heap.lock);
	if (!page_heap.has_lost_runs && end < heap_used_units() && after->kind == SPAN_FREE_RUN &&
		after->unit_count >= missing) {
		run_carve(after, missing, 1, &fresh);
		span->fresh = span->fresh && fresh;
		span->unit_count = (uint32_t)unit_count;
		store_relaxed(&heap.spans[end + missing - 1].kind, SPAN_UNUSED);
		enter_map(span);
		store_relaxed(&page_heap.stats.used_unit_count,
			page_heap.stats.used_unit_count + missing);
		done = true;
	}
	lock_release(&page_heap.lock);
	return done;
}

struct span *page_heap_split(struct span *span, size_t unit_count, enum slot_state state)
{
	struct span *tail = 0;
	int32_t group;

	lock_acquire(&page_heap.lock);
	if (!page_heap.is_marking && groups_alloc(1, &group)) {
		uint32_t rest = span->unit_count - (uint32_t)unit_count;
		span->unit_count = (uint32_t)unit_count;
		tail = span + unit_count;
		store_release(heap.states + (intptr_t)group * 64, (uint8_t)state);
		span_init(tail, SIZE_CLASS_LARGE, rest, group, false);
		if (span->moved)
			page_heap_note_moved(tail);
		tail->odd = load_relaxed(&span->odd);
		store_release(&tail->sweep, SPAN_SWEPT);
	}
	lock_release(&page_heap.lock);
	return tail;
}

/*
 * Cuts the piece that ends at the last dirty unit, at most PURGE_UNITS_MAX long and without stuck units, out of a dirty run. The clean end stays behind, or
 * it would be taken for ever.
 */
static struct span *cut_dirty_piece(struct span *run)
{
	uint32_t first = span_first_unit(run), end = first + run->unit_count, start, stop;
	struct dirt below = dirt_of(run), above = {0};

	for (stop = below.high; heap.map[stop - 1] != MAP_DIRTY; stop--)
		page_heap.stats.examined_count++;
	start = stop - below.low > PURGE_UNITS_MAX ? stop - PURGE_UNITS_MAX : below.low;
	if (UNLIKELY(below.stuck > 0)) {
		for (uint32_t unit = stop; unit-- > start;) {
			if (heap.map[unit] == MAP_STUCK)
				start = unit + 1;
		}
		above.stuck = count_entries(MAP_STUCK, stop, end);
		below.stuck -= above.stuck;
	}
	below.count -= below.count == below.high - below.low
			       ? stop - start
			       : count_entries(MAP_DIRTY, start, stop);
	below.high = start;
	run_remove(run);
	if (start > first)
		run_insert(first, start - first, below);
	if (stop < end)
		run_insert(stop, end - stop, above);
	run = &heap.spans[start];
	run->unit_count = stop - start;
	return run;
}

/* A dirty piece of one of the longest runs, out of the bins; NULL: there is none. */
static struct span *take_dirty_piece_locked(void)
{
	for (unsigned bin = BIN_COUNT; bin-- > 0;) {
		struct list_link *head = &page_heap.bins[DIRTY][bin];

		if (!list_is_empty(head))
			return cut_dirty_piece(list_entry(head->previous, struct span, link));
	}
	return 0;
}

static bool discard_units(uint32_t first, uint32_t count)
{
	return os_discard((void *)(heap.base + ((uintptr_t)first << UNIT_SHIFT)),
		(size_t)count << UNIT_SHIFT);
}

/* The kernel did not take all of a piece: unit by unit. What it does not take then is stuck: not zero, and never tried again before it was used. */
static uint32_t discard_one_by_one(uint32_t first, uint32_t count)
{
	uint32_t stuck = 0;

	for (uint32_t unit = first; unit < first + count; unit++) {
		if (heap.map[unit] == MAP_DIRTY && !discard_units(unit, 1)) {
			store_relaxed(&heap.map[unit], MAP_STUCK);
			stuck++;
		}
	}
	return stuck;
}

/* Returns the pages of one piece; false when nothing is left to do. The map entries of a piece out of the bins are nobody else's. */
static bool purge_piece(size_t dirty_limit, size_t *ret_units)
{
	struct span *piece = 0;
	uint32_t first, count, dirty, stuck = 0;

	lock_acquire(&page_heap.lock);
	dirty = (uint32_t)page_heap.stats.dirty_unit_count;
	if (dirty > dirty_limit)
		piece = take_dirty_piece_locked();
	dirty -= (uint32_t)page_heap.stats.dirty_unit_count;
	lock_release(&page_heap.lock);
	if (!piece)
		return false;
	first = span_first_unit(piece);
	count = piece->unit_count;
	if (!discard_units(first, count))
		stuck = discard_one_by_one(first, count);
	for (uint32_t unit = first; unit < first + count; unit++) {
		if (heap.map[unit] == MAP_DIRTY)
			store_relaxed(&heap.map[unit], 0);
	}
	lock_acquire(&page_heap.lock);
	run_insert_merged(first, count, (struct dirt){.stuck = stuck});
	page_heap.stats.purged_unit_count += dirty - stuck;
	lock_release(&page_heap.lock);
	*ret_units += dirty - stuck;
	return true;
}

size_t page_heap_purge(size_t dirty_limit)
{
	size_t units = 0;

	while (purge_piece(dirty_limit, &units))
		;
	return units;
}

void page_heap_window(uintptr_t *ret_start, uintptr_t *ret_end)
{
	struct region *window = &page_heap.window;

	lock_acquire(&page_heap.lock);
	*ret_start = window->base;
	*ret_end = window->base + (window->reserved ? window->capacity : window->committed);
	lock_release(&page_heap.lock);
}

void page_heap_unreserve(void)
{
	lock_acquire(&page_heap.lock);
	region_unreserve(&page_heap.window);
	region_unreserve(&page_heap.map);
	region_unreserve(&page_heap.spans);
	groups_unreserve();
	lock_release(&page_heap.lock);
}

bool page_heap_repair(void)
{
	if (!lock_is_held(&page_heap.lock))
		return true;
	for (int set = 0; set < SET_COUNT; set++) {
		for (int bin = 0; bin < BIN_COUNT; bin++)
			list_init(&page_heap.bins[set][bin]);
		__builtin_memset(page_heap.occupied[set], 0, sizeof(page_heap.occupied[set]));
	}
	page_heap.stats.dirty_unit_count = page_heap.stats.clean_unit_count = 0;
	page_heap.has_lost_runs = true;
	return false;
}
