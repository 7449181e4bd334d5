/*
 * gasket why: what keeps a block alive, from a snapshot of a process that is taken now or from the file of one.
 */
#include "cli/command.h"
#include "cli/memory.h"
#include "cli/request.h"
#include "cli/snapshot.h"
#include "cli/symbolize.h"
#include "cli/why_names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
	ID_DIGITS = 12,
	FRONT_BLOCKS = 12, // of a long way these are shown, and
	END_BLOCKS = 6,
	STATE_HINTED = 2,    // enum slot_state: freed, waits for proof
	STATE_PROBATION = 3, // found leaked, waits to be taken back
};

/* What was asked for. */
struct question {
	const char *source; // process id or file
	const char *what;   // address or id
	const char *root;
	bool all;
	int seconds;
};

static struct question parse(int argc, char **argv)
{
	struct question question = {.seconds = SNAPSHOT_TIMEOUT_SECONDS};
	const char *argument;
	int letter, first = 1;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		switch (letter) {
		case 'a':
			question.all = true;
			break;
		case 'r':
			symbolizer_demand_root(argument);
			question.root = argument;
			break;
		case 't':
			question.seconds = request_parse_timeout("why", argument);
			break;
		}
	}
	if (argc - first != 2)
		fail(EXIT_USAGE,
			"why: needs a process id or file, and an address or id; see gasket help why");
	question.source = argv[first];
	question.what = argv[first + 1];
	return question;
}

static bool is_id(const char *text)
{
	return strlen(text) == ID_DIGITS && strspn(text, "0123456789abcdef") == ID_DIGITS;
}

/* False: it is no address. */
static bool parse_address(const char *text, uint64_t *ret_address)
{
	char *end;

	if (strncmp(text, "0x", 2) != 0 || !text[2])
		return false;
	errno = 0;
	*ret_address = strtoull(text + 2, &end, 16);
	return !*end && !errno && text[2] != '-' && text[2] != '+' && text[2] != ' ';
}

static void load(struct findings *findings, const struct question *question)
{
	bool is_process = strspn(question->source, "0123456789") == strlen(question->source);
	bool loaded;
	int fd;

	if (is_process) {
		fd = snapshot_take(
			"why", process_parse_pid("why", question->source), question->seconds);
		loaded = findings_load(findings, fd, question->source);
		close(fd);
	} else {
		loaded = findings_load_path(findings, question->source);
	}
	if (!loaded)
		exit(EXIT_FAILED);
}

static uint32_t find_block(
	const struct why_graph *graph, const struct question *question, uint64_t *ret_address)
{
	uint32_t block;

	*ret_address = 0;
	if (parse_address(question->what, ret_address)) {
		block = why_block_at(graph, *ret_address);
		if (block == WHY_NONE)
			fail(EXIT_FAILED, "why: 0x%" PRIx64 " lies in no block that is in use",
				*ret_address);
		return block;
	}
	block = why_find_id(graph, question->what, question->root);
	if (block == WHY_NONE)
		fail(EXIT_FAILED, "why: no block is of a finding with the id %s", question->what);
	*ret_address = graph->findings->blocks[block].address;
	return block;
}

/* ---- the answer ---- */

static void print_block(
	struct why_names *names, const struct findings_block *block, uint64_t offset)
{
	printf("-> block 0x%" PRIx64 " of %" PRIu64 " bytes", block->address, block->bytes);
	if (offset)
		printf(", offset %" PRIu64, offset);
	if (block->state == STATE_HINTED)
		fputs(", freed", stdout);
	why_print_origin(stdout, names, block->stack);
	putchar('\n');
}

/* A block for each edge, with the offset of the word that leads on, and the block asked about. */
static void print_way(const struct why_graph *graph, struct why_names *names, const uint32_t *edges,
	size_t count, uint32_t block, uint64_t address, bool all)
{
	const struct findings *findings = graph->findings;

	for (size_t i = 0; i < count; i++) {
		const struct findings_edge *edge = &findings->edges[edges[i]];

		if (!all && count > FRONT_BLOCKS + END_BLOCKS && i == FRONT_BLOCKS) {
			i = count - END_BLOCKS;
			printf("-> ... %zu blocks more, see --all\n", i - FRONT_BLOCKS);
			edge = &findings->edges[edges[i]];
		}
		print_block(names, &findings->blocks[edge->from], 8 * (uint64_t)edge->offset);
	}
	print_block(names, &findings->blocks[block], address - findings->blocks[block].address);
}

/* The edges from the root's block to this one. */
static uint32_t *way_from_root(const struct why_graph *graph, uint32_t block, size_t *ret_count)
{
	size_t count = 0;
	uint32_t *edges;

	for (uint32_t at = block; graph->before[at] != WHY_NONE; at = graph->before[at])
		count++;
	*ret_count = count;
	edges = memory_get(count, sizeof(*edges));
	for (uint32_t at = block; graph->before[at] != WHY_NONE; at = graph->before[at])
		edges[--count] = graph->via[at];
	return edges;
}

static void explain_reached(const struct why_graph *graph, struct why_names *names, uint32_t block,
	uint64_t address, bool all)
{
	size_t count;
	uint32_t *edges = way_from_root(graph, block, &count);
	uint32_t top = count ? graph->findings->edges[edges[0]].from : block;

	why_print_holder(stdout, names, &graph->findings->holders[graph->via[top]]);
	putchar('\n');
	print_way(graph, names, edges, count, block, address, all);
	free(edges);
}

/* Cycles that found a leak with this block's stack, or 0. */
static uint32_t cycles_of(const struct findings *findings, const struct findings_block *block)
{
	uint32_t cycles = 0;

	for (size_t i = 0; i < findings->list_count; i++) {
		const struct finding *finding = &findings->list[i];

		if ((finding->kind == FINDING_LEAK || finding->kind == FINDING_INDIRECT) &&
			finding->stack == block->stack && block->stack != 0 &&
			finding->cycles > cycles)
			cycles = finding->cycles;
	}
	return cycles;
}

static void explain_unreached(const struct why_graph *graph, struct why_names *names,
	uint32_t block, uint64_t address, bool all)
{
	const struct findings_block *record = &graph->findings->blocks[block];
	uint32_t cycles = cycles_of(graph->findings, record), top, *edges;
	size_t count = why_unreached_path(graph, block, &top, &edges);

	if (top == block)
		fputs("nothing refers to it: ", stdout);
	else if (top == WHY_NONE)
		fputs("unreachable: blocks that refer to each other in a circle hold it: ", stdout);
	else
		fputs("unreachable: held by a block that nothing refers to: ", stdout);
	if (record->state == STATE_HINTED)
		fputs("freed, and free to be used again", stdout);
	else if (cycles)
		printf("leaked (%" PRIu32 " cycles)", cycles);
	else
		printf("leaked%s",
			record->state == STATE_PROBATION ? " (found by a cycle before)" : "");
	putchar('\n');
	print_way(graph, names, edges, count, block, address, all);
	free(edges);
}

static void print_sums(struct why_graph *graph, uint32_t block)
{
	struct why_referrers referrers = why_referrers(graph, block);
	struct why_retained retained = why_retained(graph, block);

	printf("referred to by %" PRIu64 " root(s) and %" PRIu64 " block(s)\n", referrers.roots,
		referrers.blocks);
	if (why_is_reached(graph, block))
		printf("retains %" PRIu64 " bytes in %" PRIu64
		       " block(s), itself included: what a walk that leaves it out does not reach\n",
			retained.bytes, retained.blocks);
	else
		printf("holds %" PRIu64 " bytes in %" PRIu64
		       " unreachable block(s), itself included\n",
			retained.bytes, retained.blocks);
}

int why_command(int argc, char **argv)
{
	struct question question = parse(argc, argv);
	struct findings findings;
	struct why_names *names;
	struct why_graph graph;
	uint64_t address;
	uint32_t block;

	if (!parse_address(question.what, &address) && !is_id(question.what))
		fail(EXIT_USAGE,
			"why: '%s' is neither an address (0x...) nor the id of a finding (12 digits)",
			question.what);
	load(&findings, &question);
	if (!why_graph_init(&graph, &findings))
		return EXIT_FAILED;
	block = find_block(&graph, &question, &address);
	names = why_names_create(&findings, question.root);
	if (why_is_reached(&graph, block))
		explain_reached(&graph, names, block, address, question.all);
	else
		explain_unreached(&graph, names, block, address, question.all);
	print_sums(&graph, block);
	why_names_destroy(names);
	why_graph_finish(&graph);
	findings_release(&findings);
	return 0;
}
