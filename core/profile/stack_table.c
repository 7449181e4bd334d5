/*
 * A hash table with chains: bucket heads and `next` are ids, an id is the offset of its stack in the region divided by 8. A stack is written,
 * then published by a release store of its bucket's head; readers follow ids with acquire loads and see whole stacks. New stacks are always
 * put in front, nothing is moved or removed.
 */
#include "core/profile/stack_table.h"

#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/heap/heap.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/profile/module.h"
#include "core/profile/unwind.h"

#include <assert.h>

enum { BUCKET_COUNT = 65536, ID_UNIT_BYTES = 8, REGION_STEP = 65536 };

#define REGION_BYTES ((size_t)1 << 30)

static struct {
	struct lock lock;
	struct region region; // guard: lock; base is constant once buckets are non-zero
	size_t used_bytes;    // guard: lock, read relaxed
	uint32_t count;       // guard: lock, read relaxed
	uint64_t dropped;     // guard: lock, read relaxed
} table = {.lock = LOCK_INITIAL(PROFILE)};

/* Ids, 0: empty; release stores under the lock. Apart, for what is zero at first needs no room in the file. */
static uint32_t buckets[BUCKET_COUNT];

static uint32_t hash_of(uint64_t sum, unsigned depth, uint32_t epoch)
{
	return (uint32_t)(((sum + depth + ((uint64_t)epoch << 32)) * 0x9e3779b97f4a7c15ull) >> 32);
}

static const struct stack *stack_of(uint32_t id)
{
	return (const struct stack *)(table.region.base + (uintptr_t)id * ID_UNIT_BYTES);
}

static bool stack_is(
	const struct stack *stack, const uintptr_t *frames, unsigned depth, uint32_t epoch)
{
	if (stack->depth != depth || stack->epoch != epoch)
		return false;
	for (unsigned i = 0; i < depth; i++) {
		if (stack->frames[i] != frames[i])
			return false;
	}
	return true;
}

static uint32_t find(uint32_t hash, const uintptr_t *frames, unsigned depth, uint32_t epoch)
{
	uint32_t id = load_acquire(&buckets[hash % BUCKET_COUNT]); // pairs with insert_locked()

	while (id != 0) {
		const struct stack *stack = stack_of(id);

		if (stack->hash == hash && stack_is(stack, frames, depth, epoch))
			return id;
		id = stack->next;
	}
	return 0;
}

static bool grow_locked(size_t bytes)
{
	if (table.region.base == 0) {
		// where address space is short (ulimit -v) the range is only chosen
		table.region = (struct region){.capacity = REGION_BYTES, .step = REGION_STEP};
		if (!regions_init(0, &table.region, true) && !regions_init(0, &table.region, false))
			return false;
		table.used_bytes = ID_UNIT_BYTES; // id 0 is nobody's
	}
	return region_grow(&table.region, table.used_bytes + bytes);
}

static uint32_t insert_locked(
	uint32_t hash, const uintptr_t *frames, unsigned depth, uint32_t epoch)
{
	size_t bytes = sizeof(struct stack) + depth * sizeof(frames[0]);
	struct stack *stack;
	uint32_t id;

	static_assert(sizeof(struct stack) % ID_UNIT_BYTES == 0, "stacks stay aligned");
	static_assert(REGION_BYTES / ID_UNIT_BYTES <= STACK_ID_SUSPECTED,
		"ids reach the end, and leave a bit free");
	if (!grow_locked(bytes)) {
		store_relaxed(&table.dropped, table.dropped + 1);
		return 0;
	}
	id = (uint32_t)(table.used_bytes / ID_UNIT_BYTES);
	stack = (struct stack *)(table.region.base + table.used_bytes);
	stack->next = buckets[hash % BUCKET_COUNT];
	stack->hash = hash;
	stack->epoch = epoch;
	stack->depth = depth;
	for (unsigned i = 0; i < depth; i++)
		stack->frames[i] = frames[i];
	store_release(&table.used_bytes, table.used_bytes + bytes); // pairs with stack_table_next()
	store_relaxed(&table.count, table.count + 1);
	store_release(&buckets[hash % BUCKET_COUNT], id);
	return id;
}

uint32_t stack_table_add_summed(
	const uintptr_t *frames, unsigned depth, uint32_t epoch, uint64_t sum)
{
	uint32_t hash = hash_of(sum, depth, epoch);
	uint32_t id = find(hash, frames, depth, epoch);
	struct signal_guard guard;

	if (id != 0)
		return id;
	signals_block(&guard);
	lock_acquire(&table.lock);
	id = find(hash, frames, depth, epoch);
	if (id == 0)
		id = insert_locked(hash, frames, depth, epoch);
	lock_release(&table.lock);
	signals_restore(&guard);
	return id;
}

uint32_t stack_table_add(const uintptr_t *frames, unsigned depth, uint32_t epoch)
{
	uint64_t sum = 0;

	for (unsigned i = depth; i-- > 0;)
		sum = stack_sum(sum, frames[i]);
	return stack_table_add_summed(frames, depth, epoch, sum);
}

const struct stack *stack_table_get(uint32_t id)
{
	return id == 0 || (size_t)id * ID_UNIT_BYTES >= load_relaxed(&table.used_bytes)
		       ? 0
		       : stack_of(id);
}

uint32_t stack_table_next(uint32_t id)
{
	size_t next = 1;

	if (id != 0)
		next = id + (sizeof(struct stack) + stack_of(id)->depth * sizeof(uintptr_t)) /
				    ID_UNIT_BYTES;
	return next * ID_UNIT_BYTES < load_acquire(&table.used_bytes) ? (uint32_t)next : 0;
}

uint32_t stack_table_count(void)
{
	return load_relaxed(&table.count);
}

uint64_t stack_table_dropped(void)
{
	return load_relaxed(&table.dropped);
}

uint32_t stack_capture(const void *skip_below)
{
	uintptr_t frames[STACK_DEPTH_MAX];
	unsigned depth;

	if (options.stacks == STACKS_OFF)
		return 0;
	depth = unwind_capture(frames, STACK_DEPTH_MAX, skip_below);
	return depth == 0 ? 0 : stack_table_add(frames, depth, module_epoch());
}

struct lock *stack_table_lock(void)
{
	return &table.lock;
}

void stack_table_unreserve(void)
{
	lock_acquire(&table.lock);
	region_unreserve(&table.region);
	lock_release(&table.lock);
}
