/*
 * marks loop|malloc|bdwgc MIB CYCLES: how fast a full mark is, over MIB mebibytes of live 64-byte nodes, each of which refers to the next of a cycle through all of
 * them in random order and to two others at random.
 *
 * loop		the nodes are one array; a loop written for just that: bitmap by index, explicit stack, a ring of prefetched nodes
 * malloc	the nodes are malloced; gasket_collect() is called (run under libgasket.so)
 * bdwgc	they come from GC_MALLOC (bdwgc 8.2; left out where libgc-dev is not installed); GC_gcollect() is called
 *
 * Prints one line: the milliseconds of each of CYCLES collections, in their order. GC_gcollect() is a whole collection; gasket_collect() has two run, for one may be
 * under way (gctrace=1 tells of each).
 */
#include "preload/gasket.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifdef HAS_BDWGC
#include <gc/gc.h>
#endif

enum { WORDS = 8, RING = 16 };

struct node {
	struct node *links[3];
	uint64_t payload[5];
};

static struct node *first;
static size_t node_count;

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static uint64_t random_step(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_graph(struct node *(*make)(size_t number), void **nodes_memory)
{
	struct node **nodes = *nodes_memory;
	uint64_t seed = 88172645463325252ull;

	for (size_t i = 0; i < node_count; i++) {
		size_t other = random_step(&seed) % (i + 1);

		nodes[i] = nodes[other];
		nodes[other] = make(i);
	}
	for (size_t i = 0; i < node_count; i++)
		*nodes[i] = (struct node){.links = {nodes[(i + 1) % node_count],
						  nodes[random_step(&seed) % node_count],
						  nodes[random_step(&seed) % node_count]}};
	first = nodes[0];
}

/* ---- the loop ---- */

static struct {
	struct node *nodes;
	uint64_t *marks;
	struct node **stack;
	size_t height;
} loop;

static struct node *loop_node(size_t number)
{
	return &loop.nodes[number];
}

static void loop_mark_word(uintptr_t word)
{
	size_t index = (word - (uintptr_t)loop.nodes) / sizeof(struct node);

	if (word - (uintptr_t)loop.nodes >= node_count * sizeof(struct node) ||
		loop.marks[index / 64] >> (index % 64) & 1)
		return;
	loop.marks[index / 64] |= 1ull << (index % 64);
	loop.stack[loop.height++] = &loop.nodes[index];
}

static void loop_collect(void)
{
	struct node *ring[RING];
	size_t in = 0, out = 0;

	memset(loop.marks, 0, (node_count + 63) / 64 * sizeof(*loop.marks));
	loop_mark_word((uintptr_t)first);
	while (loop.height > 0 || in > out) {
		const uintptr_t *words;

		while (loop.height > 0 && in - out < RING) {
			ring[in % RING] = loop.stack[--loop.height];
			__builtin_prefetch(ring[in++ % RING]);
		}
		words = (const uintptr_t *)ring[out++ % RING];
		for (int i = 0; i < WORDS; i++)
			loop_mark_word(words[i]);
	}
}

static void *map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

static void loop_prepare(void)
{
	loop.nodes = map(node_count * sizeof(*loop.nodes));
	loop.marks = map((node_count + 63) / 64 * sizeof(*loop.marks));
	loop.stack = map(node_count * sizeof(*loop.stack));
}

/* ---- the collectors ---- */

static struct node *malloc_node(size_t number)
{
	(void)number;
	return malloc(sizeof(struct node));
}

static void gasket_cycle(void)
{
	while (gasket_collect() != 1)
		;
}

#ifdef HAS_BDWGC
static struct node *bdwgc_node(size_t number)
{
	(void)number;
	return GC_MALLOC(sizeof(struct node));
}

static void bdwgc_collect(void)
{
	GC_gcollect();
}
#endif

int main(int count, char **arguments)
{
	const char *kind = count == 4 ? arguments[1] : "";
	struct node *(*make)(size_t number) = NULL;
	void (*collect)(void) = NULL;
	void *nodes;

	node_count = count == 4 ? (strtoul(arguments[2], NULL, 10) << 20) / sizeof(struct node) : 0;
	if (!strcmp(kind, "loop")) {
		loop_prepare();
		make = loop_node;
		collect = loop_collect;
	} else if (!strcmp(kind, "malloc") && gasket_collect) {
		make = malloc_node;
		collect = gasket_cycle;
	}
#ifdef HAS_BDWGC
	if (!strcmp(kind, "bdwgc")) {
		GC_INIT();
		make = bdwgc_node;
		collect = bdwgc_collect;
	}
#endif
	if (!make || node_count == 0)
		return 2;
#ifdef HAS_BDWGC
	nodes = collect == bdwgc_collect ? GC_MALLOC(node_count * sizeof(void *))
					 : map(node_count * sizeof(void *));
#else
	nodes = map(node_count * sizeof(void *));
#endif
	make_graph(make, &nodes);
	if (collect == loop_collect || collect == gasket_cycle)
		munmap(nodes, node_count * sizeof(void *));
	nodes = NULL;
	for (long i = strtol(arguments[3], NULL, 10); i > 0; i--) {
		double start = now_ms();

		collect();
		printf("%.2f ", now_ms() - start);
	}
	printf("\n");
	return 0;
}
