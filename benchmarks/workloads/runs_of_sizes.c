/*
 * In the spirit of the SmartHeap benchmarks: runs of blocks of one size, one size after the other,
 * freed partly in the order of allocation and partly against it, with some that stay for longer;
 * and the same with blocks that go to other threads.
 */
#include "benchmarks/workloads/workload.h"

#include <stdatomic.h>

enum {
	RUN_BLOCKS = 512,
	KEPT_BLOCKS = 1024,
	KEEP_EVERY = 16,
	SIZE_STEP = 24,
	SIZE_MAX_BYTES = 1000,
	DESK_BLOCKS = 4096,
};

/* Blocks that outlive their run: a ring, the oldest makes room for the newest. */
struct kept {
	void *blocks[KEPT_BLOCKS];
	unsigned next;
};

static void kept_add(struct worker *worker, struct kept *kept, void *block)
{
	void **place = &kept->blocks[kept->next++ % KEPT_BLOCKS];

	if (*place)
		block_free(worker, *place);
	*place = block;
}

/* Frees a run: the even places from the end, the odd ones from the start; some are kept. */
static void run_free(struct worker *worker, struct kept *kept, void **blocks, unsigned count)
{
	for (unsigned i = count; i-- > 0;) {
		if (i % KEEP_EVERY == 0)
			kept_add(worker, kept, blocks[i]);
		else if (i % 2 == 0)
			block_free(worker, blocks[i]);
	}
	for (unsigned i = 1; i < count; i += 2)
		block_free(worker, blocks[i]);
}

static size_t next_size(size_t size)
{
	return size + SIZE_STEP > SIZE_MAX_BYTES ? SLOT_BYTES_MIN : size + SIZE_STEP;
}

/* Leaves a block for whoever comes by next, and takes what lay in its place. */
static void *desk_swap(struct worker *worker, _Atomic(void *) *desk, void *block)
{
	return atomic_exchange(&desk[random_next(worker) % DESK_BLOCKS], block);
}

/* `desk` is NULL, or where every other block is swapped for another thread's. */
static void runs_of_sizes(struct worker *worker, _Atomic(void *) *desk)
{
	struct kept *kept = table_map(sizeof(*kept));
	void *blocks[RUN_BLOCKS];
	size_t size = SLOT_BYTES_MIN + 8 * worker->index;

	for (uint64_t left = worker->operations; left; size = next_size(size)) {
		unsigned count = left < RUN_BLOCKS ? (unsigned)left : RUN_BLOCKS;

		for (unsigned i = 0; i < count; i++)
			blocks[i] = block_create(worker, size);
		for (unsigned i = 0; desk && i < count; i += 2)
			blocks[i] = desk_swap(worker, desk, blocks[i]);
		run_free(worker, kept, blocks, count);
		left -= count;
	}
	for (unsigned i = 0; i < KEPT_BLOCKS; i++) {
		if (kept->blocks[i])
			block_free(worker, kept->blocks[i]);
	}
	table_unmap(kept, sizeof(*kept));
}

static void sh6(struct worker *worker)
{
	runs_of_sizes(worker, NULL);
}

void sh6_run(struct run *run)
{
	workers_run(run, sh6, NULL);
}

static void sh8(struct worker *worker)
{
	runs_of_sizes(worker, worker->shared);
}

void sh8_run(struct run *run)
{
	_Atomic(void *) *desk = table_map(DESK_BLOCKS * sizeof(*desk));
	struct worker sweeper = {0};

	// The desk is full from the start: how many blocks there are depends on no race.
	for (unsigned i = 0; i < DESK_BLOCKS; i++)
		desk[i] = block_create(&sweeper, SLOT_BYTES_MIN);
	workers_run(run, sh8, desk);
	for (unsigned i = 0; i < DESK_BLOCKS; i++)
		block_free(&sweeper, desk[i]);
	run->checksum += sweeper.checksum;
	table_unmap(desk, DESK_BLOCKS * sizeof(*desk));
}
