/* The rests of a cycle that nobody waits for, against the CPU time it took. */
#include "tests/harness/test.h"

#include "core/base/option.h"
#include "core/gc/leisure.h"
#include "core/os/clock.h"

#include <unistd.h>

/* Works until a rest is due, or for a tenth of a second of CPU time. */
static uint64_t work(uint64_t *ret_cpu_ns)
{
	uint64_t start = clock_thread_cpu_ns(), rest = 0;

	do {
		*ret_cpu_ns = clock_thread_cpu_ns() - start;
		rest = leisure_due_ns();
	} while (rest == 0 && *ret_cpu_ns < NS_PER_S / 10);
	return rest;
}

TEST(who_is_at_leisure_works_no_more_than_its_share)
{
	uint64_t cpu_ns, rest;

	options.cpu_percent = 10;
	leisure_set_cpus(2);
	leisure_begin(LEISURE_FULL);
	CHECK_EQ(leisure_due_ns(), 0u);
	rest = work(&cpu_ns);
	CHECK(rest > 0);
	// four times what it worked, but for what the look itself takes
	CHECK_GE(rest, 3 * cpu_ns < 100 * NS_PER_MS ? 3 * cpu_ns : 100 * NS_PER_MS);
}

/* Rests of a tenth of a millisecond at most. */
static void check_naps(void)
{
	for (int i = 0; i < 3; i++) {
		uint64_t cpu_ns, rest = work(&cpu_ns);

		CHECK(rest > 0);
		CHECK_LE(rest, NS_PER_MS / 10);
	}
}

TEST(nobody_rests_at_full_speed)
{
	uint64_t cpu_ns;

	options.cpu_percent = 10;
	leisure_set_cpus(2);
	leisure_begin(LEISURE_NONE);
	CHECK_EQ(work(&cpu_ns), 0u);
	leisure_begin(LEISURE_FULL);
	CHECK_EQ((int)leisure_hurry(LEISURE_NONE), (int)LEISURE_NONE);
	CHECK_EQ(work(&cpu_ns), 0u);
	// never back to more leisure in the same cycle
	CHECK_EQ((int)leisure_hurry(LEISURE_FULL), (int)LEISURE_NONE);
	CHECK_EQ(work(&cpu_ns), 0u);
}

/* The longest of several slices, each after `wait_us` of waiting: others may take the processor in the middle of one. */
static uint64_t slice_after(unsigned wait_us)
{
	uint64_t longest = 0;

	for (int i = 0; i < 30; i++) {
		uint64_t cpu_ns;

		usleep(wait_us);
		work(&cpu_ns);
		longest = cpu_ns > longest ? cpu_ns : longest;
	}
	return longest;
}

/* Who got the processor back late goes on for as long as its share is, but for no more than a millisecond. */
TEST(a_long_wait_is_made_up_for)
{
	options.cpu_percent = 10;
	leisure_set_cpus(2);
	leisure_begin(LEISURE_NAPS);
	CHECK_GE(slice_after(2400), 500 * NS_PER_US);
	CHECK_GE(slice_after(20000), 900 * NS_PER_US);
}

TEST(naps_are_short_whatever_the_share)
{
	uint64_t cpu_ns;

	options.cpu_percent = 10;
	leisure_set_cpus(2);
	leisure_begin(LEISURE_NAPS);
	check_naps();
	leisure_set_cpus(16);
	leisure_begin(LEISURE_FULL);
	check_naps();
	options.cpu_percent = 100;
	leisure_begin(LEISURE_FULL);
	CHECK_EQ(work(&cpu_ns), 0u);
}
