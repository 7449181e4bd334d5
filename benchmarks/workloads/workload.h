/*
 * What workloads are made of: workers (threads with a share of the work and random numbers of their
 * own), and blocks that describe themselves.
 *
 * A block carries its size and a stamp in its first eight bytes and a byte of the stamp at its end,
 * so whoever frees it can check it without a table beside it. What is checked is summed up: the sum
 * depends on what was allocated, not on which thread freed it or when, and must come out the same
 * under every allocator.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { THREADS_MAX = 64, CACHE_LINE = 64, MIX_SIZES = 1024, SLOT_BYTES_MIN = 8 };

/* One thread's share of a run. */
struct worker {
	unsigned index;
	unsigned threads;    // in all
	uint64_t operations; // its share
	uint64_t done;       // of them, as worker_goes_on() counts; others may look
	uint64_t random;     // state of its random numbers
	uint64_t stamp;      // of the block it made last
	uint64_t checksum;   // of the blocks it checked
	void *shared;
} __attribute__((aligned(CACHE_LINE)));

/* What was asked for, and what came of it. */
struct run {
	unsigned threads;
	uint64_t operations;
	double scale;
	double wait_seconds; // fragmentation
	double for_seconds;  // 0: as many operations as were asked for; else for so long
	uint64_t checksum;
	double seconds;   // from the first thread's start to the last one's end; 0: the whole run
	char notes[1500]; // further key=value words, with a space in front of each
};

/* A thousand sizes in the proportions of a kind of program. */
struct mix {
	uint16_t size[MIX_SIZES];
};

extern struct mix mix_objects; // an interpreter: 8 to 4096 bytes, most below 64
extern struct mix mix_server;  // requests: the same, and one in 12 a buffer of up to 32 KiB

#define WORKLOAD(name, function, ...) void function(struct run *run);
#include "benchmarks/workloads/workload.def"
#undef WORKLOAD

/* Ends the process with status 1 and one line. */
void broken(const char *what) __attribute__((noreturn, cold));

void mixes_make(void);

/* Seconds of a clock that only goes forward. */
double clock_seconds(void);

/* Memory that does not come from the allocator and reads as zero. */
void *table_map(size_t bytes);
void table_unmap(void *table, size_t bytes);

/* From now on a line each second: the operations of all workers in it. Ends the process after `seconds` lines. */
void ticks_start(unsigned seconds);

void worker_start(struct worker *worker, unsigned index, const struct run *run, void *shared);

/* Runs `body` on run->threads threads that start together, each with its share of the operations.
 */
void workers_run(struct run *run, void (*body)(struct worker *worker), void *shared);

/* One figure of /proc/self/FILE in KiB, by the name it has there; 0: there is none. */
uint64_t proc_kib(const char *file, const char *name);

void note(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Counts one operation; false: there are no more. */
static inline bool worker_goes_on(struct worker *worker)
{
	if (worker->done == worker->operations)
		return false;
	__atomic_store_n(&worker->done, worker->done + 1, __ATOMIC_RELAXED);
	return true;
}

static inline uint64_t random_next(struct worker *worker)
{
	uint64_t x = worker->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	worker->random = x;
	return x * 0x9e3779b97f4a7c15ull >> 16;
}

static inline size_t mix_draw(const struct mix *mix, struct worker *worker)
{
	return mix->size[random_next(worker) % MIX_SIZES];
}

/* Writes size (8 to 2^32 - 1) and stamp into a block. */
static inline void block_seal(struct worker *worker, void *block, size_t size)
{
	uint32_t stamp = (uint32_t)++worker->stamp * 0x9e3779b1u;

	if (!block)
		broken("no memory");
	((volatile char *)block)[size - 1] = (char)stamp;
	*(volatile uint64_t *)block = (uint64_t)stamp << 32 | size;
}

static inline size_t block_check(struct worker *worker, void *block)
{
	uint64_t head = *(volatile uint64_t *)block;
	size_t size = (uint32_t)head;

	if (size < SLOT_BYTES_MIN)
		broken("the head of a block is damaged");
	if (size > SLOT_BYTES_MIN && ((volatile char *)block)[size - 1] != (char)(head >> 32))
		broken("the end of a block is damaged");
	worker->checksum += head;
	return size;
}

static inline void *block_create(struct worker *worker, size_t size)
{
	void *block = malloc(size);

	block_seal(worker, block, size);
	return block;
}

static inline void block_free(struct worker *worker, void *block)
{
	block_check(worker, block);
	free(block);
}
