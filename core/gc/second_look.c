/*
 * Two steps per word: a bitmap that fits the second-level cache says "perhaps", a hash table says which block. Tables are made for the condemned
 * blocks, five forms each.
 *
 * What stands in the condemned blocks themselves says nothing as long as nobody is known to use them, and is not read (it may be most of the memory). If
 * one of them is found, what stands in it and in all it reaches is looked at then, and so on until nothing more is found.
 *
 * Left out: our own mappings, image and stack (they hold the very addresses), what belongs to devices and the kernel. Pages never touched hold nothing and
 * are not touched now.
 */
#include "core/gc/second_look.h"

#include "core/base/arith.h"
#include "core/base/bits.h"
#include "core/gc/cycle.h"
#include "core/os/memory.h"
#include "core/os/maps.h"
#include "core/os/pages.h"

#include <elf.h>
#include <sys/mman.h>

enum {
	FORMS = 5,
	FORM_BITS = 30,
	CHUNK_BYTES = 128 * 1024,
	BITMAP_BITS_MIN = 16,
	BITMAP_BITS_MAX = 24,
	SKIP_BYTES_MIN =
		16384, // condemned blocks that are left out of reading, not only of finding
};

#define FORM_MASK (((uint32_t)1 << FORM_BITS) - 1)

struct form {
	uint32_t key;   // low 30 bits
	uint32_t index; // of the block in the set, plus 1; 0: free entry
};

struct look {
	struct leak_set *set;
	struct form *forms; // open addressing
	size_t form_capacity;
	unsigned form_bits; // log2 of it
	uint64_t *bitmap;
	unsigned bitmap_bits; // log2 of its size
	uint32_t *chunk;
	size_t next_skip; // index of the first block that may lie at or after what is read next
	long kept;
	bool failed;
};

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

static uint32_t scramble(uint32_t key)
{
	return key * 0x9e3779b1u;
}

/* By the top bits: in the lower ones addresses, multiples of the size of their slots, are much alike. */
static size_t first_place(const struct look *look, uint32_t key)
{
	return scramble(key) >> (32 - look->form_bits);
}

static void add_form(struct look *look, uint64_t form, uint32_t index)
{
	uint32_t key = (uint32_t)form & FORM_MASK;
	uint32_t bit = scramble(key) >> (32 - look->bitmap_bits);
	size_t place = first_place(look, key);

	look->bitmap[bit / 64] |= 1ull << (bit % 64);
	while (look->forms[place].index != 0)
		place = (place + 1) & (look->form_capacity - 1);
	look->forms[place] = (struct form){key, index + 1};
}

static void add_forms(struct look *look, uintptr_t address, uint32_t index)
{
	add_form(look, address, index);
	add_form(look, address << 1, index);
	add_form(look, address >> 1, index);
	add_form(look, address >> 3, index);
	add_form(look, __builtin_bswap32((uint32_t)address), index);
}

static unsigned bits_for(size_t entries)
{
	unsigned bits = entries > 1 ? highest_bit(entries - 1) + 1 : 1;

	return bits;
}

static void look_end(struct look *look)
{
	if (look->forms)
		os_unmap(look->forms, look->form_capacity * sizeof(struct form));
	if (look->bitmap)
		os_unmap(look->bitmap, ((size_t)1 << look->bitmap_bits) / 8);
	if (look->chunk)
		os_unmap(look->chunk, CHUNK_BYTES);
}

static bool look_begin(struct look *look, struct leak_set *set, size_t chosen)
{
	unsigned bits = bits_for(chosen * FORMS * 16);

	*look = (struct look){.set = set};
	look->form_bits = bits_for(chosen * FORMS * 2);
	look->form_capacity = (size_t)1 << look->form_bits;
	look->bitmap_bits = bits < BITMAP_BITS_MIN   ? BITMAP_BITS_MIN
			    : bits > BITMAP_BITS_MAX ? BITMAP_BITS_MAX
						     : bits;
	look->forms = os_map(look->form_capacity * sizeof(struct form));
	look->bitmap = os_map(((size_t)1 << look->bitmap_bits) / 8);
	look->chunk = os_map(CHUNK_BYTES);
	if (!look->forms || !look->bitmap || !look->chunk)
		return false;
	for (size_t i = 0; i < set->count; i++) {
		if (set->list[i].flags & LEAKED_CHOSEN)
			add_forms(look, set->list[i].address, (uint32_t)i);
	}
	return true;
}

/* ---- a word that may be a form ---- */

/* The aligned word around position `i` of the chunk. */
static uintptr_t word_around(const struct look *look, size_t i)
{
	return (uintptr_t)look->chunk[i & ~(size_t)1] | (uintptr_t)look->chunk[i | 1] << 32;
}

/*
 * A plain pointer into the heap is what it looks like. To another block it is no disguise of this one. To this block it is known if it stands in a leaked
 * block that may go, too, and whose references were read in this cycle; anywhere else (live memory, a leaked block that stays, or one in which there was nothing
 * when it was read) somebody has put it there since.
 */
static bool is_explained(
	const struct look *look, const struct leaked *leaked, size_t i, uintptr_t position)
{
	const uintptr_t mask = ((uintptr_t)1 << 47) - 1;
	uintptr_t word = word_around(look, i) & mask;
	const struct leaked *holder;
	struct slot slot;

	if (!heap_find_slot(word, &slot) || load_relaxed(slot_state(slot)) == SLOT_FREE)
		return false;
	if (word - leaked->address >= leaked_bytes(leaked))
		return true;
	holder = leak_set_find(look->set, position);
	return holder &&
	       (holder->flags & (LEAKED_CONDEMNED | LEAKED_HELD | LEAKED_LEAF)) == LEAKED_CONDEMNED;
}

/* Free memory of the heap holds remains only. */
static bool is_free_memory(uintptr_t position)
{
	struct slot slot;

	return heap_contains(position) &&
	       (!heap_find_slot(position, &slot) || load_relaxed(slot_state(slot)) == SLOT_FREE);
}

/* In a block that goes as well, and of which nothing was found. */
static bool is_condemned_memory(const struct look *look, uintptr_t position)
{
	const struct leaked *leaked = leak_set_find(look->set, position);

	return leaked &&
	       (leaked->flags & (LEAKED_CHOSEN | LEAKED_KEPT | LEAKED_VISITED)) == LEAKED_CHOSEN;
}

static void try_word(struct look *look, size_t i, uintptr_t position)
{
	uint32_t key = look->chunk[i] & FORM_MASK;
	size_t place = first_place(look, key);

	for (; look->forms[place].index != 0; place = (place + 1) & (look->form_capacity - 1)) {
		struct leaked *leaked;

		if (look->forms[place].key != key)
			continue;
		leaked = &look->set->list[look->forms[place].index - 1];
		if (leaked->flags & LEAKED_KEPT || is_free_memory(position) ||
			is_condemned_memory(look, position) ||
			is_explained(look, leaked, i, position))
			continue;
		leaked->flags |= LEAKED_KEPT;
		look->kept++;
	}
}

static void look_at_chunk(struct look *look, uintptr_t start, size_t bytes)
{
	const uint64_t *bitmap = look->bitmap;
	unsigned shift = 32 - look->bitmap_bits;

	for (size_t i = 0; i < bytes / sizeof(uint32_t); i++) {
		uint32_t bit = scramble(look->chunk[i] & FORM_MASK) >> shift;

		if (bitmap[bit / 64] >> (bit % 64) & 1)
			try_word(look, i, start + i * sizeof(uint32_t));
	}
}

/* ---- all memory ---- */

struct range {
	uintptr_t start, end;
	bool overlaps;
};

static void note_overlap(uintptr_t address, size_t bytes, void *argument)
{
	struct range *range = argument;

	if (address <= heap.base && heap.base < address + bytes)
		return; // the heap's window: its blocks are the program's
	if (address < range->end && range->start < address + bytes)
		range->overlaps = true;
}

static bool is_ours(uintptr_t start, uintptr_t end)
{
	uintptr_t image = (uintptr_t)&__ehdr_start;
	const Elf64_Phdr *headers;
	struct range range = {start, end, false};

	__asm__(""
		: "+r"(image)); // the program headers lie behind the one object that the compiler knows
	headers = (const Elf64_Phdr *)(image + __ehdr_start.e_phoff);
	os_own_mappings(note_overlap, &range);
	for (unsigned i = 0; i < __ehdr_start.e_phnum; i++) {
		if (__ehdr_start.e_type == ET_DYN && headers[i].p_type == PT_LOAD)
			note_overlap(image + headers[i].p_vaddr, headers[i].p_memsz, &range);
	}
	return range.overlaps;
}

/* Pages that are gone by now hold nothing. Pieces that hold something of ours are cut down to pages. */
static void look_at_range(struct look *look, uintptr_t start, uintptr_t end)
{
	while (start < end) {
		size_t bytes = min_u64(end - start, CHUNK_BYTES);
		size_t page = min_u64(OS_PAGE_BYTES - start % OS_PAGE_BYTES, bytes);

		// fork, or the end of the process: the look is made another time
		if (lock_is_contended(cycle_lock())) {
			look->failed = true;
			return;
		}
		if (is_ours(start, start + bytes))
			bytes = page;
		if (!is_ours(start, start + bytes)) {
			if (!memory_read(look->chunk, start, bytes)) {
				bytes = page;
				if (!memory_read(look->chunk, start, bytes)) {
					start += bytes;
					continue;
				}
			}
			look_at_chunk(look, start, bytes);
		}
		start += bytes;
	}
}

/* The next large condemned block that ends behind `start`; addresses only grow from call to call. */
static const struct leaked *next_skipped(struct look *look, uintptr_t start)
{
	struct leak_set *set = look->set;

	for (; look->next_skip < set->count; look->next_skip++) {
		const struct leaked *leaked = &set->list[look->next_skip];

		if (leaked->flags & LEAKED_CHOSEN && leaked_bytes(leaked) >= SKIP_BYTES_MIN &&
			leaked->address + leaked_bytes(leaked) > start)
			return leaked;
	}
	return 0;
}

static bool look_at_pages(uintptr_t start, uintptr_t end, void *argument)
{
	struct look *look = argument;

	while (start < end && !look->failed) {
		const struct leaked *skipped = heap_contains(start) ? next_skipped(look, start) : 0;
		uintptr_t limit = skipped && skipped->address < end ? skipped->address : end;

		if (start < limit)
			look_at_range(look, start, limit);
		start = limit == end ? end : skipped->address + leaked_bytes(skipped);
	}
	return !look->failed;
}

/*
 * The frames of the functions in this file, and the dead stack below them, hold the addresses. On the collector's own stack is_ours() says so of all frames; the
 * mapping may hold more than the stack, for the kernel joins it with memory of the program that lies right above and was mapped alike.
 */
static uintptr_t first_to_look_at(const struct look *look, const struct mapping *mapping)
{
	uintptr_t frame = (uintptr_t)look;

	return mapping->start <= frame && frame < mapping->end
		       ? align_up((uintptr_t)(look + 1), OS_PAGE_BYTES)
		       : mapping->start;
}

static void look_at_mapping(struct look *look, const struct mapping *mapping)
{
	bool is_shared = mapping->shared || mapping->kind == MAPPING_SHMEM;
	enum page_choice choice = mapping->swapped ? PAGES_WHOLE
				  : is_shared      ? PAGES_SHARED
						   : PAGES_OWN;
	uintptr_t start = first_to_look_at(look, mapping);

	if (mapping->kind == MAPPING_DEVICE || mapping->kind == MAPPING_KERNEL ||
		mapping->kind == MAPPING_SECRET)
		return;
	if (mapping->kind == MAPPING_FILE && mapping->shared && !(mapping->protection & PROT_WRITE))
		return;
	if (start < mapping->end &&
		!pages_for_each(start, mapping->end, choice, look_at_pages, look))
		look->failed = true;
}

static bool look_at_all(struct look *look)
{
	static struct maps maps; // lock CYCLE
	size_t count;

	if (!maps_reserve(&maps) || !maps_read(&maps) ||
		(maps_swap_is_used() && !maps_note_swapped(&maps, &count)))
		return false;
	for (size_t i = 0; i < maps.count; i++)
		look_at_mapping(look, &maps.list[i]);
	return !look->failed;
}

static bool is_kept(const struct leaked *leaked)
{
	return leaked->flags & LEAKED_KEPT;
}

/* What was found may hold disguised addresses of others. Repeats until nothing new is found. */
static bool look_into_kept(struct look *look)
{
	struct leak_set *set = look->set;
	long before;

	do {
		before = look->kept;
		if (!leak_set_reach(set, is_kept, LEAKED_VISITED))
			return false;
		for (size_t i = 0; i < set->count; i++) {
			struct leaked *leaked = &set->list[i];

			if (!(leaked->flags & (LEAKED_KEPT | LEAKED_VISITED)) ||
				leaked->flags & LEAKED_SCANNED)
				continue;
			leaked->flags |= LEAKED_SCANNED;
			look_at_range(
				look, leaked->address, leaked->address + leaked_bytes(leaked));
		}
	} while (look->kept != before && !look->failed);
	for (size_t i = 0; i < set->count; i++)
		set->list[i].flags &= ~(uint32_t)(LEAKED_VISITED | LEAKED_SCANNED);
	return !look->failed;
}

long second_look(struct leak_set *set)
{
	struct look look;
	size_t chosen = 0, kept = 0;
	bool done;

	for (size_t i = 0; i < set->count; i++) {
		chosen += (set->list[i].flags & LEAKED_CHOSEN) != 0;
		kept += (set->list[i].flags & LEAKED_KEPT) != 0;
	}
	if (chosen == 0)
		return 0;
	done = look_begin(&look, set, chosen) && look_at_all(&look) &&
	       (look.kept + kept == 0 || look_into_kept(&look));
	look_end(&look);
	return done ? look.kept : -1;
}
