/* Regions: reserved, only chosen, under a limit; mappings of our own are listed. */
#include "tests/harness/test.h"

#include "core/os/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void limit_address_space(size_t bytes)
{
	struct rlimit limit = {bytes, bytes};

	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

struct pair {
	struct region down, up;
};

/* Where nothing is reserved somebody else (a sanitizer's shadow, which is nearly everywhere) may sit at the addresses that are tried: others. */
static struct pair make_pair(size_t capacity, bool reserve)
{
	for (int i = 0; i < 200; i++) {
		struct pair pair = {.down = {.capacity = capacity, .step = 1 << 18},
			.up = {.capacity = capacity, .step = 1 << 20}};

		if (regions_init(&pair.down, &pair.up, reserve) && region_grow(&pair.down, 1) &&
			region_grow(&pair.up, 1))
			return pair;
		CHECK(!reserve);
	}
	CHECK(!"no address could be used");
	abort();
}

static void check_grown(struct region *region, char *bytes, size_t count)
{
	CHECK(region_grow(region, 1));
	CHECK_EQ(region->committed, region->step);
	CHECK(region_grow(region, count));
	for (size_t i = 0; i < count; i += 4096)
		CHECK_EQ(bytes[i], 0);
	memset(bytes, 1, count);
	CHECK(!region_grow(region, (64 << 20) + 1));
	CHECK(region_grow(region, 64 << 20));
	CHECK_EQ(bytes[0], 1);
	CHECK_EQ(bytes[count - 1], 1);
}

static void grow_and_use(bool reserve)
{
	enum { COUNT = 10000000 };
	struct pair pair = make_pair(64 << 20, reserve);

	CHECK_EQ(pair.up.base % 65536, 0u);
	CHECK_EQ(pair.down.base, pair.up.base);
	check_grown(&pair.down, (char *)pair.down.base - COUNT, COUNT);
	check_grown(&pair.up, (char *)pair.up.base, COUNT);
	region_unreserve(&pair.up);
	region_unreserve(&pair.down);
	CHECK_EQ(((char *)pair.up.base)[0], 1);
	CHECK_EQ(((char *)pair.down.base)[-1], 1);
}

TEST(reserved_and_chosen_regions_grow)
{
	grow_and_use(true);
	grow_and_use(false);
}

TEST(a_refused_growth_changes_nothing)
{
	struct pair pair = make_pair(1 << 30, false);

	limit_address_space(64 << 20);
	CHECK(!region_grow(&pair.up, 900 << 20));
	CHECK(!region_grow(&pair.down, 900 << 20));
	CHECK_EQ(pair.up.committed, pair.up.step);
	CHECK_EQ(pair.down.committed, pair.down.step);
	((char *)pair.up.base)[pair.up.step - 1] = 1;
	((char *)pair.down.base)[-(ptrdiff_t)pair.down.step] = 1;
}

static size_t found_bytes;

static void find(uintptr_t address, size_t bytes, void *argument)
{
	if (address == (uintptr_t)argument)
		found_bytes = bytes;
}

TEST(own_mappings_are_listed)
{
	char *memory = os_map(12345);

	CHECK_NOT_NULL(memory);
	os_own_mappings(find, memory);
	CHECK_GE(found_bytes, 12345u);
	found_bytes = 0;
	os_unmap(memory, 12345);
	os_own_mappings(find, memory);
	CHECK_EQ(found_bytes, 0u);
}

TEST(a_region_that_grows_down_is_listed_where_it_is)
{
	struct pair pair = make_pair(1 << 30, false);

	CHECK(region_grow(&pair.down, 1 << 20));
	os_own_mappings(find, (void *)(pair.down.base - (1 << 20)));
	CHECK_EQ(found_bytes, 1u << 20);
}

TEST(discarded_and_moved_pages_read_as_zero)
{
	char *memory = os_map(1 << 20), *target = os_map(1 << 20);

	memset(memory, 7, 1 << 20);
	CHECK(os_discard(memory + 65536, 65536));
	CHECK_EQ(memory[65535], 7);
	CHECK_EQ(memory[65536], 0);
	CHECK_EQ(memory[131072], 7);
	if (!os_move_pages(memory, target, 1 << 20))
		test_skip("this kernel cannot move pages and keep the range");
	CHECK_EQ(target[0], 7);
	CHECK_EQ(memory[0], 0);
	CHECK(os_remap_fresh(target, 1 << 20));
	CHECK_EQ(target[0], 0);
}
