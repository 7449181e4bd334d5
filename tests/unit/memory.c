/* Regions: reserved, only chosen, under a limit; mappings of our own are listed. */
#include "tests/harness/test.h"

#include "core/os/memory.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void limit_address_space(size_t bytes)
{
	struct rlimit limit = {bytes, bytes};

	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

/* Where nothing is reserved somebody else (a sanitizer's shadow, which is nearly everywhere) may sit at the addresses that are tried: others. */
static struct region make_region(size_t capacity, size_t alignment, bool reserve)
{
	struct region region;

	for (int i = 0; i < 200; i++) {
		bool is_found = region_init(&region, capacity, alignment, 1 << 20, reserve);

		if (is_found && region_grow(&region, 1))
			return region;
		CHECK(!reserve);
	}
	CHECK(!"no address could be used");
	return region;
}

static void grow_and_use(bool reserve)
{
	struct region region = make_region(64 << 20, 65536, reserve);

	CHECK_EQ(region.base % 65536, 0u);
	CHECK(region_grow(&region, 1));
	CHECK_EQ(region.committed, 1u << 20);
	CHECK(region_grow(&region, 1));
	CHECK(region_grow(&region, 10000000));
	for (size_t i = 0; i < 10000000; i += 4096)
		CHECK_EQ(((char *)region.base)[i], 0);
	memset((void *)region.base, 1, 10000000);
	CHECK(!region_grow(&region, (64 << 20) + 1));
	CHECK(region_grow(&region, 64 << 20));
	CHECK_EQ(((char *)region.base)[9999999], 1);
}

TEST(reserved_and_chosen_regions_grow)
{
	grow_and_use(true);
	grow_and_use(false);
}

TEST(a_refused_growth_changes_nothing)
{
	struct region region = make_region(1 << 30, 4096, false);
	size_t committed;

	committed = region.committed;
	limit_address_space(64 << 20);
	CHECK(!region_grow(&region, 900 << 20));
	CHECK_EQ(region.committed, committed);
	((char *)region.base)[committed - 1] = 1;
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
