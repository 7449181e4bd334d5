/*
 * Live sets that stand and are worked on, with pointers from block to block: a cache that forgets
 * what was used longest ago, and blocks that are written at random.
 */
#include "benchmarks/workloads/workload.h"

#include <string.h>

enum {
	CACHE_VALUES = 100000, // shared by the threads in equal parts, as the next
	WRITES_NODES = 2000000,
	LINKS = 5,
	ITEM_ONE_IN = 8, // nodes that have an item
	REPLACE_ONE_IN = 64,
};

/* A share of the whole, but no more than there is work. */
static size_t share_of(const struct worker *worker, size_t whole)
{
	size_t share = whole / worker->threads;

	return share < worker->operations ? share : worker->operations;
}

/*
 * Cache. Entries lie in the list of their bucket and in a ring by their last use.
 */
struct entry {
	uint64_t head; // as block_create() wrote it
	struct entry *newer, *older;
	struct entry *next; // of the bucket
	void *value;
	uint64_t key;
	char end[16]; // the last byte is block_create()'s
};

struct cache {
	struct entry ring; // newer: the one used longest ago
	struct entry **buckets;
	size_t count;
	size_t size;
};

static struct entry **cache_find(struct cache *cache, uint64_t key)
{
	struct entry **place = &cache->buckets[key % cache->size];

	while (*place && (*place)->key != key)
		place = &(*place)->next;
	return place;
}

static void entry_unlink(struct entry *entry)
{
	entry->newer->older = entry->older;
	entry->older->newer = entry->newer;
}

static void cache_use(struct cache *cache, struct entry *entry)
{
	entry->newer = &cache->ring;
	entry->older = cache->ring.older;
	entry->older->newer = entry;
	cache->ring.older = entry;
}

static void cache_add(
	struct worker *worker, struct cache *cache, struct entry **place, uint64_t key)
{
	struct entry *entry = block_create(worker, sizeof(*entry));
	size_t size = mix_draw(&mix_server, worker);

	entry->key = key;
	entry->next = NULL;
	entry->value = malloc(size);
	if (entry->value)
		memset(entry->value, (int)key, size); // no room that nobody wrote
	block_seal(worker, entry->value, size);
	*place = entry;
	cache_use(cache, entry);
	cache->count++;
}

static void cache_forget(struct worker *worker, struct cache *cache)
{
	struct entry *entry = cache->ring.newer;

	*cache_find(cache, entry->key) = entry->next;
	entry_unlink(entry);
	cache->count--;
	block_free(worker, entry->value);
	block_free(worker, entry);
}

static void cache_worker(struct worker *worker)
{
	struct cache cache = {.size = share_of(worker, CACHE_VALUES)};

	cache.ring.newer = cache.ring.older = &cache.ring;
	cache.buckets = calloc(cache.size, sizeof(struct entry *));
	if (!cache.buckets)
		broken("no memory");
	while (worker_goes_on(worker)) {
		uint64_t key = random_next(worker) % (2 * cache.size);
		struct entry **place = cache_find(&cache, key);

		if (*place) {
			block_check(worker, (*place)->value);
			entry_unlink(*place);
			cache_use(&cache, *place);
			continue;
		}
		if (cache.count == cache.size) {
			cache_forget(worker, &cache);
			place = cache_find(&cache, key); // the old one may have been in it
		}
		cache_add(worker, &cache, place, key);
	}
	while (cache.count > 0)
		cache_forget(worker, &cache);
	free(cache.buckets);
}

void cache_run(struct run *run)
{
	workers_run(run, cache_worker, NULL);
}

/* Writes. What a link refers to stays; an item is its node's alone, and is replaced. */
struct node {
	uint64_t head; // as block_create() wrote it
	struct node *links[LINKS];
	void *item;
	char end[8]; // the last byte is block_create()'s
};

static void item_replace(struct worker *worker, struct node *node)
{
	block_free(worker, node->item);
	node->item = block_create(worker, sizeof(*node));
}

static void writes_worker(struct worker *worker)
{
	size_t count = share_of(worker, WRITES_NODES);
	struct node **nodes = calloc(count, sizeof(*nodes));

	if (!nodes)
		broken("no memory");
	for (size_t i = 0; i < count; i++) {
		nodes[i] = block_create(worker, sizeof(*nodes[i]));
		if (i % ITEM_ONE_IN == 0)
			nodes[i]->item = block_create(worker, sizeof(*nodes[i]));
	}
	for (uint64_t step = 0; worker_goes_on(worker); step++) {
		size_t at = random_next(worker) % count;

		if (step % REPLACE_ONE_IN == 0)
			item_replace(worker, nodes[at - at % ITEM_ONE_IN]);
		else
			nodes[at]->links[step % LINKS] = nodes[random_next(worker) % count];
	}
	for (size_t i = 0; i < count; i++) {
		if (i % ITEM_ONE_IN == 0)
			block_free(worker, nodes[i]->item);
		block_free(worker, nodes[i]);
	}
	free(nodes);
}

void writes_run(struct run *run)
{
	workers_run(run, writes_worker, NULL);
}
