/*
 * Who is direct among leaked blocks: the fewest blocks from which all of them are reached. Blocks here are live ones of the heap; the set does not ask.
 */
#include "core/alloc/alloc.h"
#include "core/base/option.h"
#include "core/gc/leak_set.h"
#include "core/os/proc.h"
#include "tests/harness/test.h"

#include <string.h>

enum { BLOCK_WORDS = 8, MANY = 200000 };

static struct leak_set set;
static uintptr_t *blocks[MANY];

/* `count` blocks of 64 bytes in the set, which refer to nothing. */
static void make(int count)
{
	CHECK(proc_is_open() || proc_open());
	options_reset();
	options.stacks = STACKS_OFF;
	leak_set_clear(&set);
	for (int i = 0; i < count; i++) {
		blocks[i] = alloc_zeroed(BLOCK_WORDS * sizeof(uintptr_t) - 8);
		CHECK_NOT_NULL(blocks[i]);
		CHECK_NOT_NULL(
			leak_set_add(&set, (uintptr_t)blocks[i], BLOCK_WORDS * sizeof(uintptr_t)));
	}
	leak_set_sort(&set);
}

static void refer(int from, int to)
{
	int word = 0;

	while (blocks[from][word] != 0)
		word++;
	CHECK_LT(word, BLOCK_WORDS - 1);
	blocks[from][word] = (uintptr_t)blocks[to] + 8;
}

static bool all(const struct leaked *leaked)
{
	(void)leaked;
	return true;
}

static bool is_root(int index)
{
	return leak_set_find(&set, (uintptr_t)blocks[index])->flags & LEAKED_ROOT;
}

static int count_roots(int count)
{
	int roots = 0;

	leak_set_forget_edges(&set);
	CHECK(leak_set_find_roots(&set, all));
	for (int i = 0; i < count; i++)
		roots += is_root(i);
	return roots;
}

TEST(blocks_without_references_are_all_direct)
{
	make(5);
	CHECK_EQ(count_roots(5), 5);
}

TEST(head_of_a_list_is_direct_in_either_order)
{
	make(6);
	refer(0, 1);
	refer(1, 2);
	refer(5, 4);
	refer(4, 3);
	CHECK_EQ(count_roots(6), 2);
	CHECK(is_root(0));
	CHECK(is_root(5));
}

TEST(ring_has_one)
{
	make(4);
	for (int i = 0; i < 4; i++)
		refer(i, (i + 1) % 4);
	CHECK_EQ(count_roots(4), 1);
}

TEST(block_that_refers_to_itself_is_direct)
{
	make(1);
	refer(0, 0);
	CHECK_EQ(count_roots(1), 1);
}

TEST(ring_that_something_refers_to_has_none)
{
	make(5);
	for (int i = 0; i < 4; i++)
		refer(i, (i + 1) % 4);
	refer(4, 2);
	CHECK_EQ(count_roots(5), 1);
	CHECK(is_root(4));
}

TEST(ring_that_refers_to_a_list_holds_it)
{
	make(6);
	refer(3, 4);
	refer(4, 5);
	refer(5, 3);
	refer(4, 0);
	refer(0, 1);
	refer(1, 2);
	CHECK_EQ(count_roots(6), 1);
	CHECK(!is_root(0));
}

TEST(two_that_share_a_child_are_both_direct)
{
	make(3);
	refer(0, 1);
	refer(2, 1);
	CHECK_EQ(count_roots(3), 2);
	CHECK(!is_root(1));
}

TEST(doubly_linked_list_has_one)
{
	make(100);
	for (int i = 0; i + 1 < 100; i++) {
		refer(i, i + 1);
		refer(i + 1, i);
	}
	CHECK_EQ(count_roots(100), 1);
}

TEST(long_list_needs_no_deep_stack)
{
	make(MANY);
	for (int i = 0; i + 1 < MANY; i++)
		refer(i + 1, i);
	CHECK_EQ(count_roots(MANY), 1);
	CHECK(is_root(MANY - 1));
}

/* Against the definition: no root is reached from another root unless they share a ring, and every block is reached. */
TEST(random_graphs_agree_with_the_definition)
{
	enum { COUNT = 40, GRAPHS = 200 };
	uint64_t random = 1;

	make(COUNT);
	for (int graph = 0; graph < GRAPHS; graph++) {
		bool reach[COUNT][COUNT] = {{false}};

		for (int i = 0; i < COUNT; i++) {
			memset(blocks[i], 0, (BLOCK_WORDS - 1) * sizeof(uintptr_t));
			set.list[i].flags = 0;
		}
		for (int edge = 0; edge < COUNT * 5 / 4; edge++) {
			int from, to;

			random = random * 6364136223846793005ull + 1442695040888963407ull;
			from = (int)(random >> 33) % COUNT;
			to = (int)(random >> 45) % COUNT;
			if (blocks[from][BLOCK_WORDS - 3] == 0) {
				refer(from, to);
				reach[from][to] = true;
			}
		}
		for (int k = 0; k < COUNT; k++)
			for (int i = 0; i < COUNT; i++)
				for (int j = 0; j < COUNT; j++)
					reach[i][j] |= reach[i][k] && reach[k][j];
		count_roots(COUNT);
		for (int i = 0; i < COUNT; i++) {
			bool held = is_root(i);

			for (int j = 0; j < COUNT; j++) {
				held |= is_root(j) && reach[j][i];
				if (i != j && is_root(i) && is_root(j))
					CHECK_MSG(!reach[i][j], "graph %d: root %d reaches root %d",
						graph, i, j);
			}
			CHECK_MSG(held, "graph %d: nothing direct holds %d", graph, i);
		}
	}
}

static bool is_first(const struct leaked *leaked)
{
	return leaked->address == (uintptr_t)blocks[0];
}

TEST(reach_leaves_its_start_out_unless_it_is_reached)
{
	make(4);
	refer(0, 1);
	refer(1, 2);
	CHECK(leak_set_reach(&set, is_first, LEAKED_HELD));
	CHECK(!(leak_set_find(&set, (uintptr_t)blocks[0])->flags & LEAKED_HELD));
	CHECK(leak_set_find(&set, (uintptr_t)blocks[2])->flags & LEAKED_HELD);
	CHECK(!(leak_set_find(&set, (uintptr_t)blocks[3])->flags & LEAKED_HELD));
	refer(2, 0);
	leak_set_forget_edges(&set);
	for (size_t i = 0; i < set.count; i++)
		set.list[i].flags = 0;
	CHECK(leak_set_reach(&set, is_first, LEAKED_HELD));
	CHECK(leak_set_find(&set, (uintptr_t)blocks[0])->flags & LEAKED_HELD);
}

TEST(hash_sees_every_byte_of_a_small_block)
{
	make(1);
	for (int byte = 0; byte < 56; byte++) {
		uint64_t before, after;

		leak_set_begin_reading();
		before = leaked_hash(&set.list[0]);
		((char *)blocks[0])[byte] ^= 1;
		leak_set_begin_reading();
		after = leaked_hash(&set.list[0]);
		CHECK_NE(before, after);
		CHECK_NE(after, 0u);
	}
}
