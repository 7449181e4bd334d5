/*
 * One thread, or several that have nothing to do with each other: pairs, batches, and random
 * replacement in live sets of several sizes.
 */
#include "benchmarks/workloads/workload.h"

enum { BATCH = 1000, BATCH_BIG = 100000, BATCH_BIG_BYTES = 64 };

static void pairs(struct worker *worker)
{
	for (uint64_t i = 0; i < worker->operations; i++)
		block_free(worker, block_create(worker, mix_draw(&mix_objects, worker)));
}

void pairs_run(struct run *run)
{
	workers_run(run, pairs, NULL);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void batch_lifo(struct worker *worker)
{
	void *blocks[BATCH];

	for (uint64_t left = worker->operations, count; left; left -= count) {
		count = smaller(left, BATCH);
		for (uint64_t i = 0; i < count; i++)
			blocks[i] = block_create(worker, mix_draw(&mix_objects, worker));
		for (uint64_t i = count; i-- > 0;)
			block_free(worker, blocks[i]);
	}
}

void batch_lifo_run(struct run *run)
{
	workers_run(run, batch_lifo, NULL);
}

static void batch_fifo(struct worker *worker)
{
	void *blocks[BATCH];

	for (uint64_t left = worker->operations, count; left; left -= count) {
		count = smaller(left, BATCH);
		for (uint64_t i = 0; i < count; i++)
			blocks[i] = block_create(worker, mix_draw(&mix_objects, worker));
		for (uint64_t i = 0; i < count; i++)
			block_free(worker, blocks[i]);
	}
}

void batch_fifo_run(struct run *run)
{
	workers_run(run, batch_fifo, NULL);
}

static void batch_big(struct worker *worker)
{
	void **blocks = table_map(BATCH_BIG * sizeof(*blocks));

	for (uint64_t left = worker->operations, count; left; left -= count) {
		count = smaller(left, BATCH_BIG);
		for (uint64_t i = 0; i < count; i++)
			blocks[i] = block_create(worker, BATCH_BIG_BYTES);
		for (uint64_t i = 0; i < count; i++)
			block_free(worker, blocks[i]);
	}
	table_unmap(blocks, BATCH_BIG * sizeof(*blocks));
}

void batch_big_run(struct run *run)
{
	workers_run(run, batch_big, NULL);
}

/* A live set: its blocks, shared by the threads in equal parts, and their sizes. */
struct live_set {
	size_t blocks;
	const struct mix *mix;
};

/* Fills its part, then replaces random blocks; both count as operations. */
static void random_replacement(struct worker *worker)
{
	const struct live_set *set = worker->shared;
	size_t count = set->blocks / worker->threads;
	void **blocks;

	if (count > worker->operations)
		count = worker->operations;
	blocks = table_map(count * sizeof(*blocks));
	for (size_t i = 0; i < count && worker_goes_on(worker); i++)
		blocks[i] = block_create(worker, mix_draw(set->mix, worker));
	while (worker_goes_on(worker)) {
		void **place = &blocks[random_next(worker) % count];

		block_free(worker, *place);
		*place = block_create(worker, mix_draw(set->mix, worker));
	}
	for (size_t i = 0; i < count; i++)
		block_free(worker, blocks[i]);
	table_unmap(blocks, count * sizeof(*blocks));
}

static void random_run(struct run *run, size_t blocks, const struct mix *mix)
{
	struct live_set set = {blocks, mix};

	workers_run(run, random_replacement, &set);
}

void random_small_run(struct run *run)
{
	random_run(run, 4096, &mix_objects);
}

void random_medium_run(struct run *run)
{
	random_run(run, 200000, &mix_objects);
}

void random_large_run(struct run *run)
{
	random_run(run, 4000000, &mix_objects);
}

void random_server_run(struct run *run)
{
	random_run(run, 50000, &mix_server);
}
