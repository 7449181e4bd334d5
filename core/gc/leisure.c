#include "core/gc/leisure.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/os/clock.h"

enum { SLICE_MS = 2, REST_MS_MAX = 100 };

static struct {
	bool is_at_leisure;
	unsigned cpus;
	uint64_t slice_start_ns, slice_cpu_ns; // 0: no slice has begun
} leisure = {.cpus = 1};

void leisure_set_cpus(unsigned count)
{
	leisure.cpus = count;
}

void leisure_begin(bool is_at_leisure)
{
	leisure.is_at_leisure = is_at_leisure;
	leisure.slice_start_ns = 0;
}

void leisure_end(void)
{
	leisure.is_at_leisure = false;
}

bool is_at_leisure(void)
{
	return leisure.is_at_leisure;
}

static void begin_slice(uint64_t start_ns, uint64_t cpu_ns)
{
	leisure.slice_start_ns = start_ns;
	leisure.slice_cpu_ns = cpu_ns;
}

uint64_t leisure_due_ns(void)
{
	uint64_t share = min_u64(100, options.cpu_percent * leisure.cpus), now, cpu, rest;

	if (!leisure.is_at_leisure || share == 100)
		return 0;
	now = clock_now_ns();
	if (leisure.slice_start_ns == 0)
		begin_slice(now, clock_thread_cpu_ns());
	if (now - leisure.slice_start_ns < SLICE_MS * NS_PER_MS)
		return 0;
	cpu = clock_thread_cpu_ns();
	rest = min_u64(
		(cpu - leisure.slice_cpu_ns) * (100 - share) / share, REST_MS_MAX * NS_PER_MS);
	begin_slice(now + rest, cpu);
	return rest;
}
