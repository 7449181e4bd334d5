/* Write tracking by the kernel: what is written is told, what is released costs no fault and counts as written. */
#include "core/os/tracking.h"
#include "core/os/arch.h"
#include "core/os/memory.h"
#include "core/os/proc.h"
#include "tests/harness/test.h"

#include <sys/resource.h>

enum { PAGES = 64 };

static char *pages;

static bool add(uintptr_t start, uintptr_t end, void *argument)
{
	*(long *)argument += (long)((end - start) / OS_PAGE_BYTES);
	return true;
}

static long harvest(enum tracking_harvest how)
{
	long count = 0;

	CHECK(tracking_harvest(
		(uintptr_t)pages, (uintptr_t)pages + PAGES * OS_PAGE_BYTES, how, add, &count));
	return count;
}

/* Faults that writing pages [first, end) takes. */
static long write_pages(int first, int end)
{
	struct rusage before, after;

	getrusage(RUSAGE_THREAD, &before);
	for (int i = first; i < end; i++)
		((volatile char *)pages)[i * OS_PAGE_BYTES] = (char)i;
	getrusage(RUSAGE_THREAD, &after);
	return after.ru_minflt - before.ru_minflt;
}

static void begin(void)
{
	CHECK(proc_open());
	if (!tracking_open())
		test_skip("the kernel does not track writes (Linux 6.7, userfaultfd)");
	pages = os_map(PAGES * OS_PAGE_BYTES);
	CHECK(pages != 0);
	write_pages(0, PAGES);
	CHECK(tracking_register((uintptr_t)pages, (uintptr_t)pages + PAGES * OS_PAGE_BYTES));
}

TEST(each_first_write_of_a_protected_page_is_told_and_costs_a_fault)
{
	begin();
	CHECK_EQ(harvest(HARVEST_PROTECT), PAGES);
	CHECK_EQ(harvest(HARVEST_WRITTEN), 0);
	CHECK_GE(write_pages(0, 20), 20);
	CHECK_EQ(write_pages(0, 20), 0);
	CHECK_EQ(harvest(HARVEST_WRITTEN), 20);
	CHECK_EQ(harvest(HARVEST_PROTECT), 20);
	CHECK_EQ(harvest(HARVEST_WRITTEN), 0);
}

TEST(what_is_released_counts_as_written_and_costs_no_fault)
{
	begin();
	CHECK_EQ(harvest(HARVEST_PROTECT), PAGES);
	tracking_release((uintptr_t)pages, (uintptr_t)pages + PAGES * OS_PAGE_BYTES);
	CHECK_EQ(harvest(HARVEST_WRITTEN), PAGES);
	CHECK_EQ(write_pages(0, PAGES), 0);
	// it is watched as before
	CHECK_EQ(harvest(HARVEST_UNWATCHED), 0);
	CHECK_EQ(harvest(HARVEST_PROTECT), PAGES);
	CHECK_GE(write_pages(5, 7), 2);
	CHECK_EQ(harvest(HARVEST_WRITTEN), 2);
}

/* With a hole: what cannot be released stays watched, and nothing else happens. */
TEST(a_release_that_the_kernel_refuses_changes_nothing_that_is_told)
{
	begin();
	CHECK_EQ(harvest(HARVEST_PROTECT), PAGES);
	os_unmap(pages + 10 * OS_PAGE_BYTES, OS_PAGE_BYTES);
	tracking_release((uintptr_t)pages, (uintptr_t)pages + PAGES * OS_PAGE_BYTES);
	write_pages(20, 30);
	CHECK_GE(harvest(HARVEST_WRITTEN), 10);
	CHECK_GE(harvest(HARVEST_PROTECT), 10);
	CHECK_EQ(harvest(HARVEST_WRITTEN), 0);
}
