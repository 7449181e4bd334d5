/*
 * The rest of the malloc family: blocks that grow, aligned blocks, cleared arrays, large blocks.
 * Large memory is touched once a page, as a program that uses it would.
 */
#include "benchmarks/workloads/workload.h"

enum {
	PAGE = 4096,
	STRINGS = 16,
	STRING_STEP = 48,
	STRING_MAX = 4096,
	VECTOR_MIN = 64,
	VECTOR_MAX = 1 << 20,
	BUFFER_MIN = 1 << 18,
	BUFFER_MAX = 32 << 20,
	LARGE_LIVE = 16,
	ALIGNED_LIVE = 500,
};

/* A block that grows: how much it has is checked after each step, at both ends. */
struct growing {
	void *block;
	size_t size;
};

static void grow(struct worker *worker, struct growing *growing, size_t size)
{
	if (growing->block && block_check(worker, growing->block) != growing->size)
		broken("a block that grew has another size");
	growing->block = realloc(growing->block, size);
	// What was at the ends must have come along.
	if (growing->size && block_check(worker, growing->block) != growing->size)
		broken("realloc did not keep the contents");
	block_seal(worker, growing->block, size);
	growing->size = size;
}

static void growing_end(struct worker *worker, struct growing *growing)
{
	block_free(worker, growing->block);
	*growing = (struct growing){0};
}

/* Writes one word a page: all pages but the first and the last, from where `from` bytes ended. */
static void fill_pages(struct growing *growing, size_t from)
{
	size_t start = from <= PAGE ? PAGE : (from - 1) / PAGE * PAGE;

	for (size_t at = start; at + PAGE < growing->size; at += PAGE)
		*(volatile uint64_t *)((char *)growing->block + at) = at;
}

/* Several strings, to which a piece is added in turn. */
static uint64_t grow_strings(struct worker *worker)
{
	struct growing strings[STRINGS] = {0};
	uint64_t steps = 0;

	for (size_t size = STRING_STEP; size <= STRING_MAX; size += STRING_STEP) {
		for (unsigned i = 0; i < STRINGS; i++, steps++)
			grow(worker, &strings[i], size);
	}
	for (unsigned i = 0; i < STRINGS; i++)
		growing_end(worker, &strings[i]);
	return steps;
}

/* Two vectors that double in turn. */
static uint64_t grow_vectors(struct worker *worker)
{
	struct growing vectors[2] = {0};
	uint64_t steps = 0;

	for (size_t size = VECTOR_MIN; size <= VECTOR_MAX; size *= 2) {
		for (unsigned i = 0; i < 2; i++, steps++) {
			size_t from = vectors[i].size;

			grow(worker, &vectors[i], size);
			fill_pages(&vectors[i], from);
		}
	}
	for (unsigned i = 0; i < 2; i++)
		growing_end(worker, &vectors[i]);
	return steps;
}

/* A buffer that grows by a quarter; all its pages must still be what they were. */
static uint64_t grow_buffer(struct worker *worker)
{
	struct growing buffer = {0};
	uint64_t steps = 0;

	for (size_t size = BUFFER_MIN; size <= BUFFER_MAX; size += size / 4 / PAGE * PAGE) {
		size_t from = buffer.size;

		grow(worker, &buffer, size);
		fill_pages(&buffer, from);
		steps++;
	}
	for (size_t at = PAGE; at + PAGE < buffer.size; at += PAGE) {
		uint64_t word = *(volatile uint64_t *)((char *)buffer.block + at);

		if (word != at)
			broken("a page of a block that grew is damaged");
		worker->checksum += word;
	}
	growing_end(worker, &buffer);
	return steps;
}

static void growth(struct worker *worker)
{
	uint64_t done = 0, round = 0;

	while (done < worker->operations) {
		done += grow_strings(worker);
		if (round % 8 == 0)
			done += grow_vectors(worker);
		if (round % 256 == 0)
			done += grow_buffer(worker);
		round++;
	}
}

void realloc_run(struct run *run)
{
	workers_run(run, growth, NULL);
}

static void *aligned_create(struct worker *worker, size_t alignment, size_t size, bool rounded)
{
	void *block = NULL;

	if (rounded)
		block = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
	else if (posix_memalign(&block, alignment, size))
		block = NULL;
	block_seal(worker, block, size);
	if ((uintptr_t)block % alignment)
		broken("a block is not aligned");
	return block;
}

/* Most alignments are small: 16, 32 and 64 bytes for vectors and cache lines, few are a page. */
static size_t alignment_draw(struct worker *worker)
{
	static const uint16_t alignments[] = {
		16, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64, 128, 256, 1024, 4096};

	return alignments[random_next(worker) % 16];
}

static void aligned(struct worker *worker)
{
	void *blocks[ALIGNED_LIVE] = {0};

	for (uint64_t i = 0; i < worker->operations; i++) {
		uint64_t drawn = random_next(worker);
		void **place = &blocks[drawn % ALIGNED_LIVE];

		if (*place)
			block_free(worker, *place);
		*place = aligned_create(worker, alignment_draw(worker),
			mix_draw(&mix_objects, worker), drawn >> 20 & 1);
	}
	for (unsigned i = 0; i < ALIGNED_LIVE; i++) {
		if (blocks[i])
			block_free(worker, blocks[i]);
	}
}

void aligned_run(struct run *run)
{
	workers_run(run, aligned, NULL);
}

/* Sizes from `low` to `low` << `doublings`, as many of each doubling. */
static size_t size_draw(struct worker *worker, size_t low, unsigned doublings)
{
	size_t base = low << random_next(worker) % doublings;

	return (base + random_next(worker) % base) & ~(size_t)15;
}

static void calloc_big(struct worker *worker)
{
	for (uint64_t i = 0; i < worker->operations; i++) {
		size_t size = size_draw(worker, 64 << 10, 7);
		uint64_t *array = calloc(size / sizeof(*array), sizeof(*array));

		if (!array)
			broken("no memory");
		for (size_t at = 0; at < size / sizeof(*array); at += PAGE / sizeof(*array)) {
			// One word of each page, another one each time.
			uint64_t *word =
				&array[at + (size / sizeof(*array) - at > i % 512 ? i % 512 : 0)];

			if (*(volatile uint64_t *)word)
				broken("calloc is not zero");
			*(volatile uint64_t *)word = i + 1;
		}
		block_seal(worker, array, size);
		block_free(worker, array);
	}
}

void calloc_big_run(struct run *run)
{
	workers_run(run, calloc_big, NULL);
}

/* Up to 1 MiB every page is touched, above one in 16. */
static void touch(char *block, size_t size)
{
	size_t step = size <= 1 << 20 ? PAGE : 16 * PAGE;

	for (size_t at = step; at + step < size; at += step)
		*(volatile char *)(block + at) = 1;
}

static void large(struct worker *worker)
{
	void *blocks[LARGE_LIVE] = {0};

	for (uint64_t i = 0; i < worker->operations; i++) {
		void **place = &blocks[random_next(worker) % LARGE_LIVE];

		if (*place)
			block_free(worker, *place);
		// The smaller, the likelier.
		*place = block_create(
			worker, size_draw(worker, 64 << 10, 1 + random_next(worker) % 10));
		touch(*place, block_check(worker, *place));
	}
	for (unsigned i = 0; i < LARGE_LIVE; i++) {
		if (blocks[i])
			block_free(worker, blocks[i]);
	}
}

void large_run(struct run *run)
{
	workers_run(run, large, NULL);
}
