/*
 * The chunks of the heap that a pause looks at.
 */
#include "core/gc/hot_ranges.h"
#include "tests/harness/test.h"

#define MIB (1ull << 20)

static uint64_t starts[100], ends[100];
static int count;

static bool note(uint64_t start, uint64_t end, void *argument)
{
	(void)argument;
	starts[count] = start;
	ends[count++] = end;
	return count < 100;
}

static void list(bool is_hot, uint64_t end)
{
	count = 0;
	CHECK(hot_ranges_for_each(is_hot, end, note, 0));
}

#define CHECK_RANGE(index, start, end) \
	do { \
		CHECK_EQ(starts[index], (uint64_t)(start)); \
		CHECK_EQ(ends[index], (uint64_t)(end)); \
	} while (0)

TEST(chunks_are_hot_or_cold)
{
	CHECK(hot_ranges_prepare(1 << 30));
	list(true, 100 * MIB);
	CHECK_EQ(count, 0);
	list(false, 101 * MIB);
	CHECK_EQ(count, 1);
	CHECK_RANGE(0, 0, 101 * MIB);

	hot_ranges_add(5 * MIB, 5 * MIB + 1);
	hot_ranges_add(6 * MIB, 9 * MIB);
	hot_ranges_add(100 * MIB, 101 * MIB);
	hot_ranges_add(50 * MIB, 50 * MIB);
	list(true, 101 * MIB);
	CHECK_EQ(count, 2);
	CHECK_RANGE(0, 4 * MIB, 10 * MIB);
	CHECK_RANGE(1, 100 * MIB, 101 * MIB);
	list(false, 101 * MIB);
	CHECK_EQ(count, 2);
	CHECK_RANGE(0, 0, 4 * MIB);
	CHECK_RANGE(1, 10 * MIB, 100 * MIB);

	hot_ranges_clear();
	list(true, 1 << 30);
	CHECK_EQ(count, 0);
}

TEST(all_may_be_hot_until_the_next_cycle)
{
	CHECK(hot_ranges_prepare(256 * MIB));
	hot_ranges_add_all();
	list(false, 256 * MIB);
	CHECK_EQ(count, 0);
	list(true, 256 * MIB);
	CHECK_EQ(count, 1);
	CHECK_RANGE(0, 0, 256 * MIB);
	CHECK(hot_ranges_prepare(4096 * MIB));
	list(true, 4096 * MIB);
	CHECK_EQ(count, 0);
}

static bool stop(uint64_t start, uint64_t end, void *argument)
{
	(void)start;
	(void)end;
	++*(int *)argument;
	return false;
}

TEST(a_visit_may_end_it)
{
	int visits = 0;

	CHECK(hot_ranges_prepare(256 * MIB));
	hot_ranges_add(0, 1);
	hot_ranges_add(100 * MIB, 101 * MIB);
	CHECK(!hot_ranges_for_each(true, 256 * MIB, stop, &visits));
	CHECK_EQ(visits, 1);
}
