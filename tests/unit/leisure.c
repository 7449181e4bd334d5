/* The rests of a cycle that nobody waits for, against the CPU time it took. */
#include "tests/harness/test.h"

#include "core/base/option.h"
#include "core/gc/leisure.h"
#include "core/os/clock.h"

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
	leisure_begin(true);
	CHECK_EQ(leisure_due_ns(), 0u);
	rest = work(&cpu_ns);
	CHECK(rest > 0);
	// four times what it worked, but for what the look itself takes
	CHECK_GE(rest, 3 * cpu_ns < 100 * NS_PER_MS ? 3 * cpu_ns : 100 * NS_PER_MS);
}

TEST(nobody_rests_at_full_speed_or_with_all_of_the_machine)
{
	uint64_t cpu_ns;

	options.cpu_percent = 10;
	leisure_set_cpus(2);
	leisure_begin(false);
	CHECK_EQ(work(&cpu_ns), 0u);
	leisure_begin(true);
	leisure_end();
	CHECK_EQ(work(&cpu_ns), 0u);
	leisure_set_cpus(16);
	leisure_begin(true);
	CHECK_EQ(work(&cpu_ns), 0u);
}
