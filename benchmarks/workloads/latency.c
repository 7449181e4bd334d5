/*
 * How long one malloc and one free take, size by size: not the mean but what one in two, in a
 * hundred and in a thousand takes. Blocks are replaced at random in a live set of 1000, and each
 * call is timed by the time-stamp counter, whose own cost (`timer_ns`) is in every figure.
 */
#include "benchmarks/workloads/workload.h"

#include <string.h>

enum { LIVE = 1000, SIZES = 7, BUCKETS_PER_DOUBLING = 16, BUCKETS = 48 * BUCKETS_PER_DOUBLING };

static const uint32_t sizes[SIZES] = {16, 64, 256, 1024, 4096, 32768, 262144};

/* Numbers of calls by how long they took, in steps of about 6 %. */
struct histogram {
	uint64_t calls;
	uint64_t longest;
	uint32_t bucket[BUCKETS];
};

struct latency {
	struct histogram malloc[SIZES];
	struct histogram free[SIZES];
};

/* Ticks of a counter of constant speed. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	unsigned ignored;

	return __builtin_ia32_rdtscp(&ignored);
#else
	return (uint64_t)(clock_seconds() * 1e9);
#endif
}

static unsigned bucket_of(uint64_t duration)
{
	unsigned doubling, index;

	if (duration < BUCKETS_PER_DOUBLING)
		return (unsigned)duration;
	doubling = 63 - (unsigned)__builtin_clzl(duration);
	index = (doubling - 3) * BUCKETS_PER_DOUBLING +
		(unsigned)(duration >> (doubling - 4)) % BUCKETS_PER_DOUBLING;
	return index < BUCKETS ? index : BUCKETS - 1;
}

/* The least duration of a bucket. */
static uint64_t bucket_start(unsigned index)
{
	unsigned doubling = index / BUCKETS_PER_DOUBLING + 3;

	if (index < BUCKETS_PER_DOUBLING)
		return index;
	return (uint64_t)(BUCKETS_PER_DOUBLING + index % BUCKETS_PER_DOUBLING) << (doubling - 4);
}

static void histogram_add(struct histogram *histogram, uint64_t duration)
{
	histogram->calls++;
	histogram->bucket[bucket_of(duration)]++;
	if (duration > histogram->longest)
		histogram->longest = duration;
}

static void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->calls += from->calls;
	if (from->longest > into->longest)
		into->longest = from->longest;
	for (unsigned i = 0; i < BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

static uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t wanted = (uint64_t)((double)histogram->calls * share), sum = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		sum += histogram->bucket[i];
		if (sum > wanted)
			return bucket_start(i);
	}
	return histogram->longest;
}

static void time_one(struct worker *worker, struct latency *latency, unsigned size, void **place)
{
	uint64_t start, end;

	if (*place) {
		block_check(worker, *place);
		start = ticks();
		free(*place);
		end = ticks();
		histogram_add(&latency->free[size], end - start);
	}
	start = ticks();
	*place = malloc(sizes[size]);
	end = ticks();
	histogram_add(&latency->malloc[size], end - start);
	block_seal(worker, *place, sizes[size]);
}

/* Large sizes get fewer live blocks, small ones more operations. */
static void latency_body(struct worker *worker)
{
	struct latency *latency = (struct latency *)worker->shared + worker->index;
	void *blocks[LIVE] = {0};

	for (unsigned size = 0; size < SIZES; size++) {
		uint64_t count = worker->operations / SIZES >> (sizes[size] > 4096 ? 3 : 0);
		unsigned live = sizes[size] > 4096 ? LIVE / 20 : LIVE;

		for (uint64_t i = 0; i < count; i++)
			time_one(worker, latency, size, &blocks[random_next(worker) % live]);
		for (unsigned i = 0; i < live; i++) {
			if (blocks[i])
				block_free(worker, blocks[i]);
			blocks[i] = NULL;
		}
	}
}

static double ns_per_tick(void)
{
	double seconds = clock_seconds();
	uint64_t start = ticks();

	while (clock_seconds() - seconds < 0.02)
		;
	return (clock_seconds() - seconds) * 1e9 / (double)(ticks() - start);
}

static double timer_ns(double scale)
{
	uint64_t start = ticks(), end = start;

	for (unsigned i = 0; i < 1000; i++)
		end = ticks();
	return (double)(end - start) * scale / 1000;
}

static void note_quantiles(struct run *run, const char *call, uint32_t size,
	const struct histogram *histogram, double scale)
{
	note(run, "%s_%u=%.0f/%.0f/%.0f/%.0f", call, size,
		(double)histogram_quantile(histogram, 0.5) * scale,
		(double)histogram_quantile(histogram, 0.99) * scale,
		(double)histogram_quantile(histogram, 0.999) * scale,
		(double)histogram->longest * scale);
}

void latency_run(struct run *run)
{
	size_t bytes = run->threads * sizeof(struct latency);
	struct latency *latency = table_map(bytes);
	double scale = ns_per_tick();

	workers_run(run, latency_body, latency);
	note(run, "timer_ns=%.0f", timer_ns(scale));
	for (unsigned size = 0; size < SIZES; size++) {
		for (unsigned i = 1; i < run->threads; i++) {
			histogram_merge(&latency[0].malloc[size], &latency[i].malloc[size]);
			histogram_merge(&latency[0].free[size], &latency[i].free[size]);
		}
		note_quantiles(run, "malloc", sizes[size], &latency[0].malloc[size], scale);
		note_quantiles(run, "free", sizes[size], &latency[0].free[size], scale);
	}
	table_unmap(latency, bytes);
}
