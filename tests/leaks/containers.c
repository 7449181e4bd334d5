/*
 * Tables, lists and trees that lose an element, or the rest of themselves.
 */
#include "tests/leaks/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a table of chains ---- */

enum { BUCKETS = 8 };

struct pair {
	struct pair *next;
	char *key;
	void *value;
};

struct table {
	struct pair **buckets;
	size_t count;
};

KEEP static char *key_create(int number)
{
	char *key = malloc(24);

	snprintf(key, 24, "key number %d", number);
	return key;
}

KEEP static void table_init(struct table *table)
{
	table->buckets = calloc(BUCKETS, sizeof(*table->buckets));
	table->count = 0;
}

KEEP static struct pair *table_push(struct table *table, int number)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	pair->key = key_create(number);
	pair->next = table->buckets[number % BUCKETS];
	table->buckets[number % BUCKETS] = pair;
	table->count++;
	return pair;
}

KEEP static void table_release(struct table *table)
{
	for (int i = 0; i < BUCKETS; i++) {
		while (table->buckets[i]) {
			struct pair *pair = table->buckets[i];

			table->buckets[i] = pair->next;
			free(pair->key);
			free(pair->value);
			free(pair);
		}
	}
	free(table->buckets);
	*table = (struct table){0};
}

/* The contents of another table take the place of ours. */
KEEP static void table_replaced(bool fixed)
{
	struct table ours, other;

	table_init(&ours);
	TIMES(3)
	table_push(&ours, turn);
	table_init(&other);
	table_push(&other, 5);
	if (fixed)
		table_release(&ours);
	ours = other;
	table_release(&ours);
	other = ours;
	use(&other);
}

/* The value of a key that is there already. */
KEEP static void *value_create(void)
{
	return calloc(1, 72);
}

KEEP static void pair_set(struct pair *pair, bool fixed)
{
	if (fixed)
		free(pair->value);
	pair->value = value_create();
}

KEEP static void value_replaced(bool fixed)
{
	struct table table;
	struct pair *pair;

	table_init(&table);
	pair = table_push(&table, 3);
	TIMES(5)
	pair_set(pair, fixed);
	table_release(&table);
}

/* All pairs are taken out, for their values; the keys were the table's. */
KEEP static void keys_of_taken_pairs(bool fixed)
{
	struct table table;

	table_init(&table);
	TIMES(4)
	table_push(&table, turn);
	for (int i = 0; i < BUCKETS; i++) {
		struct pair *pair = table.buckets[i];

		if (pair && fixed)
			free(pair->key);
		free(pair);
		table.buckets[i] = NULL;
	}
	table_release(&table);
}

/* A larger array of buckets; the old one stays behind. */
KEEP static struct pair **buckets_create(size_t count)
{
	return calloc(count, sizeof(struct pair *));
}

KEEP static struct pair **buckets_grow(struct pair **old, size_t count, bool fixed)
{
	struct pair **larger = buckets_create(2 * count);

	memcpy(larger, old, count * sizeof(*old));
	if (fixed)
		free(old);
	return larger;
}

KEEP static void buckets_after_resize(bool fixed)
{
	struct pair **buckets = buckets_create(8);

	buckets = buckets_grow(buckets, 8, fixed);
	buckets = buckets_grow(buckets, 16, fixed);
	free(buckets);
}

/* ---- lists ---- */

struct node {
	struct node *next;
	int number;
	char *text;
};

KEEP static struct node *node_create(struct node *next)
{
	struct node *node = calloc(1, sizeof(*node));

	node->next = next;
	return node;
}

KEEP static struct node *list_create(int length)
{
	struct node *list = NULL;

	TIMES(length)
	list = node_create(list);
	return list;
}

KEEP static void list_free(struct node *list)
{
	while (list) {
		struct node *next = list->next;

		free(list);
		list = next;
	}
}

/* A list of what is in a table: the table still holds what it names. */
KEEP static struct node *keys_of(struct table *table)
{
	struct node *list = NULL;

	for (int i = 0; i < BUCKETS; i++) {
		for (struct pair *pair = table->buckets[i]; pair; pair = pair->next) {
			list = node_create(list);
			list->text = pair->key;
		}
	}
	return list;
}

KEEP static void list_of_keys(bool fixed)
{
	struct table table;
	struct node *keys;

	table_init(&table);
	TIMES(3)
	table_push(&table, turn);
	keys = keys_of(&table);
	use(keys);
	if (fixed)
		list_free(keys);
	table_release(&table);
}

KEEP static void last_of_list(bool fixed)
{
	struct node *list = list_create(4);

	while (list->next) {
		struct node *next = list->next;

		free(list);
		list = next;
	}
	if (fixed)
		free(list);
}

KEEP static struct node *list_remove_first(struct node *list, bool fixed)
{
	struct node *second = list->next;

	list->next = NULL;
	if (fixed)
		free(list);
	return second;
}

KEEP static void first_of_list(bool fixed)
{
	struct node *list = list_create(5);

	TIMES(2)
	list = list_remove_first(list, fixed);
	list_free(list);
}

/* Only what is at hand is freed, and with it the way to the rest. */
KEEP static struct node *filter_create(struct node *below)
{
	return node_create(below);
}

KEEP static void chain_below_head(bool fixed)
{
	struct node *chain = filter_create(filter_create(filter_create(NULL)));

	if (fixed)
		list_free(chain->next);
	free(chain);
}

/* Each refers to the other; nobody to them. */
KEEP static void ring_of_two(bool fixed)
{
	TIMES(3)
	{
		struct node *first = node_create(NULL), *second = node_create(first);

		first->next = second;
		if (fixed) {
			free(second);
			free(first);
		}
	}
}

/* ---- trees ---- */

enum { CHILDREN = 3 };

struct tree {
	struct tree *parent, **children;
	int count;
};

KEEP static struct tree *tree_create(struct tree *parent)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	tree->parent = parent;
	return tree;
}

KEEP static void tree_make_array(struct tree *tree)
{
	tree->children = calloc(CHILDREN, sizeof(*tree->children));
}

KEEP static struct tree *tree_add(struct tree *parent)
{
	struct tree *child = tree_create(parent);

	if (!parent->children)
		tree_make_array(parent);
	parent->children[parent->count++] = child;
	return child;
}

KEEP static void tree_free(struct tree *tree, bool arrays)
{
	for (int i = 0; i < tree->count; i++)
		tree_free(tree->children[i], arrays);
	if (arrays)
		free(tree->children);
	free(tree);
}

KEEP static struct tree *tree_of_two_levels(void)
{
	struct tree *root = tree_create(NULL);

	TIMES(CHILDREN)
	tree_add(tree_add(root));
	return root;
}

/* A node is two blocks, of which one is freed. */
KEEP static void arrays_of_children(bool fixed)
{
	tree_free(tree_of_two_levels(), fixed);
}

/* Two whole trees on the parser's stack when the text ends too early: they are dropped. */
KEEP static bool parse(const char *text, bool fixed)
{
	struct tree *left = tree_of_two_levels(), *right = tree_create(NULL);

	if (text[0] != ';') {
		if (fixed) {
			tree_free(left, true);
			tree_free(right, true);
		}
		return false;
	}
	return true;
}

KEEP static void subtrees_on_error(bool fixed)
{
	use(parse("(A,B),C", fixed) ? "" : NULL);
}

/* The document goes, its root element stays: the loop stops at the wrong parent. */
KEEP static void document_free(struct tree *document, bool fixed)
{
	struct tree *root = document->children[0];

	for (int i = 0; i < root->count; i++)
		tree_free(root->children[i], true);
	free(root->children);
	root->children = NULL;
	root->count = 0;
	free(document->children);
	free(document);
	if (fixed)
		free(root);
}

KEEP static struct tree *add_root_element(struct tree *document)
{
	return tree_add(document);
}

KEEP static void root_of_document(bool fixed)
{
	struct tree *document = tree_create(NULL);

	tree_add(add_root_element(document));
	document_free(document, fixed);
}

/* ---- a pool that loses a chunk ---- */

struct chunk {
	struct chunk *next;
	size_t bytes;
	char room[240];
};

struct pool {
	struct chunk *unused;
};

KEEP static struct chunk *chunk_create(size_t bytes)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk));

	chunk->bytes = bytes;
	return chunk;
}

/* What is too small for this request is taken from the list, and not put back. */
KEEP static struct chunk *pool_take(struct pool *pool, size_t bytes, bool fixed)
{
	while (pool->unused) {
		struct chunk *chunk = pool->unused;

		pool->unused = chunk->next;
		chunk->next = NULL;
		if (chunk->bytes >= bytes)
			return chunk;
		if (fixed)
			free(chunk);
	}
	return NULL;
}

KEEP static void chunk_lost_by_pool(bool fixed)
{
	struct pool pool = {NULL};

	TIMES(3)
	{
		struct chunk *chunk = chunk_create(100);

		chunk->next = pool.unused;
		pool.unused = chunk;
	}
	free(pool_take(&pool, 200, fixed));
}

/* ---- queues ---- */

struct message {
	struct message *next;
	char *payload;
};

struct queue {
	struct message *first;
};

KEEP static void queue_push(struct queue *queue)
{
	struct message *message = calloc(1, sizeof(*message));

	message->payload = malloc(300);
	memset(message->payload, 'm', 300);
	message->next = queue->first;
	queue->first = message;
}

KEEP static void queue_at_shutdown(bool fixed)
{
	struct queue *queue = calloc(1, sizeof(*queue));

	TIMES(6)
	queue_push(queue);
	while (queue->first && fixed) {
		struct message *message = queue->first;

		queue->first = message->next;
		free(message->payload);
		free(message);
	}
	queue->first = NULL;
	free(queue);
}

/* A part of no bytes is not appended, and so never freed. */
KEEP static void *segment_create(void)
{
	return malloc(48);
}

KEEP static void append_file(void **last, size_t bytes, bool fixed)
{
	void *segment = segment_create();

	if (bytes > 0) {
		free(*last);
		*last = segment;
	} else if (fixed) {
		free(segment);
	}
}

KEEP static void segment_of_empty_file(bool fixed)
{
	void *last = NULL;

	append_file(&last, 10, fixed);
	TIMES(4)
	append_file(&last, 0, fixed);
	free(last);
}

const struct shape container_shapes[] = {
	{"table_replaced", table_replaced, "table_init", {1, 64}, {6, 144},
		SHAPE_LINK("ruby/ruby/pull/8001")},
	{"value_replaced", value_replaced, "value_create", {4, 288}, {0, 0}, "own"},
	{"keys_of_taken_pairs", keys_of_taken_pairs, "key_create", {4, 96}, {0, 0},
		SHAPE_LINK("libvmi/libvmi/pull/416")},
	{"buckets_after_resize", buckets_after_resize, "buckets_create", {2, 192}, {0, 0},
		SHAPE_LINK("marekweb/datastructs-c/pull/9")},
	{"list_of_keys", list_of_keys, "keys_of", {1, 24}, {2, 48},
		SHAPE_LINK("meetecho/janus-gateway/pull/2294")},
	{"last_of_list", last_of_list, "list_create", {1, 24}, {0, 0},
		SHAPE_LINK("kismetwireless/lorcon/pull/16")},
	{"first_of_list", first_of_list, "list_create", {2, 48}, {0, 0},
		SHAPE_LINK("lowleveltv/singly-linked-list/pull/1")},
	{"chain_below_head", chain_below_head, "filter_create", {1, 24}, {1, 24},
		SHAPE_LINK("FreeRDP/FreeRDP/pull/4997")},
	{"ring_of_two", ring_of_two, "ring_of_two", {3, 72}, {3, 72}, "own"},
	{"arrays_of_children", arrays_of_children, "tree_make_array", {4, 96}, {0, 0},
		SHAPE_LINK("katef/libfsm/pull/248")},
	{"subtrees_on_error", subtrees_on_error, "parse", {2, 48}, {10, 240},
		SHAPE_LINK("xflouris/libpll/issues/123")},
	{"root_of_document", root_of_document, "add_root_element", {1, 24}, {0, 0},
		SHAPE_LINK("michaelrsweet/mxml/issues/183")},
	{"chunk_lost_by_pool", chunk_lost_by_pool, "chunk_create", {3, 768}, {0, 0},
		SHAPE_LINK("drh/cii/issues/1")},
	{"queue_at_shutdown", queue_at_shutdown, "queue_push", {1, 16}, {11, 1880},
		SHAPE_LINK("confluentinc/librdkafka/issues/1207")},
	{"segment_of_empty_file", segment_of_empty_file, "segment_create", {4, 192}, {0, 0},
		SHAPE_LINK("libevent/libevent/pull/1559")},
	{0},
};
