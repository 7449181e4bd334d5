/*
 * Rings, that is strongly connected components, are found by Tarjan's walk, with a stack of our own: a list of a million nodes is a path a million long. Those that no other
 * one refers to have a direct leak each. From these, in the order given, all is reached.
 */
#include "core/gc/leak_owners.h"

#include "core/base/arith.h"
#include "core/base/sort.h"
#include "core/os/memory.h"

#define NONE UINT32_MAX

/* A block that is being walked and the next of its references. */
struct step {
	uint32_t index;
	uint32_t edge;
};

/* A direct leak. */
struct root {
	uint64_t order;
	uint32_t index;
};

/* Arrays of set->count entries each, in one mapping. */
struct walk {
	struct leak_set *set;
	const uint64_t *order;
	struct step *steps;
	uint32_t *number;  // in the order of the walk, 0: not yet met; then, of a ring: it is held
	uint32_t *low;     // lowest number reached; then, of a ring: the block that stands for it
	uint32_t *ring;    // NONE: not known yet
	uint32_t *pending; // blocks whose ring is not known yet; then those to be walked
	size_t depth, pending_count;
	uint32_t last_number, ring_count;
};

static size_t walk_bytes(const struct walk *walk)
{
	return walk->set->count * (sizeof(struct step) + 4 * sizeof(uint32_t));
}

static bool walk_begin(struct walk *walk)
{
	size_t count = walk->set->count;

	walk->steps = os_map(walk_bytes(walk));
	if (!walk->steps)
		return false;
	walk->number = (uint32_t *)(walk->steps + count);
	walk->low = walk->number + count;
	walk->ring = walk->low + count;
	walk->pending = walk->ring + count;
	for (size_t i = 0; i < count; i++)
		walk->ring[i] = NONE;
	return true;
}

/* ---- rings ---- */

static void enter(struct walk *walk, uint32_t block)
{
	walk->number[block] = walk->low[block] = ++walk->last_number;
	walk->pending[walk->pending_count++] = block;
	walk->steps[walk->depth++] = (struct step){block, walk->set->first_edge[block]};
}

static void leave(struct walk *walk, uint32_t block)
{
	uint32_t member;

	walk->depth--;
	if (walk->depth > 0) {
		uint32_t from = walk->steps[walk->depth - 1].index;

		walk->low[from] = (uint32_t)min_u64(walk->low[from], walk->low[block]);
	}
	if (walk->low[block] != walk->number[block])
		return;
	do {
		member = walk->pending[--walk->pending_count];
		walk->ring[member] = walk->ring_count;
	} while (member != block);
	walk->ring_count++;
}

static void find_rings_from(struct walk *walk, uint32_t block)
{
	enter(walk, block);
	while (walk->depth > 0) {
		struct step *step = &walk->steps[walk->depth - 1];
		uint32_t target;

		if (step->edge == walk->set->first_edge[step->index + 1]) {
			leave(walk, step->index);
			continue;
		}
		target = walk->set->targets[step->edge++];
		if (walk->number[target] == 0)
			enter(walk, target);
		else if (walk->ring[target] == NONE)
			walk->low[step->index] =
				(uint32_t)min_u64(walk->low[step->index], walk->number[target]);
	}
}

static void find_rings(struct walk *walk)
{
	for (size_t i = 0; i < walk->set->count; i++) {
		if (walk->number[i] == 0)
			find_rings_from(walk, (uint32_t)i);
	}
}

/* ---- direct leaks ---- */

static bool stands_before(const struct walk *walk, uint32_t a, uint32_t b)
{
	if (walk->order[a] != walk->order[b])
		return walk->order[a] < walk->order[b];
	return walk->set->list[a].bytes_units > walk->set->list[b].bytes_units;
}

/* From here on `number` and `low` are by ring. */
static void judge_rings(struct walk *walk)
{
	const struct leak_set *set = walk->set;

	for (uint32_t i = 0; i < walk->ring_count; i++) {
		walk->number[i] = 0;
		walk->low[i] = NONE;
	}
	for (uint32_t i = 0; i < set->count; i++) {
		uint32_t ring = walk->ring[i];

		if (walk->low[ring] == NONE || stands_before(walk, i, walk->low[ring]))
			walk->low[ring] = i;
		for (uint32_t edge = set->first_edge[i]; edge < set->first_edge[i + 1]; edge++) {
			if (walk->ring[set->targets[edge]] != ring)
				walk->number[walk->ring[set->targets[edge]]] = 1;
		}
	}
}

static bool root_is_less(const void *a, const void *b)
{
	const struct root *left = a, *right = b;

	return left->order != right->order ? left->order < right->order
					   : left->index < right->index;
}

/* Fills `roots`, if not NULL; returns how many there are. */
static size_t list_roots(const struct walk *walk, struct root *roots)
{
	size_t count = 0;

	for (uint32_t i = 0; i < walk->ring_count; i++) {
		if (walk->number[i] != 0)
			continue;
		if (roots)
			roots[count] = (struct root){walk->order[walk->low[i]], walk->low[i]};
		count++;
	}
	return count;
}

/* ---- owners ---- */

static void own_from(struct walk *walk, uint32_t root, uint32_t *owner)
{
	const struct leak_set *set = walk->set;

	owner[root] = root;
	walk->pending[walk->pending_count++] = root;
	while (walk->pending_count > 0) {
		uint32_t block = walk->pending[--walk->pending_count];

		for (uint32_t edge = set->first_edge[block]; edge < set->first_edge[block + 1];
			edge++) {
			uint32_t target = set->targets[edge];

			if (owner[target] != NONE)
				continue;
			owner[target] = root;
			walk->pending[walk->pending_count++] = target;
		}
	}
}

static bool find_owners(struct walk *walk, uint32_t *owner)
{
	struct leak_set *set = walk->set;
	size_t count = list_roots(walk, 0);
	struct root *roots = os_map(count * sizeof(*roots));

	if (!roots)
		return false;
	list_roots(walk, roots);
	sort_items(roots, count, sizeof(*roots), root_is_less);
	for (size_t i = 0; i < set->count; i++) {
		owner[i] = NONE;
		set->list[i].flags &= ~(uint32_t)LEAKED_ROOT;
	}
	for (size_t i = 0; i < count; i++) {
		set->list[roots[i].index].flags |= LEAKED_ROOT;
		own_from(walk, roots[i].index, owner);
	}
	os_unmap(roots, count * sizeof(*roots));
	return true;
}

bool leak_owners_find(struct leak_set *set, const uint64_t *order, uint32_t *ret_owner)
{
	struct walk walk = {.set = set, .order = order};
	bool done;

	if (set->count == 0)
		return true;
	if (!leak_set_read_edges(set) || !walk_begin(&walk))
		return false;
	find_rings(&walk);
	judge_rings(&walk);
	done = find_owners(&walk, ret_owner);
	os_unmap(walk.steps, walk_bytes(&walk));
	return done;
}
