/*
 * All walks are breadth first over arrays of 4 bytes a block. The file may be anybody's: order and ranges of blocks and edges are checked once, before anything is walked.
 */
#include "cli/why_graph.h"

#include "cli/memory.h"

static bool fault(const struct findings *findings, const char *what)
{
	warn_line("%s: %s", findings->name, what);
	return false;
}

static bool check_file(const struct findings *findings)
{
	const struct findings_block *blocks = findings->blocks;
	const struct findings_edge *edges = findings->edges;

	if (findings->block_count == 0)
		return fault(findings,
			"it holds no blocks: take a file with gasket snapshot PID -o FILE");
	if (findings->block_count >= WHY_NONE || findings->edge_count >= WHY_NONE ||
		findings->holder_count >= WHY_NONE)
		return fault(findings, "it is too large");
	for (size_t i = 0; i < findings->block_count; i++) {
		if (blocks[i].bytes == 0 || blocks[i].bytes > UINT64_MAX - blocks[i].address ||
			(i > 0 && blocks[i - 1].address + blocks[i - 1].bytes > blocks[i].address))
			return fault(findings, "section 'blocks' is damaged: they overlap");
	}
	for (size_t i = 0; i < findings->edge_count; i++) {
		if (edges[i].from >= findings->block_count ||
			edges[i].to >= findings->block_count ||
			(i > 0 && edges[i - 1].from > edges[i].from))
			return fault(findings,
				"section 'edges' is damaged: they are out of order or lead nowhere");
	}
	return true;
}

static void index_edges(struct why_graph *graph)
{
	const struct findings *findings = graph->findings;
	uint32_t edge = 0;

	for (uint32_t block = 0; block <= findings->block_count; block++) {
		while (edge < findings->edge_count && findings->edges[edge].from < block)
			edge++;
		graph->first_edge[block] = edge;
	}
}

uint32_t why_block_at(const struct why_graph *graph, uint64_t address)
{
	const struct findings_block *blocks = graph->findings->blocks;
	size_t low = 0, high = graph->findings->block_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (blocks[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || address - blocks[low - 1].address >= blocks[low - 1].bytes)
		return WHY_NONE;
	return (uint32_t)(low - 1);
}

/* ---- from the roots ---- */

/* Nearest to what a reader knows by name first. */
static const uint32_t kinds[] = {
	FINDINGS_HOLDER_GLOBAL,
	FINDINGS_HOLDER_THREAD_STORAGE,
	FINDINGS_HOLDER_STACK,
	FINDINGS_HOLDER_REGISTER,
	FINDINGS_HOLDER_KERNEL,
	FINDINGS_HOLDER_MAPPING,
	FINDINGS_HOLDER_UNKNOWN,
};

static void reach(struct why_graph *graph, uint32_t block, uint32_t before, uint32_t via)
{
	graph->before[block] = before;
	graph->via[block] = via;
	graph->queue[graph->reached++] = block;
	graph->reached_bytes += graph->findings->blocks[block].bytes;
}

/* A root's word, not what the file says of other findings' holders. */
static bool is_root(const struct findings_holder *holder)
{
	return holder->finding == FINDINGS_NONE && holder->kind != FINDINGS_HOLDER_BLOCK;
}

static void reach_by_roots(struct why_graph *graph, uint32_t kind)
{
	const struct findings *findings = graph->findings;

	for (uint32_t i = 0; i < findings->holder_count; i++) {
		const struct findings_holder *holder = &findings->holders[i];
		uint32_t block;

		if (holder->kind != kind || !is_root(holder))
			continue;
		block = why_block_at(graph, holder->target);
		if (block != WHY_NONE && !why_is_reached(graph, block))
			reach(graph, block, WHY_NONE, i);
	}
}

static void reach_by_blocks(struct why_graph *graph)
{
	for (uint32_t next = 0; next < graph->reached; next++) {
		uint32_t block = graph->queue[next];

		for (uint32_t edge = graph->first_edge[block]; edge < graph->first_edge[block + 1];
			edge++) {
			uint32_t to = graph->findings->edges[edge].to;

			if (!why_is_reached(graph, to))
				reach(graph, to, block, edge);
		}
	}
}

bool why_graph_init(struct why_graph *graph, const struct findings *findings)
{
	size_t count = findings->block_count;

	*graph = (struct why_graph){.findings = findings};
	if (!check_file(findings))
		return false;
	graph->first_edge = memory_get(count + 1, sizeof(uint32_t));
	graph->before = memory_get(count, sizeof(uint32_t));
	graph->via = memory_get(count, sizeof(uint32_t));
	graph->queue = memory_get(count, sizeof(uint32_t));
	memset(graph->via, 0xff, count * sizeof(uint32_t));
	index_edges(graph);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		reach_by_roots(graph, kinds[i]);
	reach_by_blocks(graph);
	return true;
}

void why_graph_finish(struct why_graph *graph)
{
	free(graph->first_edge);
	free(graph->before);
	free(graph->via);
	free(graph->queue);
	*graph = (struct why_graph){.findings = NULL};
}

/* ---- without a block ---- */

static void visit(struct why_graph *graph, bool *is_seen, uint32_t block, struct why_retained *left)
{
	if (is_seen[block])
		return;
	is_seen[block] = true;
	graph->queue[left->blocks++] = block;
	left->bytes += graph->findings->blocks[block].bytes;
}

/* What can be reached from those visited so far. */
static void visit_on(struct why_graph *graph, bool *is_seen, struct why_retained *seen)
{
	for (uint64_t next = 0; next < seen->blocks; next++) {
		uint32_t from = graph->queue[next];

		for (uint32_t edge = graph->first_edge[from]; edge < graph->first_edge[from + 1];
			edge++)
			visit(graph, is_seen, graph->findings->edges[edge].to, seen);
	}
}

struct why_retained why_retained(struct why_graph *graph, uint32_t block)
{
	bool is_reached = why_is_reached(graph, block);
	bool *is_seen = memory_get(graph->findings->block_count, sizeof(bool));
	struct why_retained seen = {0, 0};

	if (!is_reached)
		visit(graph, is_seen, block, &seen);
	is_seen[block] = true;
	for (uint32_t i = 0; i < graph->findings->block_count; i++) {
		if (!is_reached)
			is_seen[i] |= why_is_reached(graph, i);
		// what a root names is reached first, and by that
		else if (why_is_reached(graph, i) && graph->before[i] == WHY_NONE)
			visit(graph, is_seen, i, &seen);
	}
	visit_on(graph, is_seen, &seen);
	free(is_seen);
	if (!is_reached)
		return seen;
	return (struct why_retained){
		graph->reached - seen.blocks, graph->reached_bytes - seen.bytes};
}

struct why_referrers why_referrers(const struct why_graph *graph, uint32_t block)
{
	const struct findings *findings = graph->findings;
	struct why_referrers count = {0, 0};
	uint32_t last = WHY_NONE;

	for (size_t i = 0; i < findings->holder_count; i++)
		count.roots += is_root(&findings->holders[i]) &&
			       why_block_at(graph, findings->holders[i].target) == block;
	for (size_t i = 0; i < findings->edge_count; i++) {
		if (findings->edges[i].to != block || findings->edges[i].from == last)
			continue;
		last = findings->edges[i].from;
		count.blocks++;
	}
	return count;
}

/* ---- what no root reaches ---- */

/* Edges by where they lead: those to block i are list[first[i] .. first[i + 1]). */
struct backwards {
	uint32_t *first;
	uint32_t *list;
};

static struct backwards turn_round(const struct why_graph *graph)
{
	const struct findings *findings = graph->findings;
	size_t count = findings->block_count;
	struct backwards back = {memory_get(count + 2, sizeof(uint32_t)),
		memory_get(findings->edge_count, sizeof(uint32_t))};

	for (size_t i = 0; i < findings->edge_count; i++)
		back.first[findings->edges[i].to + 2]++;
	for (size_t i = 2; i < count + 2; i++)
		back.first[i] += back.first[i - 1];
	for (size_t i = 0; i < findings->edge_count; i++)
		back.list[back.first[findings->edges[i].to + 1]++] = (uint32_t)i;
	return back;
}

static bool has_referrer(const struct backwards *back, uint32_t block)
{
	return back->first[block] < back->first[block + 1];
}

/* The edges from `top` to where the walk began; `next` tells by which edge each was left. */
static size_t collect(const struct why_graph *graph, const uint32_t *next, uint32_t top,
	uint32_t block, uint32_t **ret_path)
{
	const struct findings_edge *edges = graph->findings->edges;
	size_t count = 0;
	uint32_t at;

	for (at = top; at != block; at = edges[next[at]].to)
		count++;
	*ret_path = memory_get(count, sizeof(uint32_t));
	count = 0;
	for (at = top; at != block; at = edges[next[at]].to)
		(*ret_path)[count++] = next[at];
	return count;
}

size_t why_unreached_path(
	const struct why_graph *graph, uint32_t block, uint32_t *ret_top, uint32_t **ret_path)
{
	const struct findings *findings = graph->findings;
	size_t count = findings->block_count, length;
	struct backwards back = turn_round(graph);
	uint32_t *next = memory_get(count, sizeof(uint32_t)),
		 *queue = memory_get(count, sizeof(uint32_t));
	uint32_t top = WHY_NONE, found = 0, last = block;

	memset(next, 0xff, count * sizeof(uint32_t));
	queue[found++] = block;
	for (uint32_t i = 0; i < found && top == WHY_NONE; i++) {
		last = queue[i];
		if (!has_referrer(&back, last))
			top = last;
		for (uint32_t at = back.first[last]; at < back.first[last + 1]; at++) {
			uint32_t from = findings->edges[back.list[at]].from;

			if (from == block || next[from] != WHY_NONE)
				continue;
			next[from] = back.list[at];
			queue[found++] = from;
		}
	}
	length = collect(graph, next, top != WHY_NONE ? top : last, block, ret_path);
	*ret_top = top;
	free(back.first);
	free(back.list);
	free(next);
	free(queue);
	return length;
}
