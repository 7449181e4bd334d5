/*
 * The heap as a graph: its blocks, numbered in the order of addresses, and which refers to which. For snapshots, in a child that is a copy of the process (copy.h):
 * nothing changes, and no lock is needed.
 *
 * A block is a slot that is the program's or was freed and waits for proof. An edge is an aligned word in a block that points anywhere into another one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct findings_writer;

/* Numbers the blocks; needs 16 bytes for each 64 slots. False: no memory, or more blocks than have a number. Once. */
bool heap_graph_begin(void);

/* The sections BLOCKS and EDGES. False: memory could not be read. What could not be written the writer knows. */
void heap_graph_put_blocks(struct findings_writer *writer);
bool heap_graph_put_edges(struct findings_writer *writer);

/* True: the word, as it is or with its tag bits masked, points into a block; that is its number. */
bool heap_graph_find(uintptr_t word, uint32_t *ret_block);

/* What was met. */
struct heap_graph_totals {
	uint64_t blocks, bytes;
	uint64_t freed_blocks, freed_bytes; // of these
};
extern struct heap_graph_totals heap_graph_totals;
