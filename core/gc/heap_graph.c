/*
 * A block's number is the number of the first block of its group of 64 slots, and how many lie before it there. So finding the number of what a word points to takes the
 * way of a mark (map entry, group, slot) and one count of bits.
 */
#include "core/gc/heap_graph.h"

#include "core/base/arith.h"
#include "core/base/bits.h"
#include "core/base/sort.h"
#include "core/gc/still_words.h"
#include "core/gc/words.h"
#include "core/heap/groups.h"
#include "core/heap/heap.h"
#include "core/heap/sweep.h"
#include "core/os/arch.h"
#include "core/os/memory.h"
#include "core/profile/findings_writer.h"

enum {
	EDGES_AT_ONCE = 8192, // of one block, between two looks for equal ones
	FEW_EDGES = 32,       // are compared each with each
	BLOCKS_MAX = INT32_MAX,
};

/* 64 slots. */
struct group {
	uint64_t kept;  // bit i: slot i is a block
	uint32_t first; // number of the first of them
};

/* The child's; one thread. */
static struct {
	struct group *groups; // group -1 is the one before
	struct findings_writer *writer;
	struct findings_edge edges[EDGES_AT_ONCE]; // of one block
	uint32_t edge_count;
} graph;

struct heap_graph_totals heap_graph_totals;

static bool is_in_use(const struct span *span)
{
	return span->kind == SPAN_SMALL || span->kind == SPAN_LARGE;
}

static uint64_t kept_slots(const struct span *span, uint32_t group)
{
	const uint8_t *states = span_states(span) + group * 64;

	return ~(bytes_equal_mask(states, SLOT_FREE) | bytes_equal_mask(states, SLOT_CACHED)) &
	       span_group_mask(span, group);
}

bool heap_graph_begin(void)
{
	uint32_t count = groups_count(), next = 0;
	struct group *memory = os_map(max_u64(count, 1) * sizeof(*memory));

	if (!memory)
		return false;
	graph.groups = memory + count;
	heap_for_each_span(span)
	{
		if (!is_in_use(span))
			continue;
		for (uint32_t i = 0; i < span_group_count(span); i++) {
			struct group *group = &graph.groups[span->group + (int32_t)i];

			*group = (struct group){kept_slots(span, i), next};
			next += count_bits(group->kept);
		}
		if (next > BLOCKS_MAX)
			return false;
	}
	return true;
}

bool heap_graph_find(uintptr_t word, uint32_t *ret_block)
{
	const struct group *group;
	struct slot slot;
	uint64_t bit;

	if (!heap_find_slot(word & WORD_ADDRESS_MASK, &slot))
		return false;
	group = &graph.groups[slot.span->group + (int32_t)(slot.index / 64)];
	bit = 1ull << (slot.index % 64);
	if (!(group->kept & bit))
		return false;
	*ret_block = group->first + count_bits(group->kept & (bit - 1));
	return true;
}

/* ---- walking the blocks, in the order of their numbers ---- */

/* False from visit ends it; returns whether it came to the end. */
static bool for_each_block(bool (*visit)(struct slot slot, uint32_t block))
{
	heap_for_each_span(span)
	{
		if (!is_in_use(span))
			continue;
		for (uint32_t i = 0; i < span_group_count(span); i++) {
			const struct group *group = &graph.groups[span->group + (int32_t)i];
			uint32_t block = group->first;

			for (uint64_t kept = group->kept; kept != 0; kept &= kept - 1) {
				struct slot slot = {span, i * 64 + lowest_bit(kept)};

				if (!visit(slot, block++))
					return false;
			}
		}
		if (graph.writer->has_failed)
			return false;
	}
	return true;
}

static bool put_block(struct slot slot, uint32_t block)
{
	uint8_t state = *slot_state(slot);
	struct findings_block record = {
		.address = slot_address(slot),
		.bytes = slot_bytes(slot),
		.stack = state == SLOT_ALLOCATED ? 0 : slot_stack_id(slot),
		.state = state,
	};

	(void)block;
	heap_graph_totals.blocks++;
	heap_graph_totals.bytes += record.bytes;
	heap_graph_totals.freed_blocks += state == SLOT_HINTED;
	heap_graph_totals.freed_bytes += state == SLOT_HINTED ? record.bytes : 0;
	findings_put(graph.writer, &record, 1);
	return true;
}

void heap_graph_put_blocks(struct findings_writer *writer)
{
	graph.writer = writer;
	findings_begin(writer, FINDINGS_BLOCKS, sizeof(struct findings_block));
	for_each_block(put_block);
}

/* ---- edges ---- */

static bool is_less(const void *a, const void *b)
{
	const struct findings_edge *left = a, *right = b;

	return left->to != right->to ? left->to < right->to : left->offset < right->offset;
}

static bool has_before(uint32_t count, uint32_t to)
{
	for (uint32_t i = 0; i < count; i++) {
		if (graph.edges[i].to == to)
			return true;
	}
	return false;
}

static bool are_sorted(void)
{
	for (uint32_t i = 1; i < graph.edge_count; i++) {
		if (is_less(&graph.edges[i], &graph.edges[i - 1]))
			return false;
	}
	return true;
}

/* Of several to one block the first is kept. (Of a block with very many, the first in each part.) */
static void put_edges(void)
{
	bool are_few = graph.edge_count <= FEW_EDGES;
	uint32_t kept = 0;

	if (!are_few && !are_sorted()) // tables of blocks made one after the other are
		sort_items(graph.edges, graph.edge_count, sizeof(*graph.edges), is_less);
	for (uint32_t i = 0; i < graph.edge_count; i++) {
		uint32_t to = graph.edges[i].to;

		if (are_few ? has_before(kept, to) : kept > 0 && graph.edges[kept - 1].to == to)
			continue;
		graph.edges[kept++] = graph.edges[i];
	}
	findings_put(graph.writer, graph.edges, kept);
	graph.edge_count = 0;
}

/* The block whose words are read. */
struct holding {
	uint32_t block;
	uintptr_t address;
};

/* The words lay at `address`. */
static void add_words(void *argument, uintptr_t address, const uintptr_t *words, size_t count)
{
	const struct holding *holding = argument;
	const uintptr_t base = heap.base, used = heap.used;

	for (size_t i = 0; i < count; i++) {
		uint32_t to;

		if ((words[i] & WORD_ADDRESS_MASK) - base >= used ||
			!heap_graph_find(words[i], &to) || to == holding->block)
			continue;
		if (graph.edge_count == EDGES_AT_ONCE)
			put_edges();
		graph.edges[graph.edge_count++] = (struct findings_edge){
			.from = holding->block,
			.to = to,
			.offset = (uint32_t)((address - holding->address) / sizeof(*words) + i),
		};
	}
}

static bool put_edges_of(struct slot slot, uint32_t block)
{
	struct holding holding = {block, slot_address(slot)};
	bool complete = still_words_read(slot, add_words, &holding);

	if (graph.edge_count > 0)
		put_edges();
	return complete;
}

bool heap_graph_put_edges(struct findings_writer *writer)
{
	graph.writer = writer;
	findings_begin(writer, FINDINGS_EDGES, sizeof(struct findings_edge));
	return for_each_block(put_edges_of) || writer->has_failed;
}
