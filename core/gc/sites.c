/*
 * Two tables. The sites: open addressing, one entry for each stack of which something lives or that has a history; entries that have neither are left out when the
 * table is made anew. The histories: a row of TREND_POINTS_MAX sizes for each of the larger sites; all rows have their points at the same times, so the
 * times are kept once, and which point goes for the next one is decided once (trend_dispensable). A site with less than HISTORY_FROM has none: growth is not spoken of
 * below four times that. Sizes are sites, too, with a name of their own.
 *
 * Memory: 4 MiB of sites and 1 MiB of histories at most, touched as they fill. What finds no room is counted as dropped; of histories the smallest site's goes for one
 * that is twice as large.
 */
#include "core/gc/sites.h"

#include "core/base/arith.h"
#include "core/base/bits.h"
#include "core/base/option.h"
#include "core/os/clock.h"
#include "core/os/memory.h"
#include "core/profile/stats_page.h"

#include <assert.h>
#include <string.h>

enum {
	CAPACITY_FIRST = 1024,
	CAPACITY_MAX = 131072,
	HISTORIES_MAX = 2048,
	HISTORY_FROM = 64 << 10, // bytes
	CLASS_LARGE = 128,       // and the power of two
	CLASSES = 256,
	COUNT_EVERY_MS = 1000,
	COUNT_COST_FACTOR = 20,
	REPLACED_MAX = 64, // histories that change hands in one count
};

struct history {
	uint32_t stack; // 0: nobody's
	uint32_t reserved;
	uint64_t bytes[TREND_POINTS_MAX]; // by column
};

static_assert(sizeof(struct history) * HISTORIES_MAX <= 5u << 18, "as the head says");
static_assert(HISTORY_FROM * 4 <= TREND_GROWN_MIN_STEADY, "as the head says");

static struct {
	struct site *list;
	size_t capacity;   // a power of two
	size_t count;      // entries with a stack
	size_t dead;       // of those: nothing lives, no history
	struct site *last; // found last: blocks of a span come from few sites

	struct history *histories; // HISTORIES_MAX of them
	uint32_t history_count;    // given out so far; those behind are nobody's
	uint64_t ms[TREND_POINTS_MAX];
	uint8_t columns[TREND_POINTS_MAX]; // where the points of these times are
	size_t points;

	struct {
		uint64_t blocks, bytes;
	} sizes[CLASSES]; // by the last full verdict
	double shares[SIZE_CLASS_COUNT +
		      1]; // of a block that is sampled, by class; 0: not computed yet
	uint64_t base_ns;
	uint64_t begin_ns, begin_cpu_ns; // of the count under way
	uint64_t next_count_ns, counted_ms;
	uint64_t dropped;
	bool is_demanded;
} sites;

uint64_t sites_ms(uint64_t now_ns)
{
	if (sites.base_ns == 0)
		sites.base_ns = now_ns - stats_age_ns();
	return (now_ns - sites.base_ns) / NS_PER_MS;
}

/* ---- the table ---- */

static struct site *place_of(struct site *list, size_t capacity, uint32_t stack)
{
	size_t place = (size_t)(stack * 0x9e3779b97f4a7c15ull >> 40) & (capacity - 1);

	while (list[place].stack != 0 && list[place].stack != stack)
		place = (place + 1) & (capacity - 1);
	return &list[place];
}

static bool is_dead(const struct site *site)
{
	return site->blocks <= 0 && site->history == 0;
}

/* Makes the table anew, without entries that are dead if `drops_dead`. False: no memory, or it is as large as it may be. */
static bool rehash(size_t capacity, bool drops_dead)
{
	struct site *list = capacity <= CAPACITY_MAX ? os_map(capacity * sizeof(*list)) : NULL;
	size_t count = 0;

	if (!list)
		return false;
	for (size_t i = 0; i < sites.capacity; i++) {
		const struct site *site = &sites.list[i];

		if (site->stack == 0 || (drops_dead && is_dead(site)))
			continue;
		*place_of(list, capacity, site->stack) = *site;
		count++;
	}
	if (sites.list)
		os_unmap(sites.list, sites.capacity * sizeof(*list));
	sites.list = list;
	sites.capacity = capacity;
	sites.count = count;
	sites.last = list;
	return true;
}

static struct site *find_or_add(uint32_t stack)
{
	struct site *site = place_of(sites.list, sites.capacity, stack);

	if (site->stack == stack)
		return site;
	if (2 * sites.count >= sites.capacity) {
		if (!rehash(2 * sites.capacity, false)) {
			sites.dropped++;
			return NULL;
		}
		site = place_of(sites.list, sites.capacity, stack);
	}
	sites.count++;
	*site = (struct site){.stack = stack};
	return site;
}

void sites_add(uint32_t stack, uint64_t bytes, double share)
{
	struct site *site = sites.last->stack == stack ? sites.last : find_or_add(stack);
	double size = (double)bytes;

	if (!site)
		return;
	sites.last = site;
	site->blocks += 1 / share;
	site->bytes += size / share;
	site->variance += size * size * (1 - share) / (share * share);
}

/* ---- histories ---- */

static struct history *history_of(const struct site *site)
{
	return &sites.histories[site->history - 1];
}

/* The history with the fewest bytes now gives way, if it has less than half of `site`. */
static struct history *take_smallest(const struct site *site)
{
	uint8_t now = sites.columns[sites.points - 1];
	struct history *smallest = &sites.histories[0];

	for (uint32_t i = 1; i < HISTORIES_MAX; i++) {
		if (sites.histories[i].bytes[now] < smallest->bytes[now])
			smallest = &sites.histories[i];
	}
	if ((double)smallest->bytes[now] > site->bytes / 2)
		return NULL;
	place_of(sites.list, sites.capacity, smallest->stack)->history = 0;
	return smallest;
}

/* What it was before is not known: below HISTORY_FROM, or once histories have been lost anything, so no growth is claimed. */
static bool begin_history(struct site *site, size_t *replaced)
{
	struct history *history;
	uint64_t before = sites.dropped == 0 ? HISTORY_FROM : (uint64_t)site->bytes;

	if (sites.history_count < HISTORIES_MAX) {
		history = &sites.histories[sites.history_count++];
	} else {
		history = *replaced < REPLACED_MAX ? take_smallest(site) : NULL;
		sites.dropped++;
		++*replaced;
	}
	if (!history)
		return false;
	history->stack = site->stack;
	for (size_t i = 0; i < TREND_POINTS_MAX; i++)
		history->bytes[i] = before;
	site->history = (uint32_t)(history - sites.histories) + 1;
	return true;
}

/* The column of the next point. A full history loses one, the larger of whose sizes and the next one's stays. */
static uint8_t next_column(uint64_t now_ms)
{
	size_t gone = sites.points;
	uint8_t column = (uint8_t)sites.points;

	if (sites.points == TREND_POINTS_MAX) {
		gone = trend_dispensable(sites.ms, sites.points);
		column = sites.columns[gone];
		for (uint32_t i = 0; i < sites.history_count; i++) {
			uint64_t *bytes = sites.histories[i].bytes;
			uint8_t next = sites.columns[gone + 1];

			bytes[next] = max_u64(bytes[next], bytes[column]);
		}
		sites.points--;
		memmove(sites.ms + gone, sites.ms + gone + 1,
			(sites.points - gone) * sizeof(sites.ms[0]));
		memmove(sites.columns + gone, sites.columns + gone + 1, sites.points - gone);
	}
	sites.ms[sites.points] = now_ms;
	sites.columns[sites.points] = column;
	sites.points++;
	return column;
}

static bool point_is_due(uint64_t now_ms)
{
	return sites.points == 0 ||
	       now_ms >= sites.ms[sites.points - 1] + max_u64(options.growth_interval_ms / 4, 1);
}

static void add_point(uint64_t now_ms)
{
	uint8_t column = next_column(now_ms);
	size_t replaced = 0;

	for (uint32_t i = 0; i < sites.history_count; i++)
		sites.histories[i].bytes[column] = 0;
	for (size_t i = 0; i < sites.capacity; i++) {
		struct site *site = &sites.list[i];

		if (site->history != 0)
			history_of(site)->bytes[column] = (uint64_t)site->bytes;
	}
	for (size_t i = 0; i < sites.capacity; i++) {
		struct site *site = &sites.list[i];

		if (site->history == 0 && site->bytes >= HISTORY_FROM &&
			begin_history(site, &replaced))
			history_of(site)->bytes[column] = (uint64_t)site->bytes;
	}
}

size_t sites_times(uint64_t *ret_ms)
{
	memcpy(ret_ms, sites.ms, sites.points * sizeof(sites.ms[0]));
	return sites.points;
}

size_t site_history(const struct site *site, struct trend_point *ret_points)
{
	if (site->history == 0)
		return 0;
	for (size_t i = 0; i < sites.points; i++)
		ret_points[i] = (struct trend_point){
			sites.ms[i], history_of(site)->bytes[sites.columns[i]]};
	return sites.points;
}

/* ---- a count ---- */

static double share_of(struct slot slot)
{
	double *share;

	if (options.stacks == STACKS_ALL || options.sample_bytes <= 1)
		return 1;
	if (slot.span->kind == SPAN_LARGE)
		return trend_sampled_share(
			(double)slot_written_bytes(slot) / (double)options.sample_bytes);
	share = &sites.shares[slot.span->class];
	if (*share <= 0)
		*share = trend_sampled_share(
			(double)slot_bytes(slot) / (double)options.sample_bytes);
	return *share;
}

static void count_slot(struct slot slot)
{
	uint32_t stack = slot_stack_id(slot);

	// one that has a stack only because its class is suspected of leaking stands for no others
	if (stack != 0 && slot_was_drawn(slot))
		sites_add(stack, slot_bytes(slot), share_of(slot));
}

void sites_count_group(struct span *span, uint32_t group, uint64_t sampled)
{
	for (; sampled; sampled &= sampled - 1)
		count_slot((struct slot){span, group * 64 + lowest_bit(sampled)});
}

void sites_begin_sizes(void)
{
	memset(sites.sizes, 0, sizeof(sites.sizes));
}

void sites_add_size(const struct span *span, uint64_t blocks, uint64_t bytes)
{
	unsigned class = span->kind == SPAN_LARGE ? CLASS_LARGE + highest_bit(span_bytes(span))
						  : span->class;

	sites.sizes[class].blocks += blocks;
	sites.sizes[class].bytes += bytes;
}

uint64_t site_slot_bytes(const struct site *site)
{
	unsigned class = site->stack % CLASSES;

	return class >= CLASS_LARGE ? 1ull << (class - CLASS_LARGE)
				    : size_classes[class].slot_bytes;
}

static void take_sizes(void)
{
	for (uint32_t class = 0; class < CLASSES; class ++) {
		struct site *site =
			sites.sizes[class].blocks ? find_or_add(SITE_OF_SIZE | class) : NULL;

		if (!site)
			continue;
		site->blocks = (double)sites.sizes[class].blocks;
		site->bytes = (double)sites.sizes[class].bytes;
	}
}

/* False: no memory. */
static bool prepare(void)
{
	if (!sites.histories)
		sites.histories = os_map(HISTORIES_MAX * sizeof(struct history));
	if (!sites.histories)
		return false;
	if (sites.list && 4 * sites.dead <= sites.capacity)
		return true;
	return rehash(sites.list ? sites.capacity : CAPACITY_FIRST, true) || sites.list;
}

bool sites_begin(void)
{
	if (!prepare())
		return false;
	for (size_t i = 0; i < sites.capacity; i++) {
		struct site *site = &sites.list[i];

		site->blocks = site->bytes = site->variance = 0;
	}
	return true;
}

void sites_end(uint64_t now_ns)
{
	take_sizes();
	sites.counted_ms = sites_ms(now_ns);
	if (point_is_due(sites.counted_ms))
		add_point(sites.counted_ms);
	sites.dead = 0;
	for (size_t i = 0; i < sites.capacity; i++)
		sites.dead += sites.list[i].stack != 0 && is_dead(&sites.list[i]);
}

void sites_demand(void)
{
	sites.is_demanded = true;
}

bool sites_begin_count(void)
{
	sites.begin_ns = clock_now_ns();
	sites.begin_cpu_ns = clock_thread_cpu_ns();
	return (sites.is_demanded || sites.begin_ns >= sites.next_count_ns) && sites_begin();
}

void sites_end_count(void)
{
	uint64_t every_ms = min_u64(COUNT_EVERY_MS, options.growth_interval_ms);

	sites_end(sites.begin_ns);
	sites.is_demanded = false;
	sites.next_count_ns =
		sites.begin_ns +
		max_u64(every_ms * NS_PER_MS,
			COUNT_COST_FACTOR * (clock_thread_cpu_ns() - sites.begin_cpu_ns));
}

/* ---- what it came to ---- */

static void for_each(
	uint32_t flag, void (*visit)(const struct site *site, void *argument), void *argument)
{
	for (size_t i = 0; i < sites.capacity; i++) {
		if (sites.list[i].blocks > 0 && (sites.list[i].stack & SITE_OF_SIZE) == flag)
			visit(&sites.list[i], argument);
	}
}

void sites_for_each(void (*visit)(const struct site *site, void *argument), void *argument)
{
	for_each(0, visit, argument);
}

void sites_for_each_size(void (*visit)(const struct site *site, void *argument), void *argument)
{
	for_each(SITE_OF_SIZE, visit, argument);
}

uint64_t sites_counted_ms(void)
{
	return sites.counted_ms;
}

uint64_t sites_dropped(void)
{
	return sites.dropped;
}

void sites_release(void)
{
	if (sites.list)
		os_unmap(sites.list, sites.capacity * sizeof(struct site));
	if (sites.histories)
		os_unmap(sites.histories, HISTORIES_MAX * sizeof(struct history));
	memset(&sites, 0, sizeof(sites));
}
