#include "core/gc/dangling.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/gc/cycle.h"
#include "core/gc/root_holders.h"
#include "core/gc/roots.h"
#include "core/gc/thread.h"
#include "core/gc/words.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/pages.h"
#include "core/profile/module.h"

#include <string.h>

enum { BLOCKS_MAX = 1 << 18, PIECE_BYTES = 64 << 10, LOOK_MS = 1000 };

static struct {
	uint32_t is_wanted; // atomic
	struct leak_set blocks;
	uint64_t deadline_ns;
	struct dangling_group *groups;
	size_t group_count;
	struct findings_holder noted[DANGLING_NOTED_MAX]; // registers, and what the kernel has
	size_t noted_count;
} dangling = {.blocks = {.is_sorted = true}};

/* Apart, for what is zero at first needs no room in the file. */
static uintptr_t piece[PIECE_BYTES / sizeof(uintptr_t)];

void dangling_demand(void)
{
	store_relaxed(&dangling.is_wanted, 1u);
}

bool dangling_begin(void)
{
	leak_set_clear(&dangling.blocks);
	return load_relaxed(&dangling.is_wanted);
}

void dangling_block(struct slot slot)
{
	struct leaked *block =
		dangling.blocks.count < BLOCKS_MAX
			? leak_set_add(&dangling.blocks, slot_address(slot), slot_bytes(slot))
			: 0;

	if (block)
		block->stack = slot_stack_id(slot);
}

struct leak_set *dangling_blocks(void)
{
	leak_set_sort(&dangling.blocks);
	return &dangling.blocks;
}

void dangling_end(void)
{
	store_relaxed(&dangling.is_wanted, 0u);
	dangling.noted_count = 0;
	leak_set_release(&dangling.blocks);
}

/* ---- roots that are no memory ---- */

/* A word that is there many times says no more than one. */
static bool is_noted(const struct findings_holder *holder)
{
	for (size_t i = 0; i < dangling.noted_count; i++) {
		const struct findings_holder *other = &dangling.noted[i];

		if (other->kind == holder->kind && other->thread == holder->thread &&
			other->target == holder->target)
			return true;
	}
	return false;
}

void dangling_note_roots(const struct root_scan *scan, const uintptr_t *words, size_t count)
{
	uint32_t kind = root_holder_of(scan, 0, 0).kind;

	if ((kind != FINDINGS_HOLDER_REGISTER && kind != FINDINGS_HOLDER_KERNEL) ||
		dangling.blocks.count == 0)
		return;
	leak_set_sort(&dangling.blocks);
	for (size_t i = 0; i < count && dangling.noted_count < DANGLING_NOTED_MAX; i++) {
		uintptr_t target = words[i] & WORD_ADDRESS_MASK;
		struct findings_holder holder = root_holder_of(scan, i, target);

		if (leak_set_find(&dangling.blocks, target) && !is_noted(&holder))
			dangling.noted[dangling.noted_count++] = holder;
	}
}

const struct findings_holder *dangling_noted(size_t *ret_count)
{
	*ret_count = dangling.noted_count;
	return dangling.noted;
}

void dangling_take_noted(const struct findings_holder *noted, size_t count)
{
	dangling.noted_count = min_u64(count, DANGLING_NOTED_MAX);
	for (size_t i = 0; i < dangling.noted_count; i++)
		dangling.noted[i] = noted[i];
}

/* They come before others, for they are few. */
static void add_noted(void)
{
	for (size_t i = 0; i < dangling.noted_count; i++) {
		const struct leaked *block =
			leak_set_find(&dangling.blocks, dangling.noted[i].target);
		struct dangling_group *group = block && block->group < dangling.group_count
						       ? &dangling.groups[block->group]
						       : 0;

		if (group && group->count < DANGLING_HOLDERS_MAX)
			group->holders[group->count++] = dangling.noted[i];
	}
}

/* ---- who holds them ---- */

struct thread_search {
	uintptr_t address;
	uint32_t id;
};

static void is_thread_of(struct thread *thread, void *argument)
{
	struct thread_search *search = argument;

	if (thread->stack_low <= search->address && search->address < thread->stack_high)
		search->id = (uint32_t)thread->tid;
}

static uint32_t module_at(uintptr_t address)
{
	const struct module *module;

	for (uint32_t i = 0; (module = module_get(i)); i++) {
		if (load_relaxed(&module->is_mapped) && module->low <= address &&
			address < module->high)
			return i;
	}
	return FINDINGS_NONE;
}

static enum findings_holder_kind kind_of(const char *scanner, uint32_t module)
{
	if (strcmp(scanner, "stacks") == 0)
		return FINDINGS_HOLDER_STACK;
	if (strcmp(scanner, "thread_storage") == 0)
		return FINDINGS_HOLDER_THREAD_STORAGE;
	return module != FINDINGS_NONE ? FINDINGS_HOLDER_GLOBAL : FINDINGS_HOLDER_MAPPING;
}

/* `scanner` NULL: the word lies in a block of the heap. */
static void add_holder(struct dangling_group *group, uintptr_t address, uintptr_t target,
	const char *scanner, uint32_t stack)
{
	struct thread_search search = {.address = address};
	struct findings_holder *holder = &group->holders[group->count++];

	*holder = (struct findings_holder){
		.kind = FINDINGS_HOLDER_BLOCK,
		.module = scanner ? module_at(address) : FINDINGS_NONE,
		.stack = stack,
		.address = address,
		.target = target,
	};
	if (!scanner)
		return;
	holder->kind = kind_of(scanner, holder->module);
	if (holder->kind == FINDINGS_HOLDER_GLOBAL || holder->kind == FINDINGS_HOLDER_MAPPING)
		return;
	threads_for_each(is_thread_of, &search);
	holder->thread = search.id;
}

/* A live block that holds `address`; its stack. */
static bool is_in_live_block(uintptr_t address, uint32_t *ret_stack)
{
	struct slot slot;
	uint8_t state;

	if (!heap_find_slot(address, &slot))
		return false;
	state = load_relaxed(slot_state(slot));
	*ret_stack = state == SLOT_SAMPLED ? slot_stack_id(slot) : 0;
	return state_is_live(state) || state == SLOT_PROBATION;
}

static void look_at_word(uintptr_t address, uintptr_t word, const char *scanner)
{
	struct leaked *block;
	struct slot slot;
	uint32_t stack = 0;

	if (!heap_find_slot(word, &slot) || load_relaxed(slot_state(slot)) != SLOT_HINTED)
		return;
	block = leak_set_find(&dangling.blocks, word);
	if (!block || block->group >= dangling.group_count ||
		dangling.groups[block->group].count == DANGLING_HOLDERS_MAX)
		return;
	if (scanner || is_in_live_block(address, &stack))
		add_holder(&dangling.groups[block->group], address, word, scanner, stack);
}

static bool is_over(void)
{
	return clock_now_ns() > dangling.deadline_ns;
}

/* Memory that is gone refers to nothing. */
static void look_at(const char *scanner, uintptr_t start, uintptr_t end)
{
	const uintptr_t base = heap.base, used = load_relaxed(&heap.used);

	for (; start < end && !is_over(); start += PIECE_BYTES) {
		size_t bytes = min_u64(PIECE_BYTES, end - start);

		if (!memory_read(piece, start, bytes))
			continue;
		for (size_t i = 0; i < bytes / sizeof(uintptr_t); i++) {
			uintptr_t word = piece[i] & WORD_ADDRESS_MASK;

			if (word - base < used)
				look_at_word(start + i * sizeof(uintptr_t), word, scanner);
		}
	}
}

static void look_at_root(const char *scanner, uintptr_t start, uintptr_t end, void *argument)
{
	(void)argument;
	look_at(scanner, start, end);
}

static struct span *next_span(uint32_t *unit)
{
	struct signal_guard guard;
	struct span *span;

	signals_block(&guard);
	span = heap_next_used_span(unit);
	signals_restore(&guard);
	return span;
}

void dangling_find_holders(struct dangling_group *groups, size_t count)
{
	struct span *span;
	uint32_t unit = 0;

	lock_assert_held(cycle_lock());
	dangling.deadline_ns = clock_now_ns() + LOOK_MS * NS_PER_MS;
	dangling.groups = groups;
	dangling.group_count = count;
	add_noted();
	roots_for_each_read(look_at_root, 0);
	while (!is_over() && (span = next_span(&unit)))
		look_at(0, span_address(span), span_address(span) + span_bytes(span));
}
