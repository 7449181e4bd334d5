/*
 * What is left when a program rests: after most of its memory was freed at random, and when it has
 * only just started. Resident memory is read from smaps_rollup, which is exact; the other figures
 * the kernel keeps of it may be off by some pages per CPU.
 */
#include "benchmarks/workloads/workload.h"

#include <time.h>

enum {
	KEEP_ONE_IN = 10,
	OTHER_LOW = 600, // sizes that come later
	OTHER_HIGH = 2400,
	OTHER_SHARE = 8, // 1 / 8 as many of them as there were small blocks
	NUDGES = 1000,
	POLL_MS = 100,
};

static void sleep_ms(unsigned ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&time, NULL);
}

static uint64_t resident_kib(void)
{
	return proc_kib("smaps_rollup", "Rss");
}

/* Frees nine in ten, wherever they lie; returns the bytes that are left. */
static uint64_t free_at_random(struct worker *worker, void **blocks, size_t count)
{
	uint64_t left = 0;

	for (size_t i = 0; i < count; i++) {
		if (random_next(worker) % KEEP_ONE_IN) {
			block_free(worker, blocks[i]);
			blocks[i] = NULL;
		} else {
			left += (uint32_t) * (uint64_t *)blocks[i];
		}
	}
	return left;
}

/* The lowest resident memory while the program does nothing. */
static uint64_t wait_for_less(double seconds, double *ret_after)
{
	uint64_t lowest = resident_kib(), now;
	double start = clock_seconds();

	*ret_after = 0;
	while (clock_seconds() - start < seconds) {
		sleep_ms(POLL_MS);
		now = resident_kib();
		if (now < lowest) {
			lowest = now;
			*ret_after = clock_seconds() - start;
		}
	}
	return lowest;
}

static void nudge(struct worker *worker)
{
	for (unsigned i = 0; i < NUDGES; i++)
		block_free(worker, block_create(worker, mix_draw(&mix_objects, worker)));
}

/* Blocks in the holes of other sizes. */
static void add_others(struct worker *worker, void **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		blocks[i] = block_create(
			worker, OTHER_LOW + random_next(worker) % (OTHER_HIGH - OTHER_LOW));
}

static void free_all(struct worker *worker, void **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (blocks[i])
			block_free(worker, blocks[i]);
	}
}

void fragmentation_run(struct run *run)
{
	size_t count = run->operations, others = count / OTHER_SHARE;
	uint64_t before = resident_kib(), full, freed, waited, left;
	struct worker worker;
	void **blocks = table_map((count + others) * sizeof(*blocks));
	double after, start = clock_seconds();

	worker_start(&worker, 0, run, NULL);
	for (size_t i = 0; i < count; i++)
		blocks[i] = block_create(&worker, mix_draw(&mix_objects, &worker));
	full = resident_kib();
	left = free_at_random(&worker, blocks, count);
	freed = resident_kib();
	waited = wait_for_less(run->wait_seconds, &after);
	note(run, "before_kib=%lu full_kib=%lu live_kib=%lu freed_kib=%lu waited_kib=%lu",
		(unsigned long)before, (unsigned long)full, (unsigned long)(left >> 10),
		(unsigned long)freed, (unsigned long)waited);
	start += run->wait_seconds;
	nudge(&worker);
	sleep_ms(2 * POLL_MS);
	note(run, "waited_s=%.1f nudged_kib=%lu", after, (unsigned long)resident_kib());
	add_others(&worker, blocks + count, others);
	note(run, "others_kib=%lu", (unsigned long)resident_kib());
	free_all(&worker, blocks, count + others);
	run->checksum = worker.checksum;
	run->seconds = clock_seconds() - start;
	table_unmap(blocks, (count + others) * sizeof(*blocks));
}

void idle_run(struct run *run)
{
	struct worker worker;
	void **blocks = table_map(run->operations * sizeof(*blocks));
	uint64_t dirty;

	worker_start(&worker, 0, run, NULL);
	for (uint64_t i = 0; i < run->operations; i++)
		blocks[i] = block_create(&worker, mix_draw(&mix_objects, &worker));
	sleep_ms((unsigned)(run->wait_seconds * 1000));
	dirty = proc_kib("smaps_rollup", "Private_Dirty");
	note(run, "private_kib=%lu dirty_kib=%lu resident_kib=%lu",
		(unsigned long)(dirty + proc_kib("smaps_rollup", "Private_Clean")),
		(unsigned long)dirty, (unsigned long)resident_kib());
	free_all(&worker, blocks, run->operations);
	run->checksum = worker.checksum;
	table_unmap(blocks, run->operations * sizeof(*blocks));
}
