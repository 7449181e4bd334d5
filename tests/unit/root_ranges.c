/*
 * Claims against a map of single bytes: first come, first served, sorted, disjoint.
 */
#include "core/gc/root_ranges.h"
#include "tests/harness/test.h"

#include <stdlib.h>
#include <string.h>

enum { SPACE = 400, CAPACITY = 600 };

static struct root_range memory[3][CAPACITY];

static struct root_ranges make(size_t capacity)
{
	return (struct root_ranges){
		.list = memory[0], .batch = memory[1], .spare = memory[2], .capacity = capacity};
}

static void check_against(const struct root_ranges *ranges, const int *owners)
{
	size_t at = 0;

	for (size_t i = 0; i < SPACE; i++) {
		while (at < ranges->count && ranges->list[at].end <= i)
			at++;
		CHECK_EQ(root_ranges_find(ranges, i), at);
		if (at < ranges->count && ranges->list[at].start <= i) {
			CHECK_EQ((int)ranges->list[at].owner, owners[i]);
			CHECK_EQ((int)ranges->list[at].is_stack, owners[i] % 2);
		} else {
			CHECK_EQ(owners[i], -1);
		}
	}
	for (size_t i = 1; i < ranges->count; i++)
		CHECK_LE(ranges->list[i - 1].end, ranges->list[i].start);
}

static void fold_randomly(struct root_ranges *ranges, int *owners, int owner)
{
	int count = rand() % 12;

	for (int i = 0; i < count; i++) {
		size_t start = (size_t)rand() % SPACE;
		size_t end = start + (size_t)rand() % 30;

		if (end > SPACE)
			end = SPACE;
		CHECK(root_ranges_add(ranges, start, end, owner % 2));
		for (size_t byte = start; byte < end; byte++)
			owners[byte] = owners[byte] == -1 ? owner : owners[byte];
	}
	CHECK(root_ranges_fold(ranges, (uint32_t)owner));
}

TEST(first_come_first_served)
{
	for (int round = 0; round < 2000; round++) {
		struct root_ranges ranges = make(CAPACITY);
		int owners[SPACE];

		memset(owners, -1, sizeof(owners));
		for (int owner = 0; owner < 8; owner++)
			fold_randomly(&ranges, owners, owner);
		check_against(&ranges, owners);
	}
}

TEST(full_list_is_refused_and_kept)
{
	struct root_ranges ranges = make(3);

	for (uintptr_t i = 0; i < 3; i++)
		CHECK(root_ranges_add(&ranges, i * 10 + 2, i * 10 + 4, false));
	CHECK(!root_ranges_add(&ranges, 100, 101, false));
	CHECK(root_ranges_fold(&ranges, 1));
	CHECK(root_ranges_add(&ranges, 0, 100, false));
	CHECK(!root_ranges_fold(&ranges, 2));
	CHECK_EQ(ranges.count, 3u);
	CHECK_EQ(ranges.list[2].start, 22u);
}

TEST(what_is_claimed_as_something_else_too_is_no_stack)
{
	struct root_ranges ranges = make(CAPACITY);

	CHECK(root_ranges_add(&ranges, 10, 20, true));
	CHECK(root_ranges_add(&ranges, 15, 30, false));
	CHECK(root_ranges_add(&ranges, 40, 50, true));
	CHECK(root_ranges_fold(&ranges, 1));
	CHECK(root_ranges_add(&ranges, 35, 60, false));
	CHECK(root_ranges_fold(&ranges, 2));
	CHECK_EQ(ranges.count, 4u);
	CHECK_EQ(ranges.list[0].end, 30u);
	CHECK(!ranges.list[0].is_stack);
	CHECK(!ranges.list[1].is_stack);
	CHECK(ranges.list[2].is_stack);
	CHECK_EQ(ranges.list[2].start, 40u);
	CHECK(!ranges.list[3].is_stack);
}
