/*
 * For tests of what the program does while the heap is marked beside it: a heap whose mark takes a while (a long list in random order), nodes that tell when they were
 * taken back and overwritten, and threads that move their pointers about during several cycles.
 *
 * TRACKS: the tier is told by the kernel what is written.
 */
#pragma once

#include "tests/gc/hidden.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
	PAGE = 4096,
	BALLAST_NODES = 300000,
	CYCLES = 3, // asked for; each call has two run
	THREADS = 3,
	LOST_WITHIN = 1000, // cycles
};

#define MAGIC 0x6e6f64656e6f6465ull

struct ballast {
	struct ballast *next;
	uint64_t payload[7];
};

struct node {
	uint64_t magic; // ^ address
	struct node *peer;
	uint64_t payload[6];
};

static struct ballast *ballast;
static uint32_t ends;

/* Asked in a child: who asks is taken for a program that watches memory itself. */
static UNUSED void need_tracking(void)
{
	int status;
	pid_t child = fork();

	CHECK_GE(child, 0);
	if (child == 0) {
		long file = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
		uint64_t api[3] = {0xaa, 1 << 15, 0};

		_exit(file < 0 || syscall(SYS_ioctl, file, 0xc018aa3f, api) < 0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (status != 0)
		test_skip("the kernel has no asynchronous write protection (Linux 6.7)");
}

static UNUSED uint64_t random_step(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A list through all nodes in random order. */
static NOINLINE void make_ballast(void)
{
	static struct ballast *nodes[BALLAST_NODES];
	uint64_t seed = 1;

	if (TRACKS)
		need_tracking();
	for (size_t i = 0; i < BALLAST_NODES; i++) {
		size_t other = random_step(&seed) % (i + 1);

		nodes[i] = nodes[other];
		nodes[other] = malloc(sizeof(struct ballast));
	}
	for (size_t i = 0; i < BALLAST_NODES; i++) {
		nodes[i]->next = ballast;
		ballast = nodes[i];
	}
	memset(nodes, 0, sizeof(nodes));
}

static UNUSED struct node *make_node(void)
{
	struct node *node = malloc(sizeof(*node));

	node->magic = MAGIC ^ (uintptr_t)node;
	node->peer = NULL;
	return node;
}

static UNUSED void check_node(const struct node *node)
{
	if (node)
		CHECK_EQ(node->magic ^ (uintptr_t)node, MAGIC);
}

static int cycles = CYCLES;

static UNUSED void run_beside_cycles(void *(*body)(void *argument), size_t threads)
{
	pthread_t ids[THREADS];

	make_ballast();
	for (size_t i = 0; i < threads; i++)
		CHECK_EQ(pthread_create(&ids[i], NULL, body, (void *)(i + 1)), 0);
	for (int i = 0; i < cycles; i++)
		collect();
	__atomic_store_n(&ends, 1, __ATOMIC_RELAXED);
	for (size_t i = 0; i < threads; i++)
		CHECK_EQ(pthread_join(ids[i], NULL), 0);
}

static UNUSED bool goes_on(void)
{
	return !__atomic_load_n(&ends, __ATOMIC_RELAXED);
}

static UNUSED void store_plainly(struct node **place, struct node *node)
{
	*(struct node *volatile *)place = node;
}
