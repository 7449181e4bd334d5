#include "core/gc/leisure.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/os/clock.h"

enum {
	SLICE_US = 250,
	SLICE_US_MAX = 1000,
	NAP_US = 50, // the kernel adds as much
	REST_MS_MAX = 100,
};

static struct {
	enum leisure level;
	bool is_resting;
	unsigned cpus;
	uint64_t start_ns, start_cpu_ns; // of the slice, or of the rest; 0: none has begun
	uint64_t slice_ns, rest_ns;      // of this one, of the last one
} leisure = {.cpus = 1};

void leisure_set_cpus(unsigned count)
{
	leisure.cpus = count;
}

void leisure_begin(enum leisure level)
{
	leisure.level = level;
	leisure.start_ns = 0;
	leisure.is_resting = false;
	leisure.slice_ns = SLICE_US * NS_PER_US;
}

enum leisure leisure_hurry(enum leisure most)
{
	if (leisure.level > most)
		leisure.level = most;
	return leisure.level;
}

static uint64_t share(void)
{
	return min_u64(99, options.cpu_percent * leisure.cpus);
}

static void begin_slice(uint64_t now)
{
	uint64_t rested = leisure.is_resting ? now - leisure.start_ns : 0;
	uint64_t late = rested > leisure.rest_ns ? rested - leisure.rest_ns : 0;
	uint64_t due = min_u64(share(), 50); // nobody else may be there

	// kept from the processor: the share is ours
	leisure.slice_ns =
		min_u64(SLICE_US * NS_PER_US + late * due / (100 - due), SLICE_US_MAX * NS_PER_US);
	leisure.start_ns = now;
	leisure.start_cpu_ns = clock_thread_cpu_ns();
	leisure.is_resting = false;
}

/* After `cpu_ns` of work. */
static uint64_t rest_ns(uint64_t cpu_ns)
{
	uint64_t rest = leisure.level == LEISURE_FULL ? cpu_ns * (100 - share()) / share() : 0;

	return max_u64(NAP_US * NS_PER_US, min_u64(rest, REST_MS_MAX * NS_PER_MS));
}

uint64_t leisure_due_ns(void)
{
	uint64_t now;

	if (leisure.level == LEISURE_NONE || options.cpu_percent == 100)
		return 0;
	now = clock_now_ns();
	if (leisure.start_ns == 0 || leisure.is_resting)
		begin_slice(now);
	if (now - leisure.start_ns < leisure.slice_ns)
		return 0;
	leisure.start_ns = now;
	leisure.is_resting = true;
	leisure.rest_ns = rest_ns(clock_thread_cpu_ns() - leisure.start_cpu_ns);
	return leisure.rest_ns;
}
