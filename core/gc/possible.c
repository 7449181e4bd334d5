/*
 * The child leaves its list in memory that both share, references among the blocks included, as a leak_set has them; so they are of the same moment, and the report folds
 * them as it folds leaks. It may be killed at any moment: what it left counts when it has ended well.
 */
#include "core/gc/possible.h"

#include "core/base/atomic.h"
#include "core/gc/copy.h"
#include "core/gc/cycle.h"
#include "core/gc/dangling.h"
#include "core/gc/possible_walk.h"
#include "core/gc/probation.h"
#include "core/os/arch.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/syscall.h"

#include <string.h>
#include <sys/mman.h>

enum {
	TARGETS_MAX = 1 << 20, // references
	NAP_NS = 500000,       // between two looks at the child
};

/* What parent and child share; pages that are not written are not there. */
struct image {
	uint64_t dropped;
	uint32_t count, target_count; // target_count 0: references are not known, or there are none
	uint32_t holder_count;
	struct findings_holder holders[DANGLING_NOTED_MAX]; // of freed blocks
	struct leaked blocks[POSSIBLE_BLOCKS_MAX];
	uint32_t first_edge[POSSIBLE_BLOCKS_MAX + 1];
	uint32_t targets[TARGETS_MAX];
};

static struct {
	uint32_t is_wanted; // atomic
	uint64_t patience_ns, deadline_ns;
	enum findings_possible outcome;
	struct leak_set blocks;
	uint64_t dropped;
	struct image *image; // while a child is there
	long child;          // 0: none
} possible = {.blocks = {.is_sorted = true}};

void possible_demand(uint64_t patience_ns)
{
	store_relaxed(&possible.patience_ns, patience_ns);
	store_release(&possible.is_wanted, 1u);
}

struct leak_set *possible_blocks(void)
{
	return &possible.blocks;
}

uint64_t possible_dropped(void)
{
	return possible.dropped;
}

enum findings_possible possible_outcome(void)
{
	return possible.outcome;
}

/* ---- the child ---- */

static int look_into_copy(void *nothing)
{
	struct image *image = possible.image;
	struct leak_set *set = &possible.blocks;
	const struct findings_holder *holders;
	size_t holder_count;

	(void)nothing;
	if (!possible_walk(set, &image->dropped))
		return 1;
	holders = dangling_noted(&holder_count);
	memcpy(image->holders, holders, holder_count * sizeof(*holders));
	image->holder_count = (uint32_t)holder_count;
	image->count = (uint32_t)set->count;
	if (set->count > 0)
		memcpy(image->blocks, set->list, set->count * sizeof(*set->list));
	if (!leak_set_read_edges(set) || set->target_count == 0 || set->target_count > TARGETS_MAX)
		return 0;
	memcpy(image->first_edge, set->first_edge, (set->count + 1) * sizeof(*set->first_edge));
	memcpy(image->targets, set->targets, set->target_count * sizeof(*set->targets));
	image->target_count = (uint32_t)set->target_count;
	return 0;
}

/* ---- the parent ---- */

static void drop_image(void)
{
	if (possible.image)
		os_unmap(possible.image, sizeof(*possible.image));
	possible.image = 0;
}

static void end_child(void)
{
	if (possible.child != 0)
		copy_kill(possible.child);
	possible.child = 0;
	drop_image();
}

static void forget(void)
{
	end_child();
	leak_set_release(&possible.blocks);
	possible.dropped = 0;
	possible.outcome = FINDINGS_POSSIBLE_NOT_LOOKED;
}

void possible_end(void)
{
	store_relaxed(&possible.is_wanted, 0u);
	forget();
}

void possible_stop(void)
{
	struct signal_guard guard;

	signals_block(&guard);
	lock_acquire(cycle_lock());
	end_child();
	lock_release(cycle_lock());
	signals_restore(&guard);
}

void possible_fork_child(void)
{
	if (!possible.image && possible.outcome == FINDINGS_POSSIBLE_NOT_LOOKED)
		return;     // or the page would be copied for nothing
	possible.child = 0; // the parent's
	possible.image = 0; // it was kept from children
	possible_end();
}

/* References that have no room are none: then all blocks are told side by side. */
static void take_references(struct leak_set *set, const struct image *image)
{
	size_t target_bytes = image->target_count * sizeof(uint32_t);

	if (set->count == 0 || set->count != image->count)
		return;
	set->first_edge_bytes = (set->count + 1) * sizeof(uint32_t);
	set->first_edge = os_map(set->first_edge_bytes);
	set->targets = set->first_edge && target_bytes > 0 ? os_map(target_bytes) : 0;
	if (!set->targets)
		return;
	memcpy(set->first_edge, image->first_edge, set->first_edge_bytes);
	memcpy(set->targets, image->targets, target_bytes);
	set->target_count = set->target_capacity = image->target_count;
}

static void take_image(const struct image *image)
{
	struct leak_set *set = &possible.blocks;
	uint32_t now = probation_clock_ms();

	for (uint32_t i = 0; i < image->count; i++) {
		const struct leaked *block = &image->blocks[i];
		struct leaked *mine = leak_set_add(set, block->address, leaked_bytes(block));

		if (!mine)
			break;
		mine->stack = block->stack;
		mine->first_ms = now;
	}
	possible.dropped = image->dropped + (image->count - set->count);
	take_references(set, image);
	dangling_take_noted(image->holders, image->holder_count);
}

void possible_look(void)
{
	lock_assert_held(cycle_lock());
	if (!load_acquire(&possible.is_wanted) || cycle_last.is_quick || !cycle_last.leaks_judged)
		return;
	store_relaxed(&possible.is_wanted, 0u);
	forget();
	possible.outcome = FINDINGS_POSSIBLE_UNKNOWN;
	possible.deadline_ns = clock_now_ns() + load_relaxed(&possible.patience_ns);
	possible.image = copy_refusal() ? 0 : os_map_shared(sizeof(*possible.image));
	if (possible.image)
		possible.child = copy_make_still("gasket-possible", look_into_copy, 0);
	if (possible.child == 0)
		drop_image();
	else // other children have no use for it
		SYSCALL(madvise, possible.image, sizeof(*possible.image), MADV_DONTFORK);
}

/* Lock CYCLE. */
static void look_for_end(void)
{
	struct copy_end end;

	if (possible.child == 0)
		return;
	if (!copy_has_ended(possible.child, &end)) {
		if (clock_now_ns() > possible.deadline_ns || !cycle_may_go_on())
			end_child();
		return;
	}
	possible.child = 0;
	if (end.status == 0) {
		take_image(possible.image);
		possible.outcome = FINDINGS_POSSIBLE_LOOKED;
	}
	drop_image();
}

void possible_await(void (*meanwhile)(void))
{
	uint32_t nobody = 0;
	bool is_there = true;

	while (is_there) {
		struct signal_guard guard;

		signals_block(&guard);
		lock_acquire(cycle_lock());
		look_for_end();
		is_there = possible.child != 0;
		lock_release(cycle_lock());
		signals_restore(&guard);
		if (is_there && meanwhile)
			meanwhile();
		if (is_there)
			futex_wait(&nobody, 0, NAP_NS);
	}
}
