/*
 * Marking. A candidate waits in a ring until its mark is in the cache; a block that is reached for the first time goes on the queue (a stack in memory mapped
 * before the pause); blocks taken from it pass through a second ring, prefetched on entry. So the cache misses of several blocks overlap, and for a small block
 * there are three: its words, its mark, and the map entry that leads there; its span's descriptor is not looked at.
 * A full queue loses nothing: the block is marked, so a walk over all marked blocks finds what was not read.
 *
 * Preset makes the list of spans that this cycle judges: only they are MARKING, so they can not be released before the verdict.
 *
 * Blocks are read by plain loads. In a pause their pages cannot go away. Beside the program they can: who takes pages away makes the spans odd first, which are
 * read with care, and waits until the batch of readings under way is over (mark_keep_off).
 */
#include "core/gc/mark.h"

#include "core/base/bits.h"
#include "core/gc/cycle.h"
#include "core/gc/hinted_map.h"
#include "core/gc/roots.h"
#include "core/gc/words.h"
#include "core/gc/world.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/base/arith.h"
#include "core/os/arch.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/memory.h"
#include "core/os/pages.h"
#include "core/os/peek.h"

#include <string.h>

enum {
	RING = 32,           // power of two
	CANDIDATE_RING = 16, // power of two
	PREFETCH_BLOCKS = 8, // at once
	QUEUE_MIN = 1 << 12,
	QUEUE_MAX = 1 << 27,
	BEAT_BLOCKS = 1 << 10, // blocks between two signs of life
	BEAT_SPANS = 1 << 8,
	BATCH_BLOCKS = 64,          // read between two looks at who waits in mark_keep_off()
	PRESET_SPANS = 64,          // whose sweep words are changed under one lock
	ASK_BYTES = 4 << 20,        // of pages that hold something
	UNMAP_BYTES = 1 << 20,      // at once
	SPARSE_BYTES_MIN = 1 << 20, // larger blocks are read by present pages only
};

/* A slot that a word names, and where its mark is. */
struct candidate {
	uintptr_t address;
	uint64_t *marks;
	uint64_t bit;
};

/* All fields: the thread that runs the cycle. */
struct marker {
	uintptr_t *queue; // addresses of blocks marked and not read
	size_t capacity;
	size_t count;
	bool overflowed;
	bool is_quick;
	bool has_read_all;    // quick: what was marked from the start
	bool is_preset_still; // in the pause that the mark ends in: no block has been hinted since
	bool failed;
	bool has_met_odd;    // while a large block was read directly
	struct span **spans; // those this cycle judges
	size_t span_capacity;
	size_t span_count;
	struct hinted_map hinted; // quick: if there was memory
	bool (*may_go_on)(void);  // beside the program; NULL: in a pause
	void (*pace)(void);       // or NULL
	struct candidate candidates[CANDIDATE_RING];
	uint64_t candidates_in, candidates_out; // of the ring, so far
	uintptr_t ring[RING];
	uintptr_t copy[WORDS_BLOCK]; // of memory that may not be read directly
};

struct marker marker;
struct mark_stats mark_stats;

/* For mark_keep_off(); written by the collector, sequentially consistent: a batch begins before its spans are asked whether they are odd. */
static struct {
	uint32_t is_beside; // blocks may be read by plain loads while the program runs
	uint32_t batch;
	uint32_t kept_off; // how often; by any thread
} reading;

static void *map_at_most(size_t *entries, size_t least, size_t entry_bytes)
{
	void *memory = os_map(*entries * entry_bytes);

	while (!memory && *entries > least) {
		*entries /= 2;
		memory = os_map(*entries * entry_bytes);
	}
	return memory;
}

/* A piece at a time: nobody else's mappings can be changed meanwhile. */
static void unmap_queue(struct marker *marking)
{
	char *start = (char *)marking->queue;
	size_t bytes = marking->capacity * sizeof(*marking->queue);

	marking->queue = 0; // a fork child must not unmap what may lie there by then
	for (size_t at = 0; at < bytes; at += UNMAP_BYTES) {
		os_unmap(start + at, min_u64(UNMAP_BYTES, bytes - at));
		cycle_rest();
	}
}

void mark_finish(struct marker *marking)
{
	if (marking->queue)
		unmap_queue(marking);
	if (marking->spans)
		os_unmap(marking->spans, marking->span_capacity * sizeof(*marking->spans));
	marking->spans = 0;
	marking->span_count = 0;
	hinted_map_drop(&marking->hinted);
	// no roots where the core is part of the program
	memset(marking->ring, 0, sizeof(marking->ring));
	memset(marking->candidates, 0, sizeof(marking->candidates));
}

bool mark_prepare(struct marker *marking, bool is_quick)
{
	size_t units = heap_used_units();

	mark_finish(marking);
	words_choose(true);
	mark_stats = (struct mark_stats){0};
	marking->count = 0;
	marking->overflowed = false;
	marking->is_quick = is_quick;
	marking->has_read_all = !is_quick;
	marking->failed = false;
	marking->may_go_on = 0;
	marking->pace = 0;
	marking->candidates_in = marking->candidates_out = 0;
	marking->capacity = min_u64(max_u64(units * (UNIT_BYTES / 128), QUEUE_MIN), QUEUE_MAX);
	marking->queue = map_at_most(&marking->capacity, QUEUE_MIN, sizeof(*marking->queue));
	// spans may be made until the world stands: leave room for them
	marking->span_capacity = units + units / 4 + 1024;
	marking->spans = os_map(marking->span_capacity * sizeof(*marking->spans));
	if (is_quick)
		hinted_map_make(&marking->hinted, heap.base, marking->span_capacity << UNIT_SHIFT);
	if (marking->queue && marking->spans)
		return true;
	mark_finish(marking);
	return false;
}

/* A sign of life. False: the pause is over, nothing may be read any more; or the program does not want the cycle any more. */
static bool may_go_on(struct marker *marking)
{
	world_beat();
	if (marking->pace)
		marking->pace();
	if (world_is_abandoned() || (marking->may_go_on && !marking->may_go_on()))
		marking->failed = true;
	return !marking->failed;
}

static void nap(void)
{
	enum { NAP_NS = 100000 };
	uint32_t nobody = 0;

	futex_wait(&nobody, 0, NAP_NS);
}

static uint64_t unused_mask(const uint8_t *states)
{
	return bytes_equal_mask(states, SLOT_FREE) | bytes_equal_mask(states, SLOT_CACHED);
}

/* Runs of slots in the group of the span that are hinted. */
static void map_hinted(
	struct hinted_map *map, const struct span *span, uint32_t group, uint64_t hinted)
{
	uintptr_t start = span_address(span);
	size_t bytes = span_slot_bytes(span);

	while (hinted != 0) {
		unsigned first = lowest_bit(hinted), count = run_of_bits(hinted >> first);

		hinted_map_add(map, start + (group * 64 + first) * bytes, count * bytes);
		hinted &= ~(bits_below(count) << first);
	}
}

/* What lies outside of the map is marked: it was made since there was room for. */
static uint64_t preset_quickly(struct span *span, uint32_t group)
{
	struct hinted_map *map = &marker.hinted;
	uint64_t hinted = bytes_equal_mask(span_states(span) + group * 64, SLOT_HINTED);

	if (!map->words)
		return ~hinted;
	if (span_address(span) + span_bytes(span) > map->base + map->bytes)
		return ~0ull;
	map_hinted(map, span, group, hinted);
	return ~hinted;
}

static void preset_span(struct span *span)
{
	uint64_t *marks = span_marks(span);

	for (uint32_t group = 0; group < span_group_count(span); group++)
		marks[group] = marker.is_quick ? preset_quickly(span, group)
					       : unused_mask(span_states(span) + group * 64);
}

static bool list_span(struct span *span)
{
	if (marker.span_count == marker.span_capacity)
		return false;
	marker.spans[marker.span_count++] = span;
	return true;
}

/* The lock is free in a pause, for its holder would run. It is needed if the pause is abandoned: then runs are split and merged, and spans swept. */
static bool preset_all(void)
{
	heap_for_each_span(span)
	{
		if (span->kind != SPAN_SMALL && span->kind != SPAN_LARGE)
			continue;
		if (!cas_seq(&span->sweep, (uint32_t)SPAN_SWEPT, (uint32_t)SPAN_MARKING))
			return false;
		if (!list_span(span)) {
			store_release(&span->sweep, SPAN_SWEPT);
			return false;
		}
		preset_span(span);
		if (marker.span_count % BEAT_SPANS == 0) {
			world_beat();
			if (world_is_abandoned())
				return false;
		}
	}
	return true;
}

bool mark_preset(void)
{
	bool complete;

	marker.is_preset_still = true;
	lock_acquire(page_heap_lock());
	complete = preset_all();
	lock_release(page_heap_lock());
	return complete;
}

/*
 * Takes spans from *unit on that are SWEPT, up to PRESET_SPANS of them, and presets them: with the lock released, for MARKING they are nobody else's. One that is
 * BUSY stops it; those that are MARKING were born so. Returns the number taken, or -1 without room. Signals blocked.
 */
static int preset_some(uint32_t *unit, bool *ret_is_busy)
{
	size_t first = marker.span_count, end = first + PRESET_SPANS;
	bool has_room = true;
	struct span *span;

	*ret_is_busy = false;
	lock_acquire(page_heap_lock());
	while (has_room && marker.span_count < end && (span = heap_used_span_from(unit))) {
		if (load_acquire(&span->sweep) == SPAN_MARKING)
			continue;
		*ret_is_busy = !cas_seq(&span->sweep, (uint32_t)SPAN_SWEPT, (uint32_t)SPAN_MARKING);
		if (*ret_is_busy) {
			*unit = span_first_unit(span);
			break;
		}
		has_room = list_span(span);
		if (!has_room)
			store_release(&span->sweep, SPAN_SWEPT);
	}
	lock_release(page_heap_lock());
	for (size_t i = first; i < marker.span_count; i++)
		preset_span(marker.spans[i]);
	return has_room ? (int)(marker.span_count - first) : -1;
}

bool mark_preset_beside(uint64_t patience_ns)
{
	uint64_t deadline = clock_now_ns() + patience_ns;
	uint32_t unit = 0;

	marker.is_preset_still = false;
	while (unit < heap_used_units()) {
		bool is_busy;

		if (preset_some(&unit, &is_busy) < 0)
			return false;
		if (is_busy && clock_now_ns() > deadline)
			return false;
		if (is_busy)
			nap();
		if (!may_go_on(&marker))
			return false;
	}
	return true;
}

bool mark_list_spans(void)
{
	size_t units = heap_used_units();
	uint32_t unit = 0;
	struct span *span;

	if (units > marker.span_capacity) {
		struct span **spans = os_map(units * sizeof(*spans));

		if (!spans)
			return false;
		os_unmap(marker.spans, marker.span_capacity * sizeof(*spans));
		marker.spans = spans;
		marker.span_capacity = units;
	}
	marker.span_count = 0;
	while ((span = heap_next_used_span(&unit))) {
		if (load_acquire(&span->sweep) == SPAN_MARKING && !list_span(span))
			return false;
	}
	return true;
}

void mark_drop_spans(void)
{
	uint32_t unit = 0;
	struct span *span;

	while ((span = heap_next_used_span(&unit)))
		cas_seq(&span->sweep, (uint32_t)SPAN_MARKING, (uint32_t)SPAN_SWEPT);
	marker.span_count = 0;
}

void mark_for_each_span(void (*visit)(struct span *span, void *argument), void *argument)
{
	for (size_t i = 0; i < marker.span_count; i++)
		visit(marker.spans[i], argument);
}

void mark_set_spans(enum sweep_state state)
{
	for (size_t i = 0; i < marker.span_count; i++)
		store_release(&marker.spans[i]->sweep, (uint32_t)state);
}

/* ---- words to blocks ---- */

static inline void mark_oldest_candidate(struct marker *marking)
{
	const struct candidate *candidate =
		&marking->candidates[marking->candidates_out++ % CANDIDATE_RING];
	uint64_t marks = load_relaxed(candidate->marks);

	if (marks & candidate->bit)
		return;
	store_relaxed(candidate->marks, marks | candidate->bit);
	if (UNLIKELY(marking->count == marking->capacity))
		marking->overflowed = true;
	else
		marking->queue[marking->count++] = candidate->address;
}

/* `word` lies in the window. */
static inline void add_candidate(struct marker *marking, uintptr_t word)
{
	uint64_t entry = heap_map_entry(word);
	unsigned class = map_entry_class(entry);
	uintptr_t address;
	intptr_t group;
	uint32_t index = 0;

	if (class == 0)
		return;
	if (UNLIKELY(class == SIZE_CLASS_LARGE)) {
		const struct span *span = &heap.spans[map_entry_unit(entry)];

		address = span_address(span);
		group = span->group;
	} else {
		uintptr_t unit = ((word - heap.base) >> UNIT_SHIFT) - map_entry_offset(entry);

		index = (uint32_t)(span_quotient(word, entry, class) >> 32);
		if (index >= size_classes[class].slot_count)
			return;
		address = heap.base + (unit << UNIT_SHIFT) + index * size_classes[class].slot_bytes;
		group = map_entry_group(entry) + index / 64;
	}
	if (marking->candidates_in - marking->candidates_out == CANDIDATE_RING)
		mark_oldest_candidate(marking);
	__builtin_prefetch(&heap.marks[group]);
	marking->candidates[marking->candidates_in++ % CANDIDATE_RING] =
		(struct candidate){address, &heap.marks[group], 1ull << (index % 64)};
}

static void mark_all_candidates(struct marker *marking)
{
	while (marking->candidates_out != marking->candidates_in)
		mark_oldest_candidate(marking);
}

/* Past the hinted map's end all is marked. */
static size_t filter(struct marker *marking, const uintptr_t *words, size_t count,
	uintptr_t candidates[WORDS_BLOCK])
{
	const struct hinted_map *map = &marking->hinted;

	if (!map->words)
		return words_filter(words, count, heap.base, heap.used, candidates);
	return hinted_map_filter(map, candidates,
		words_filter(words, count, heap.base, min_u64(heap.used, map->bytes), candidates));
}

void mark_words(struct marker *marking, const uintptr_t *words, size_t count)
{
	uintptr_t candidates[WORDS_BLOCK];

	while (count > 0) {
		size_t piece = min_u64(count, WORDS_BLOCK);
		size_t found = filter(marking, words, piece, candidates);

		for (size_t i = 0; i < found; i++)
			__builtin_prefetch(&heap.map[(candidates[i] - heap.base) >> UNIT_SHIFT]);
		for (size_t i = 0; i < found; i++)
			add_candidate(marking, candidates[i]);
		words += piece;
		count -= piece;
	}
}

/* ---- blocks to words ---- */

/* Beside the program: who waits in mark_keep_off() knows by this that what was read before is done with. */
static inline void begin_batch(struct marker *marking)
{
	if (marking->may_go_on)
		add_seq(&reading.batch, 1);
}

/* Part of a block. */
struct piece {
	struct marker *marking;
	const struct span *span;
	uintptr_t start, end;
};

/* Memory whose protection the program may have changed: a copy is read, of those pages that hold something. */
static bool read_carefully(uintptr_t start, uintptr_t end, void *argument)
{
	const struct piece *piece = argument;
	struct marker *marking = piece->marking;

	start = max_u64(start, piece->start);
	end = min_u64(end, piece->end);
	for (uintptr_t address = start; address < end; address += sizeof(marking->copy)) {
		size_t bytes = min_u64(sizeof(marking->copy), end - address);

		if (!memory_read(marking->copy, address, bytes)) {
			mark_stats.unreadable_count++;
			marking->failed = true;
			return false;
		}
		mark_words(marking, marking->copy, bytes / sizeof(uintptr_t));
		if (!may_go_on(marking))
			return false;
	}
	return true;
}

static bool read_odd(struct piece *piece, uintptr_t start, uintptr_t end)
{
	if (!pages_for_each(align_down(start, OS_PAGE_BYTES), align_up(end, OS_PAGE_BYTES),
		    PAGES_PRESENT, read_carefully, piece))
		piece->marking->failed = true;
	return !piece->marking->failed;
}

/* Page by page, for the span may become odd meanwhile, and each word of one may be a block that no cache has. */
static bool read_directly(uintptr_t start, uintptr_t end, void *argument)
{
	struct piece *piece = argument;

	for (uintptr_t address = start; address < end; address += OS_PAGE_BYTES) {
		size_t bytes = min_u64(OS_PAGE_BYTES, end - address);

		begin_batch(piece->marking);
		if (load_relaxed(&piece->span->odd))
			piece->marking->has_met_odd = true;
		else
			mark_words(piece->marking, (const uintptr_t *)address,
				bytes / sizeof(uintptr_t));
		if (!may_go_on(piece->marking))
			return false;
	}
	return true;
}

/* The kernel is asked for the pages of so much at a time as it can tell soon. */
static void read_present(struct piece *piece)
{
	for (uintptr_t at = piece->start, end; at < piece->end && !piece->marking->failed;
		at = end) {
		end = min_u64(at + ASK_BYTES, piece->end);
		if (!pages_for_each(at, end, PAGES_PRESENT, read_directly, piece) &&
			!piece->marking->failed)
			read_directly(at, end, piece);
	}
}

/* [start, end) of a block. */
static void read_piece(
	struct marker *marking, const struct span *span, uintptr_t start, uintptr_t end)
{
	struct piece piece = {marking, span, start, end};
	bool is_odd = load_relaxed(&span->odd);

	if (LIKELY(end - start < SPARSE_BYTES_MIN && !is_odd)) {
		mark_words(marking, (const uintptr_t *)start, (end - start) / sizeof(uintptr_t));
		return;
	}
	marking->has_met_odd = false;
	if (!is_odd)
		read_present(&piece);
	if ((is_odd || marking->has_met_odd) && !marking->failed)
		read_odd(&piece, start, end);
}

/* A block from the queue: its first byte, in a span that is MARKING. */
static void read_block(struct marker *marking, uintptr_t address)
{
	unsigned class = map_entry_class(heap_map_entry(address));
	struct slot slot;

	if (LIKELY(class != SIZE_CLASS_LARGE && !load_relaxed(&heap.has_odd)))
		mark_words(marking, (const uintptr_t *)address,
			size_classes[class].slot_bytes / sizeof(uintptr_t));
	else if (heap_find_slot(address, &slot))
		read_piece(marking, slot.span, address, address + slot_written_bytes(slot));
}

static bool is_in_use(struct slot slot)
{
	uint8_t state = load_acquire(slot_state(slot));

	return state != SLOT_FREE && state != SLOT_CACHED;
}

bool mark_reread(struct marker *marking, uintptr_t start, uintptr_t end)
{
	begin_batch(marking);
	while (start < end && !marking->failed) {
		struct slot slot;
		uintptr_t stop, written;

		if (!heap_find_slot(start, &slot)) {
			start = align_down(start, UNIT_BYTES) +
				UNIT_BYTES; // the base is a multiple of a unit
			continue;
		}
		stop = min_u64(slot_address(slot) + slot_bytes(slot), end);
		written = min_u64(slot_address(slot) + slot_written_bytes(slot), stop);
		if (start < written && slot_is_marked(slot) && is_in_use(slot))
			read_piece(marking, slot.span, start, written);
		start = stop;
	}
	return may_go_on(marking);
}

/*
 * From the queue to the ring, several at once: a prefetch does not retire before its page is found, and the CPU looks ahead only so far, so walks through the
 * page tables overlap when nothing stands between them. Not too many: prefetches for which no line buffer is free are lost.
 */
static uint64_t prefetch_blocks(struct marker *marking, uint64_t entered, uint64_t left)
{
	while (marking->count > 0 && entered - left < RING) {
		uintptr_t address = marking->queue[--marking->count];

		__builtin_prefetch((const void *)address);
		__builtin_prefetch((const void *)(address + 64));
		marking->ring[entered++ % RING] = address;
	}
	return entered;
}

static void drain_queue(struct marker *marking)
{
	uint64_t entered = 0, left = 0;

	while (!marking->failed && (left % BEAT_BLOCKS != 0 || may_go_on(marking))) {
		if (entered - left <= RING - PREFETCH_BLOCKS)
			entered = prefetch_blocks(marking, entered, left);
		if (entered == left && marking->candidates_out == marking->candidates_in)
			return;
		if (entered == left) {
			mark_all_candidates(marking);
			continue;
		}
		if (left % BATCH_BLOCKS == 0)
			begin_batch(marking);
		read_block(marking, marking->ring[left++ % RING]);
	}
}

/* `count` slots side by side. */
static void read_slots(struct marker *marking, struct slot first, unsigned count)
{
	size_t bytes = slot_bytes(first);

	if (LIKELY(first.span->kind != SPAN_LARGE && !load_relaxed(&heap.has_odd))) {
		mark_words(marking, (const uintptr_t *)slot_address(first),
			count * bytes / sizeof(uintptr_t));
		return;
	}
	for (unsigned i = 0; i < count; i++)
		read_block(marking, slot_address(first) + i * bytes);
}

static void read_marked_group(
	struct marker *marking, struct span *span, uint32_t group, bool with_hinted)
{
	const uint8_t *states = span_states(span) + group * 64;
	uint64_t marked =
		span_marks(span)[group] & ~unused_mask(states) & span_group_mask(span, group);

	if (!with_hinted)
		marked &= ~bytes_equal_mask(states, SLOT_HINTED);

	while (marked != 0 && !marking->failed) {
		unsigned first = lowest_bit(marked), count = run_of_bits(marked >> first);

		begin_batch(marking);
		read_slots(marking, (struct slot){span, group * 64 + first}, count);
		drain_queue(marking);
		marked &= ~(bits_below(count) << first);
	}
}

/* Every marked block, in the order of addresses, and what it reaches. */
static void read_all_marked(struct marker *marking, bool with_hinted)
{
	for (size_t i = 0; i < marking->span_count; i++) {
		struct span *span = marking->spans[i];

		for (uint32_t group = 0; group < span_group_count(span); group++)
			read_marked_group(marking, span, group, with_hinted);
	}
}

/* A queue that was full has lost blocks that are marked: all are read again. Repeats until nothing is lost. */
bool mark_drain(struct marker *marking)
{
	drain_queue(marking);
	if (!marking->has_read_all && !(CHECKS && roots_are_off("marked")))
		read_all_marked(marking, !marking->is_preset_still);
	marking->has_read_all = true;
	while (marking->overflowed && !marking->failed) {
		marking->overflowed = false;
		mark_stats.overflow_count++;
		read_all_marked(marking, true);
	}
	return !marking->failed;
}

void mark_flush(struct marker *marking)
{
	mark_all_candidates(marking);
}

bool mark_all_again(struct marker *marking)
{
	marking->may_go_on = 0;
	marking->has_read_all = true;
	marking->overflowed = true;
	return mark_list_spans() && mark_drain(marking);
}

static void add_to_span(struct span *span, void *argument)
{
	const uint64_t *marks = (const uint64_t *)argument + span->group;

	for (uint32_t group = 0; group < span_group_count(span); group++)
		span_marks(span)[group] |= marks[group];
}

void mark_add(const uint64_t *marks)
{
	mark_for_each_span(add_to_span, (void *)(uintptr_t)marks);
}

void mark_set_pace(struct marker *marking, void (*pace)(void))
{
	marking->pace = pace;
}

bool mark_has_failed(const struct marker *marking)
{
	return marking->failed;
}

/* ---- beside the program ---- */

void mark_set_beside(struct marker *marking, bool (*hook)(void))
{
	marking->may_go_on = hook;
	store_seq(&reading.is_beside, (uint32_t)(hook != 0));
	add_seq(&reading.batch, 1);
}

void mark_keep_off(uintptr_t address, size_t bytes)
{
	uint32_t batch;

	heap_make_odd(address, bytes);
	add_seq(&reading.kept_off, 1); // a full fence, which a load is not
	batch = load_seq(&reading.batch);
	while (load_seq(&reading.is_beside) && load_seq(&reading.batch) == batch)
		nap();
}

uint32_t mark_kept_off_count(void)
{
	return load_seq(&reading.kept_off);
}

void mark_fork_child(void)
{
	if (marker.queue || marker.spans)
		mark_finish(&marker);
	marker.may_go_on = 0;
	store_relaxed(&reading.is_beside, 0u);
}

/* ---- checking builds ---- */

static void check_word(uintptr_t word)
{
	struct slot slot;

	if (heap_find_slot(word & WORD_ADDRESS_MASK, &slot))
		check(slot_is_marked(slot));
}

void mark_check_done(struct marker *marking)
{
	mark_all_candidates(marking);
	check(marking->count == 0 && !marking->overflowed);
}

void mark_check_closed(void)
{
	heap_for_each_span(span)
	{
		if ((span->kind != SPAN_SMALL && span->kind != SPAN_LARGE) || span->odd ||
			span_slot_bytes(span) >= SPARSE_BYTES_MIN)
			continue;
		check(span->sweep == SPAN_MARKING);
		for (uint32_t i = 0; i < span->slot_count; i++) {
			struct slot slot = {span, i};
			const uintptr_t *words = (const uintptr_t *)slot_address(slot);

			if (!slot_is_marked(slot) || !is_in_use(slot))
				continue;
			for (size_t at = 0; at < slot_written_bytes(slot) / sizeof(*words); at++)
				check_word(words[at]);
			world_beat();
		}
	}
}
