/*
 * The credit grows with the time that passes, slept or not, up to that of PACE_STACKS_MAX stacks; each stack is paid for in advance, at the price of the stacks
 * before it. The clock is read (0.1 us) once for each batch of stacks, and once to learn what one costs; between batches some hundred slots pass.
 */
#include "core/profile/suspects.h"

#include "core/base/arith.h"
#include "core/os/clock.h"
#include "core/profile/sampler.h"

enum {
	PACE_STACKS_MAX = 64, // credit saved up
	PACE_STACKS_MIN = 4,  // a batch
	PACE_PART = 8,        // of the time
	PASSING_MAX = 512,    // slots between two looks, at most
	COST_FIRST_NS = 1000,
	COST_MIN_NS = 200,
	COST_MAX_NS = 20000, // a thread may lose its processor meanwhile
};

struct suspects suspects;

void suspects_name(unsigned class)
{
	if (suspects_contain(class))
		return;
	store_relaxed(&suspects.is_suspected[class], (uint8_t)1);
	store_relaxed(&suspects.count, suspects.count + 1);
	store_release(&suspects.generation, suspects.generation + 1);
}

void suspects_clear(unsigned class)
{
	if (!suspects_contain(class))
		return;
	store_relaxed(&suspects.is_suspected[class], (uint8_t)0);
	store_relaxed(&suspects.count, suspects.count - 1);
}

void suspects_obey_slow(struct thread_cache *cache)
{
	uint32_t generation = load_acquire(&suspects.generation);

	if (cache == THREAD_CACHE_NONE)
		return;
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		if (suspects_contain(class))
			thread_cache_empty_bin(cache, class);
	}
	cache->suspects_seen = generation;
}

void suspect_pace_look(struct suspect_pace *pace, uint64_t now_ns, uint32_t count)
{
	uint64_t cost = pace->cost_ns != 0 ? pace->cost_ns : COST_FIRST_NS;
	uint64_t earned = (now_ns - pace->looked_ns) / PACE_PART / (count > 0 ? count : 1);
	uint64_t credit = min_u64(pace->credit_ns + earned, PACE_STACKS_MAX * cost);
	uint64_t stacks = credit >= PACE_STACKS_MIN * cost ? credit / cost : 0;

	pace->looked_ns = now_ns;
	pace->credit_ns = (uint32_t)(credit - stacks * cost);
	pace->cost_ns = (uint32_t)cost;
	pace->left = (uint16_t)stacks;
	pace->is_first = true;
}

unsigned suspect_passing(struct thread_cache *cache, unsigned class)
{
	struct suspect_pace *pace = &cache->paces[class];

	if (pace->left == 0 && pace->passing == 0) {
		suspect_pace_look(pace, clock_now_ns(), load_relaxed(&suspects.count));
		if (pace->left == 0)
			pace->passing =
				(uint16_t)(1 + sampler_random(&cache->random_state, PASSING_MAX));
	}
	return pace->left > 0 ? 0 : pace->passing;
}

void suspect_passed(struct thread_cache *cache, unsigned class, unsigned count)
{
	struct suspect_pace *pace = &cache->paces[class];

	pace->passing = (uint16_t)(count < pace->passing ? pace->passing - count : 0);
}

void suspect_done(struct thread_cache *cache, unsigned class)
{
	struct suspect_pace *pace = &cache->paces[class];
	uint64_t cost;

	pace->left--;
	if (!pace->is_first)
		return;
	pace->is_first = false;
	cost = min_u64(clock_now_ns() - pace->looked_ns, COST_MAX_NS);
	pace->cost_ns = (uint32_t)max_u64((3 * (uint64_t)pace->cost_ns + cost) / 4, COST_MIN_NS);
}
