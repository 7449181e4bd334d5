/*
 * The list is filled in address order nearly always (verdicts walk spans upwards), so sorting is mostly one look.
 *
 * References are read in one pass over the contents, in address order and in large pieces (a system call for each small block would cost more than
 * all the rest), and kept as numbers of blocks; walks then touch no contents.
 *
 * Roots: a depth-first walk lists the blocks in the order in which they are finished. Taken from last to first, a block not yet reached is in
 * no subtree of those before it, and nothing after it reaches it but what it shares a ring with: it is a root (the "mother vertex" argument).
 * Both walks keep their stack in memory of ours; a leaked list of a million nodes is a path a million long.
 */
#include "core/gc/leak_set.h"

#include "core/base/sort.h"
#include "core/os/memory.h"
#include "core/os/pages.h"

enum {
	FIRST_CAPACITY = 4096,
	WINDOW_BYTES = 128 * 1024,
	SPARSE_BYTES_MIN = 1 << 20, // of larger blocks only pages that hold something are read
	HASH_BYTES_MAX = 4096,      // larger blocks: their first and last half of this
};

/* Contents, read ahead. Guard: CYCLE. */
static struct {
	uintptr_t words[WINDOW_BYTES / sizeof(uintptr_t)];
	uintptr_t start;
	size_t bytes;
} window;

/* A block that is being walked and the next of its references. */
struct frame {
	uint32_t index;
	uint32_t edge;
};

struct walk {
	struct leak_set *set;
	struct frame *stack;
	size_t depth;
	uint32_t *finished; // in the order of finishing, or NULL
	size_t finished_count;
};

static void release_array(void *array, size_t bytes)
{
	if (array)
		os_unmap(array, bytes);
}

void leak_set_forget_edges(struct leak_set *set)
{
	release_array(set->first_edge, set->first_edge_bytes);
	release_array(set->targets, set->target_capacity * sizeof(uint32_t));
	set->first_edge = 0;
	set->targets = 0;
	set->target_count = set->target_capacity = 0;
}

void leak_set_clear(struct leak_set *set)
{
	set->count = 0;
	set->bytes = 0;
	set->is_sorted = true;
	set->is_incomplete = false;
	leak_set_forget_edges(set);
}

void leak_set_release(struct leak_set *set)
{
	leak_set_forget_edges(set);
	release_array(set->list, set->capacity * sizeof(struct leaked));
	*set = (struct leak_set){.is_sorted = true};
}

static bool grow(struct leak_set *set)
{
	size_t capacity = set->capacity ? 2 * set->capacity : FIRST_CAPACITY;
	struct leaked *larger = os_map(capacity * sizeof(struct leaked));

	if (!larger)
		return false;
	for (size_t i = 0; i < set->count; i++)
		larger[i] = set->list[i];
	release_array(set->list, set->capacity * sizeof(struct leaked));
	set->list = larger;
	set->capacity = capacity;
	return true;
}

struct leaked *leak_set_add(struct leak_set *set, uintptr_t address, size_t bytes)
{
	struct leaked *leaked;

	if (set->count == set->capacity && (set->count >= UINT32_MAX / 2 || !grow(set))) {
		set->is_incomplete = true;
		return 0;
	}
	if (set->count > 0 && set->list[set->count - 1].address >= address)
		set->is_sorted = false;
	leaked = &set->list[set->count++];
	*leaked = (struct leaked){
		.address = address, .bytes_units = (uint32_t)(bytes >> GRANULE_SHIFT)};
	set->bytes += bytes;
	return leaked;
}

static bool is_lower(const void *a, const void *b)
{
	return ((const struct leaked *)a)->address < ((const struct leaked *)b)->address;
}

void leak_set_sort(struct leak_set *set)
{
	if (!set->is_sorted)
		sort_items(set->list, set->count, sizeof(struct leaked), is_lower);
	set->is_sorted = true;
}

struct leaked *leak_set_find(const struct leak_set *set, uintptr_t word)
{
	size_t low = 0, high = set->count;
	struct leaked *leaked;

	if (!heap_contains(word))
		return 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set->list[middle].address <= word)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	leaked = &set->list[low - 1];
	return word - leaked->address < leaked_bytes(leaked) ? leaked : 0;
}

/* ---- references ---- */

struct edge_reader {
	struct leak_set *set;
	bool is_leaf; // no word so far was an address of the heap
};

/*
 * Contents of [address, address + bytes), at most WINDOW_BYTES, through the window; NULL: unreadable. It was readable in the pause, so the program has just
 * given it up or locked it away: it refers to nothing.
 */
static const uintptr_t *contents(uintptr_t address, size_t bytes)
{
	if (address < window.start || address + bytes > window.start + window.bytes) {
		window.start = address;
		window.bytes = WINDOW_BYTES;
		if (!memory_read(window.words, address, WINDOW_BYTES)) {
			window.bytes = bytes;
			if (!memory_read(window.words, address, bytes)) {
				window.bytes = 0;
				return 0;
			}
		}
	}
	return window.words + (address - window.start) / sizeof(uintptr_t);
}

static bool add_target(struct leak_set *set, uint32_t target)
{
	size_t capacity = set->target_capacity ? 2 * set->target_capacity : FIRST_CAPACITY;
	uint32_t *larger;

	if (set->target_count == set->target_capacity) {
		larger = capacity <= UINT32_MAX ? os_map(capacity * sizeof(uint32_t)) : 0;
		if (!larger)
			return false;
		for (size_t i = 0; i < set->target_count; i++)
			larger[i] = set->targets[i];
		release_array(set->targets, set->target_capacity * sizeof(uint32_t));
		set->targets = larger;
		set->target_capacity = capacity;
	}
	set->targets[set->target_count++] = target;
	return true;
}

/* Notes what the words refer to; each word also without a tag in its top 17 bits, as the marker reads it. */
static bool add_words(struct edge_reader *reader, const uintptr_t *words, size_t count)
{
	struct leak_set *set = reader->set;
	const uintptr_t mask = ((uintptr_t)1 << 47) - 1;

	for (size_t i = 0; i < count; i++) {
		const struct leaked *target;

		if (!heap_contains(words[i] & mask))
			continue;
		reader->is_leaf = false;
		target = leak_set_find(set, words[i] & mask);
		if (target && !add_target(set, (uint32_t)(target - set->list)))
			return false;
	}
	return true;
}

static bool add_range(uintptr_t start, uintptr_t end, void *argument)
{
	while (start < end) {
		size_t bytes = min_u64(WINDOW_BYTES, end - start);
		const uintptr_t *words = contents(start, bytes);

		if (words && !add_words(argument, words, bytes / sizeof(uintptr_t)))
			return false;
		start += bytes;
	}
	return true;
}

static bool add_block(struct leak_set *set, struct leaked *leaked)
{
	struct edge_reader reader = {set, true};
	uintptr_t end = leaked->address + leaked_bytes(leaked);
	bool done;

	if (leaked->flags & LEAKED_LEAF)
		return true;
	if (leaked_bytes(leaked) < SPARSE_BYTES_MIN)
		done = add_range(leaked->address, end, &reader);
	else
		done = pages_for_each(leaked->address, end, PAGES_PRESENT, add_range, &reader);
	if (done && reader.is_leaf)
		leaked->flags |= LEAKED_LEAF;
	return done;
}

bool leak_set_read_edges(struct leak_set *set)
{
	bool done = true;

	if (set->first_edge || set->count == 0)
		return true;
	leak_set_sort(set);
	window.bytes = 0;
	set->first_edge_bytes = (set->count + 1) * sizeof(uint32_t);
	set->first_edge = os_map(set->first_edge_bytes);
	if (!set->first_edge)
		return false;
	for (size_t i = 0; done && i < set->count; i++) {
		done = add_block(set, &set->list[i]);
		set->first_edge[i + 1] = (uint32_t)set->target_count;
	}
	if (!done)
		leak_set_forget_edges(set);
	return done;
}

/* ---- walks ---- */

/* Room for every block once, and for one that is its own start. */
static bool walk_begin(struct walk *walk, struct leak_set *set, bool keep_order)
{
	*walk = (struct walk){.set = set};
	if (set->count == 0)
		return true;
	walk->stack = os_map((set->count + 1) * sizeof(struct frame));
	if (!walk->stack)
		return false;
	if (keep_order)
		walk->finished = os_map(set->count * sizeof(uint32_t));
	if (!keep_order || walk->finished)
		return true;
	os_unmap(walk->stack, (set->count + 1) * sizeof(struct frame));
	return false;
}

static void walk_end(struct walk *walk)
{
	release_array(walk->stack, (walk->set->count + 1) * sizeof(struct frame));
	release_array(walk->finished, walk->set->count * sizeof(uint32_t));
}

static void walk_push(struct walk *walk, size_t index)
{
	walk->stack[walk->depth++] =
		(struct frame){.index = (uint32_t)index, .edge = walk->set->first_edge[index]};
}

/* The next block the top one refers to that is included and has no `flag` yet; NULL at its end. */
static struct leaked *next_child(struct walk *walk, struct frame *frame,
	bool (*includes)(const struct leaked *), uint32_t flag)
{
	struct leak_set *set = walk->set;

	while (frame->edge < set->first_edge[frame->index + 1]) {
		struct leaked *target = &set->list[set->targets[frame->edge++]];

		if (!(target->flags & flag) && (!includes || includes(target)))
			return target;
	}
	return 0;
}

/* Visits all that is reached from the block at `index`, which has the flag already. */
static void walk_from(
	struct walk *walk, size_t index, bool (*includes)(const struct leaked *), uint32_t flag)
{
	walk_push(walk, index);
	while (walk->depth > 0) {
		struct frame *frame = &walk->stack[walk->depth - 1];
		struct leaked *child = next_child(walk, frame, includes, flag);

		if (child) {
			child->flags |= flag;
			walk_push(walk, (size_t)(child - walk->set->list));
			continue;
		}
		if (walk->finished)
			walk->finished[walk->finished_count++] = frame->index;
		walk->depth--;
	}
}

bool leak_set_reach(
	struct leak_set *set, bool (*starts)(const struct leaked *leaked), uint32_t flag)
{
	struct walk walk;

	if (!leak_set_read_edges(set) || !walk_begin(&walk, set, false))
		return false;
	// a start that is reached itself gets the flag by that; it is walked twice at most
	for (size_t i = 0; i < set->count; i++) {
		if (starts(&set->list[i]) && !(set->list[i].flags & flag))
			walk_from(&walk, i, 0, flag);
	}
	walk_end(&walk);
	return true;
}

static void clear_flags(struct leak_set *set, uint32_t flags)
{
	for (size_t i = 0; i < set->count; i++)
		set->list[i].flags &= ~flags;
}

bool leak_set_find_roots(struct leak_set *set, bool (*includes)(const struct leaked *leaked))
{
	struct walk walk, second;

	clear_flags(set, LEAKED_ROOT | LEAKED_VISITED);
	if (!leak_set_read_edges(set) || !walk_begin(&walk, set, true))
		return false;
	for (size_t i = 0; i < set->count; i++) {
		if (set->list[i].flags & LEAKED_VISITED || !includes(&set->list[i]))
			continue;
		set->list[i].flags |= LEAKED_VISITED;
		walk_from(&walk, i, includes, LEAKED_VISITED);
	}
	clear_flags(set, LEAKED_VISITED);
	if (!walk_begin(&second, set, false)) {
		walk_end(&walk);
		return false;
	}
	for (size_t i = walk.finished_count; i > 0; i--) {
		struct leaked *leaked = &set->list[walk.finished[i - 1]];

		if (leaked->flags & LEAKED_VISITED)
			continue;
		leaked->flags |= LEAKED_VISITED | LEAKED_ROOT;
		walk_from(&second, walk.finished[i - 1], includes, LEAKED_VISITED);
	}
	clear_flags(set, LEAKED_VISITED);
	walk_end(&second);
	walk_end(&walk);
	return true;
}

/* ---- contents ---- */

static void hash_words(const uintptr_t *words, size_t count, uint64_t *hash)
{
	for (size_t i = 0; i < count; i++) {
		*hash = (*hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
		*hash ^= *hash >> 29;
	}
}

uint64_t leaked_hash(const struct leaked *leaked)
{
	enum { HALF = HASH_BYTES_MAX / 2 };
	uintptr_t copy[HALF / sizeof(uintptr_t)];
	uint64_t hash = 0x9ae16a3b2f90404full, bytes = leaked_bytes(leaked);
	const uintptr_t *words;

	if (bytes <= HASH_BYTES_MAX) {
		words = contents(leaked->address, bytes);
		if (words)
			hash_words(words, bytes / sizeof(uintptr_t), &hash);
		return words ? hash | !hash : 0;
	}
	if (!memory_read(copy, leaked->address, HALF))
		return 0;
	hash_words(copy, HALF / sizeof(uintptr_t), &hash);
	if (!memory_read(copy, leaked->address + bytes - HALF, HALF))
		return 0;
	hash_words(copy, HALF / sizeof(uintptr_t), &hash);
	return hash | !hash;
}

void leak_set_begin_reading(void)
{
	window.bytes = 0;
}
