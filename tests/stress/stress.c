/*
 * The allocator's inside under load: threads are born and die, all of them put blocks of every size into boxes and take out, check, resize and free what
 * others put there; batches of one size go through the central lists, large blocks through the page heap, whose free pages are given back meanwhile; and
 * cycles run back to back. What the collector may take back is the model's business (tests/model): here nothing is leaked, and nothing is used after
 * its free, so it must hold with free=trust too.
 *
 * Every block says how large it is, and has a word of its own in each of its pages and at its end: blocks that overlap, pages given back too early and
 * contents lost by realloc are seen. STRESS_SECONDS (3) is how long it goes on, STRESS_SEED where it begins.
 */
#include "tests/harness/test.h"
#include "tests/model/engine.h"

#include "core/base/atomic.h"
#include "core/gc/cycle.h"
#include "core/gc/pacer.h"
#include "core/heap/central.h"
#include "core/heap/heap.h"
#include "core/heap/page_heap.h"
#include "core/heap/thread_cache.h"
#include "core/os/lock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	THREADS = 6,
	BOXES = 128,
	BATCH = 200,
	LIFE_STEPS = 500,
	VERDICTS = 3,
	PAGE = 4096,
	MIB = 1 << 20,
	HINTED_MAX = 128 * MIB
};

/* At the front of each block. */
struct block {
	uint64_t bytes;
	uint64_t seed;
};

/* Blocks on their way from one thread to another; a root. Exchanged with release and acquire: the block's contents go with it. */
static struct block *boxes[BOXES];

static struct {
	double end;
	uint64_t seed;
	uint64_t steps, passed_on, resized, batches, lives; // relaxed
	uint64_t cycles, verdicts, purged;                  // each by one thread
} stress;

struct source {
	uint64_t state;
};

static uint64_t random_below(struct source *random, uint64_t limit)
{
	random->state ^= random->state << 13;
	random->state ^= random->state >> 7;
	random->state ^= random->state << 17;
	return (random->state >> 11) % limit;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* On a busy machine most stops come too late; it goes on until some cycles have judged what goes on here. */
static bool is_over(void)
{
	double now = seconds_now();

	return now > stress.end &&
	       (load_relaxed(&stress.verdicts) >= VERDICTS || now > stress.end + 100);
}

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* ---- blocks ---- */

/* Small, a span of one size, several units, and large ones with a mapping's worth of pages. */
static size_t random_size(struct source *random)
{
	static const size_t limits[] = {256, 2048, 32 << 10, 256 << 10, 4 * MIB};
	uint64_t chance = random_below(random, 100);
	size_t limit = limits[chance < 40   ? 0
			      : chance < 70 ? 1
			      : chance < 90 ? 2
			      : chance < 98 ? 3
					    : 4];

	return sizeof(struct block) + 8 + random_below(random, limit);
}

static uint64_t *last_word(struct block *block, uint64_t bytes)
{
	return (uint64_t *)((char *)block + (bytes & ~7ull) - 8);
}

static void stamp(struct block *block, size_t bytes, uint64_t seed)
{
	block->bytes = bytes;
	block->seed = seed;
	for (uint64_t at = PAGE; at + 16 <= bytes; at += PAGE)
		*(uint64_t *)((char *)block + at) = seed + at;
	if (bytes >= sizeof(struct block) + 8)
		*last_word(block, bytes) = ~seed;
}

/* `kept` bytes of it must be as they were; all of them: its end, too. */
static void verify(struct block *block, uint64_t kept)
{
	CHECK_GE(engine_usable(block), kept);
	for (uint64_t at = PAGE; at + 16 <= kept; at += PAGE) {
		uint64_t word = *(uint64_t *)((char *)block + at);

		CHECK_MSG(word == block->seed + at ||
				  (kept == block->bytes && (uint64_t *)((char *)block + at) ==
								   last_word(block, kept)),
			"block %p of %lu bytes: at %lu there is %lx instead of %lx", (void *)block,
			block->bytes, at, word, block->seed + at);
	}
	if (kept == block->bytes)
		CHECK_MSG(*last_word(block, kept) == ~block->seed,
			"block %p of %lu bytes: its end is %lx instead of %lx", (void *)block,
			block->bytes, *last_word(block, kept), ~block->seed);
}

static struct block *make(struct source *random)
{
	size_t bytes = random_size(random);
	uint64_t kind = random_below(random, 10);
	size_t alignment = 16ull << random_below(random, 13);
	struct block *block = kind < 6   ? engine_malloc(bytes)
			      : kind < 8 ? engine_calloc(bytes)
					 : engine_aligned(alignment, bytes);

	CHECK_NOT_NULL(block);
	CHECK_EQ((uintptr_t)block % (kind < 8 ? 16 : alignment), 0u);
	for (size_t at = 0; kind >= 6 && kind < 8 && at + 8 <= bytes; at += at < 512 ? 8 : 1000)
		CHECK_EQ(*(uint64_t *)((char *)block + (at & ~7ull)), 0u);
	stamp(block, bytes, random->state);
	return block;
}

static void verify_and_free(struct block *block)
{
	if (!block)
		return;
	verify(block, block->bytes);
	block->seed = 0; // a second taker would see it
	engine_free(block);
}

static struct block *exchange(struct source *random, struct block *block)
{
	return __atomic_exchange_n(&boxes[random_below(random, BOXES)], block, __ATOMIC_ACQ_REL);
}

/* ---- steps ---- */

/* Frees what another thread has allocated. */
static void pass_on(struct source *random)
{
	verify_and_free(exchange(random, make(random)));
	count(&stress.passed_on);
}

static void resize(struct source *random)
{
	struct block *block = exchange(random, NULL);
	size_t bytes = random_size(random);
	uint64_t old;

	if (!block)
		return;
	old = block->bytes;
	verify(block, old);
	block = engine_realloc(block, bytes);
	CHECK_NOT_NULL(block);
	CHECK_EQ(block->bytes, old);
	verify(block, bytes < old ? bytes : old);
	stamp(block, bytes, random->state);
	verify_and_free(exchange(random, block));
	count(&stress.resized);
}

/* More of one size than a thread keeps: lists go to the central ones and come back, by others. */
static void batch(struct source *random)
{
	struct block *blocks[BATCH];
	size_t bytes = sizeof(struct block) + 8 +
		       random_below(random, random_below(random, 4) ? 500 : 9000);

	for (int i = 0; i < BATCH; i++) {
		blocks[i] = engine_malloc(bytes);
		CHECK_NOT_NULL(blocks[i]);
		stamp(blocks[i], bytes, random->state + (uint64_t)i);
	}
	for (int i = 0; i < BATCH; i++) {
		struct block *block =
			blocks[(i * 7 + 3) % BATCH]; // 7 and BATCH have no common factor: each once

		verify_and_free(i % 8 == 0 ? exchange(random, block) : block);
	}
	count(&stress.batches);
}

static void step(struct source *random)
{
	uint64_t chance = random_below(random, 100);

	if (chance < 70)
		pass_on(random);
	else if (chance < 98)
		resize(random);
	else
		batch(random);
	count(&stress.steps);
}

/* ---- threads ---- */

/* Cycles run in a thread of the test, so nothing holds the others back, and with a sanitizer they are slow. */
static void wait_for_cycle(void)
{
	struct timespec moment = {0, 1000000};

	while (pacer_hinted_bytes() > HINTED_MAX && !is_over())
		nanosleep(&moment, NULL);
}

static void *live(void *argument)
{
	struct source random = {*(uint64_t *)argument};

	engine_enter();
	engine_thread_begin();
	engine_leave();
	for (int i = 0; i < LIFE_STEPS && !is_over(); i++) {
		wait_for_cycle();
		engine_enter();
		step(&random);
		engine_leave();
	}
	engine_enter();
	engine_thread_end();
	engine_leave();
	count(&stress.lives);
	return NULL;
}

/* What a thread has cached or claimed goes back at its end, and its blocks live on in the boxes. */
static void *lead_lives(void *argument)
{
	uint64_t seed = (uint64_t)(uintptr_t)argument;

	while (!is_over()) {
		pthread_t thread;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		CHECK_EQ(pthread_create(&thread, NULL, live, &seed), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	return NULL;
}

static void *collect(void *argument)
{
	while (!is_over()) {
		add_relaxed(&stress.verdicts, engine_collect());
		stress.cycles++;
	}
	return argument;
}

/* Does not wait for a cycle to end: the cycle waits for this thread to stop. */
static void purge(size_t limit)
{
	struct signal_guard guard;

	signals_block(&guard);
	if (lock_try(cycle_lock())) {
		central_drain_stock();
		stress.purged += page_heap_purge(limit);
		lock_release(cycle_lock());
	}
	signals_restore(&guard);
}

static void *give_back(void *argument)
{
	struct source random = {stress.seed + 99};

	engine_thread_begin();
	while (!is_over()) {
		struct timespec moment = {0, 2000000};

		engine_enter();
		purge(random_below(&random, 200));
		engine_leave();
		nanosleep(&moment, NULL);
	}
	engine_thread_end();
	return argument;
}

/* ---- the end ---- */

/* What stale words on stacks may keep, in a few large blocks; the sanitizers' run-time has more of them, in memory of its own that counts as the program's. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { LEFT_BYTES_MAX = 32 * MIB };
#else
enum { LEFT_BYTES_MAX = 8 * MIB };
#endif

static void expect_empty(void)
{
	const struct page_heap_stats *pages = page_heap_stats();

	for (int i = 0; i < BOXES; i++) {
		verify_and_free(boxes[i]);
		boxes[i] = NULL;
	}
	// free=trust: what this thread keeps for itself
	engine_enter();
	thread_cache_flush(thread_cache_current);
	engine_leave();
	for (int i = 0; i < 50 && !(engine_collect() &&
					  pages->used_unit_count << UNIT_SHIFT <= LEFT_BYTES_MAX);
		i++)
		continue;
	purge(0);
	CHECK_MSG(pages->used_unit_count << UNIT_SHIFT <= LEFT_BYTES_MAX,
		"%lu KiB are in use after everything was freed",
		(unsigned long)pages->used_unit_count << UNIT_SHIFT >> 10);
	CHECK_EQ(pages->dirty_unit_count, 0u);
	heap_check();
}

static void run_stress(void)
{
	const char *seconds = getenv("STRESS_SECONDS"), *seed = getenv("STRESS_SEED");
	pthread_t leaders[THREADS], collecting, giving;

	engine_start();
	stress.seed = seed ? strtoull(seed, NULL, 0) : 1;
	stress.end = seconds_now() + (seconds ? atof(seconds) : 3);
	CHECK_EQ(pthread_create(&collecting, NULL, collect, NULL), 0);
	CHECK_EQ(pthread_create(&giving, NULL, give_back, NULL), 0);
	for (uint64_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&leaders[i], NULL, lead_lives,
				 (void *)(uintptr_t)(stress.seed * 1000 + i)),
			0);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(leaders[i], NULL), 0);
	CHECK_EQ(pthread_join(collecting, NULL), 0);
	CHECK_EQ(pthread_join(giving, NULL), 0);
	engine_stop();
	expect_empty();
	dprintf(STDOUT_FILENO,
		"%lu steps, %lu passed on, %lu resized, %lu batches, %lu lives, %lu of %lu cycles with a verdict, %lu units given back\n",
		stress.steps, stress.passed_on, stress.resized, stress.batches, stress.lives,
		stress.verdicts, stress.cycles, stress.purged);
	CHECK_GE(stress.lives, (uint64_t)THREADS);
	CHECK_GT(stress.passed_on, 100u);
	CHECK_GT(stress.purged, 0u);
	CHECK_GE(stress.verdicts, (uint64_t)VERDICTS);
}

TEST(blocks_stay_whole_with_free_as_a_hint, .limit_seconds = 7200,
	.options = "quarantine_bytes=256m")
{
	run_stress();
}

TEST(blocks_stay_whole_with_free_trusted, .limit_seconds = 7200, .options = "free=trust")
{
	run_stress();
}
