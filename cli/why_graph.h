/*
 * The graph of a snapshot: blocks, what refers to what, and how each is reached from the roots.
 *
 * A block is its index in findings->blocks, a root's reference its index in findings->holders, an edge its index in findings->edges.
 */
#pragma once

#include "cli/findings.h"

enum { WHY_NONE = UINT32_MAX };

struct why_graph {
	const struct findings *findings;
	uint32_t *
		first_edge; // block_count + 1 of them: the edges from block i are [first_edge[i], first_edge[i + 1])
	uint32_t *
		before; // the block before it on the shortest way from a root; WHY_NONE: a root's word, or unreached
	uint32_t *via;    // the edge from there, or the holder; WHY_NONE: unreached
	uint32_t *queue;  // for walks
	uint32_t reached; // blocks, which are the first of the queue
	uint64_t reached_bytes;
};

/* Finds the shortest way to each block. Of roots that are equally near, globals come first, then the words of threads, then other memory. False: the file has no blocks, or they
 * are damaged; there was one line. */
bool why_graph_init(struct why_graph *graph, const struct findings *findings);
void why_graph_finish(struct why_graph *graph);

/* The block that contains the address, or WHY_NONE. */
uint32_t why_block_at(const struct why_graph *graph, uint64_t address);

static inline bool why_is_reached(const struct why_graph *graph, uint32_t block)
{
	return graph->via[block] != WHY_NONE;
}

/* Blocks and bytes, itself included, that could not be reached any more without this block; of one that is not reached, what can be reached from it alone. Takes another
 * walk. */
struct why_retained {
	uint64_t blocks, bytes;
};
struct why_retained why_retained(struct why_graph *graph, uint32_t block);

/* Who refers to it: words of roots, and blocks. */
struct why_referrers {
	uint64_t roots, blocks;
};
struct why_referrers why_referrers(const struct why_graph *graph, uint32_t block);

/*
 * The way to an unreached block from one that nothing refers to, as edges, the first one first; returns their number. *ret_top is that block, which is `block` itself if nothing refers to
 * it; WHY_NONE: there is none, a circle of blocks holds itself; the way then begins somewhere in there. The caller frees *ret_path.
 */
size_t why_unreached_path(
	const struct why_graph *graph, uint32_t block, uint32_t *ret_top, uint32_t **ret_path);
