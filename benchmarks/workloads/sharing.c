/*
 * Threads that free what others allocated: a server whose threads hand over, producers and
 * consumers, batches from anybody to anybody, and threads that end soon.
 */
#include "benchmarks/workloads/workload.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
	LARSON_BLOCKS = 5000,      // per thread
	SERVER_BLOCKS = 75000,     // per thread
	LARSON_GENERATION = 50000, // operations of a thread before it hands over
	RING_BLOCKS = 1024,
	BATCH_BLOCKS = 64,
	BATCHES_MAX = 256,
	SHORT_BLOCKS = 100, // of a short thread; it leaves every other one
};

/*
 * Larson. A chain is a sequence of threads, one at a time: each works for a while, swaps its blocks
 * with those of another chain, starts its successor and ends.
 */
struct chain {
	struct worker worker;
	void **blocks;
	struct larson *larson;
};

struct larson {
	size_t blocks; // per chain
	const struct mix *mix;
	_Atomic(void **) desk; // where a chain leaves its blocks and finds another's; NULL: nothing
	pthread_mutex_t lock;  // guards the rest
	pthread_cond_t changed;
	unsigned running; // chains
};

static void chain_start_thread(struct chain *chain);

static void chain_end(struct chain *chain)
{
	struct larson *larson = chain->larson;

	pthread_mutex_lock(&larson->lock);
	larson->running--;
	pthread_cond_signal(&larson->changed);
	pthread_mutex_unlock(&larson->lock);
}

static void *chain_thread(void *argument)
{
	struct chain *chain = argument;
	struct worker *worker = &chain->worker;
	struct larson *larson = chain->larson;
	void **other;

	for (unsigned i = 0; i < LARSON_GENERATION && worker_goes_on(worker); i++) {
		void **place = &chain->blocks[random_next(worker) % larson->blocks];

		if (*place)
			block_free(worker, *place);
		*place = block_create(worker, mix_draw(larson->mix, worker));
	}
	if (worker->done == worker->operations) {
		chain_end(chain);
		return NULL;
	}
	other = atomic_exchange(&larson->desk, chain->blocks);
	if (!other) // the first to come
		other = table_map(larson->blocks * sizeof(*other));
	chain->blocks = other;
	chain_start_thread(chain);
	return NULL;
}

static void chain_start_thread(struct chain *chain)
{
	pthread_attr_t attributes;
	pthread_t id;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&id, &attributes, chain_thread, chain))
		broken("no thread");
	pthread_attr_destroy(&attributes);
}

static void blocks_free_all(struct worker *worker, void **blocks, size_t count)
{
	for (size_t i = 0; blocks && i < count; i++) {
		if (blocks[i])
			block_free(worker, blocks[i]);
	}
}

static void chains_run(struct run *run, size_t blocks, const struct mix *mix)
{
	static struct chain chains[THREADS_MAX];
	struct larson larson = {
		.blocks = blocks,
		.mix = mix,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.running = run->threads,
	};

	for (unsigned i = 0; i < run->threads; i++) {
		worker_start(&chains[i].worker, i, run, NULL);
		chains[i].larson = &larson;
		chains[i].blocks = table_map(blocks * sizeof(void *));
	}
	for (unsigned i = 0; i < run->threads; i++)
		chain_start_thread(&chains[i]);
	pthread_mutex_lock(&larson.lock);
	while (larson.running)
		pthread_cond_wait(&larson.changed, &larson.lock);
	pthread_mutex_unlock(&larson.lock);
	blocks_free_all(&chains[0].worker, larson.desk, blocks);
	for (unsigned i = 0; i < run->threads; i++) {
		blocks_free_all(&chains[i].worker, chains[i].blocks, blocks);
		run->checksum += chains[i].worker.checksum;
	}
}

void larson_run(struct run *run)
{
	chains_run(run, LARSON_BLOCKS, &mix_objects);
}

void server_run(struct run *run)
{
	chains_run(run, SERVER_BLOCKS, &mix_server);
}

/* Producer and consumer: a ring between each two threads. */
struct ring {
	_Alignas(CACHE_LINE) atomic_size_t sent; // by the producer; pairs with the consumer's load
	_Alignas(CACHE_LINE)
		atomic_size_t received; // by the consumer; pairs with the producer's load
	_Alignas(CACHE_LINE) void *blocks[RING_BLOCKS];
};

static void produce(struct worker *worker, struct ring *ring, uint64_t count)
{
	for (uint64_t sent = 0; sent < count; sent++) {
		void *block = block_create(worker, mix_draw(&mix_objects, worker));

		while (sent - atomic_load_explicit(&ring->received, memory_order_acquire) ==
			RING_BLOCKS)
			sched_yield();
		ring->blocks[sent % RING_BLOCKS] = block;
		atomic_store_explicit(&ring->sent, sent + 1, memory_order_release);
	}
}

static void consume(struct worker *worker, struct ring *ring, uint64_t count)
{
	for (uint64_t received = 0; received < count; received++) {
		while (atomic_load_explicit(&ring->sent, memory_order_acquire) == received)
			sched_yield();
		block_free(worker, ring->blocks[received % RING_BLOCKS]);
		atomic_store_explicit(&ring->received, received + 1, memory_order_release);
	}
}

static void producer_or_consumer(struct worker *worker)
{
	struct ring *ring = (struct ring *)worker->shared + worker->index / 2;

	// The consumer takes what the producer's share is.
	if (worker->index % 2 == 0)
		produce(worker, ring, worker->operations);
	else
		consume(worker, ring, worker->operations);
}

void producer_consumer_run(struct run *run)
{
	size_t bytes = THREADS_MAX / 2 * sizeof(struct ring);
	struct ring *rings = table_map(bytes);

	run->threads -= run->threads % 2;
	run->operations -= run->operations % run->threads;
	if (run->operations == 0)
		run->operations = run->threads;
	workers_run(run, producer_or_consumer, rings);
	table_unmap(rings, bytes);
}

/* Exchange: a queue of batches that anybody adds to and takes from. */
struct pool {
	pthread_mutex_t lock; // guards the rest
	unsigned first;
	unsigned count;
	void *batches[BATCHES_MAX][BATCH_BLOCKS];
};

static bool pool_add(struct pool *pool, void *const *batch)
{
	bool added = false;

	pthread_mutex_lock(&pool->lock);
	if (pool->count < BATCHES_MAX) {
		void **place = pool->batches[(pool->first + pool->count++) % BATCHES_MAX];

		for (unsigned i = 0; i < BATCH_BLOCKS; i++)
			place[i] = batch[i];
		added = true;
	}
	pthread_mutex_unlock(&pool->lock);
	return added;
}

/* Takes the batch that has been there for longest. */
static bool pool_take(struct pool *pool, void **batch)
{
	bool taken = false;

	pthread_mutex_lock(&pool->lock);
	if (pool->count) {
		for (unsigned i = 0; i < BATCH_BLOCKS; i++)
			batch[i] = pool->batches[pool->first][i];
		pool->first = (pool->first + 1) % BATCHES_MAX;
		pool->count--;
		taken = true;
	}
	pthread_mutex_unlock(&pool->lock);
	return taken;
}

static void batch_free(struct worker *worker, void **batch)
{
	for (unsigned i = 0; i < BATCH_BLOCKS; i++) {
		if (batch[i])
			block_free(worker, batch[i]);
	}
}

/* Adds a batch and takes one, once enough are there: most that come back are of other threads. */
static void exchange(struct worker *worker)
{
	struct pool *pool = worker->shared;
	void *batch[BATCH_BLOCKS];
	unsigned ahead = BATCHES_MAX / 2 / worker->threads;

	for (uint64_t left = worker->operations; left;) {
		for (unsigned i = 0; i < BATCH_BLOCKS; i++) {
			batch[i] =
				left ? block_create(worker, mix_draw(&mix_objects, worker)) : NULL;
			left -= left > 0;
		}
		if (!pool_add(pool, batch))
			batch_free(worker, batch);
		if (ahead)
			ahead--;
		else if (pool_take(pool, batch))
			batch_free(worker, batch);
	}
	while (pool_take(pool, batch))
		batch_free(worker, batch);
}

void exchange_run(struct run *run)
{
	struct pool *pool = table_map(sizeof(*pool));

	pthread_mutex_init(&pool->lock, NULL);
	workers_run(run, exchange, pool);
	table_unmap(pool, sizeof(*pool));
}

/* Short threads: what one leaves is checked and freed by the worker that started it. */
struct short_thread {
	struct worker worker;
	void *blocks[SHORT_BLOCKS];
};

static void *short_thread_main(void *argument)
{
	struct short_thread *thread = argument;
	struct worker *worker = &thread->worker;

	for (uint64_t i = 0; i < worker->operations; i++)
		thread->blocks[i] = block_create(worker, mix_draw(&mix_objects, worker));
	for (uint64_t i = 0; i < worker->operations; i += 2) {
		block_free(worker, thread->blocks[i]);
		thread->blocks[i] = NULL;
	}
	return NULL;
}

static void short_threads(struct worker *worker)
{
	struct short_thread *thread = table_map(sizeof(*thread));
	pthread_t id;

	thread->worker = *worker;
	for (uint64_t left = worker->operations; left; left -= thread->worker.operations) {
		thread->worker.operations = left < SHORT_BLOCKS ? left : SHORT_BLOCKS;
		if (pthread_create(&id, NULL, short_thread_main, thread))
			broken("no thread");
		pthread_join(id, NULL);
		for (unsigned i = 0; i < SHORT_BLOCKS; i++) {
			if (thread->blocks[i])
				block_free(worker, thread->blocks[i]);
			thread->blocks[i] = NULL;
		}
	}
	worker->checksum += thread->worker.checksum;
	table_unmap(thread, sizeof(*thread));
}

void short_threads_run(struct run *run)
{
	workers_run(run, short_threads, NULL);
}
