/*
 * What the histories say, as records of the file of findings. A site's trend is asked for twice, for its finding and for its record, which is cheap: what did not grow
 * is seen at once.
 */
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/growth.h"
#include "core/gc/sites.h"
#include "core/os/lock.h"
#include "core/profile/findings_growing.h"
#include "core/profile/findings_writer.h"

enum { SITES_MAX = 64 };

struct listing {
	struct findings_writer *writer;
	uint32_t series; // rows so far
	growth_take *take;
	void *argument;
	double slopes[SITES_MAX]; // of sites that rise, the first of them
	size_t slope_count;
};

static bool site_rises(const struct site *site, struct trend *ret_trend)
{
	struct trend_point points[TREND_POINTS_MAX];
	size_t count = site_history(site, points);
	struct trend_rules rules = {
		.interval_ms = options.growth_interval_ms,
		.error_bytes = trend_root(site->variance),
	};

	return trend_rises(points, count, &rules, ret_trend);
}

/* All but what only its place in the listing tells. */
static struct findings_site record_of(const struct site *site)
{
	bool is_size = site->stack & SITE_OF_SIZE;

	return (struct findings_site){
		.stack = is_size ? 0 : site->stack,
		.slot_bytes = is_size ? site_slot_bytes(site) : 0,
		.blocks = trend_rounded(site->blocks),
		.bytes = trend_rounded(site->bytes),
		.error_bytes = trend_rounded(trend_root(site->variance)),
	};
}

static void put_site(const struct site *site, void *argument)
{
	struct listing *listing = argument;
	struct findings_site record = record_of(site);
	struct trend trend;

	if (site->history)
		record.series = ++listing->series;
	if (site_rises(site, &trend))
		record.slope_bytes_per_s = trend_rounded(trend.slope);
	findings_put(listing->writer, &record, 1);
}

static void put_series(const struct site *site, void *argument)
{
	struct listing *listing = argument;
	struct trend_point points[TREND_POINTS_MAX];
	size_t count = site_history(site, points);

	for (size_t i = 0; i < count; i++)
		findings_put(listing->writer, &points[i].bytes, 1);
}

void growth_put_sites(struct findings_writer *writer)
{
	struct listing listing = {.writer = writer};
	uint64_t ms[TREND_POINTS_MAX];
	size_t count = sites_times(ms);

	lock_assert_held(cycle_lock());
	findings_begin(writer, FINDINGS_SITES, sizeof(struct findings_site));
	sites_for_each(put_site, &listing);
	findings_begin(writer, FINDINGS_SIZES, sizeof(struct findings_site));
	sites_for_each_size(put_site, &listing);
	findings_begin(writer, FINDINGS_TIMES, sizeof(uint64_t));
	findings_put(writer, ms, count);
	findings_begin(writer, FINDINGS_SERIES, sizeof(uint64_t));
	sites_for_each(put_series, &listing);
	sites_for_each_size(put_series, &listing);
}

static void put_finding(struct listing *listing, const struct site *site, const struct trend *trend)
{
	struct findings_site record = record_of(site);
	struct finding finding = finding_of_trend(&record, trend);

	listing->take(&finding, listing->argument);
}

static void put_if_rises(const struct site *site, void *argument)
{
	struct listing *listing = argument;
	struct trend trend;

	if (!site_rises(site, &trend))
		return;
	put_finding(listing, site, &trend);
	if (listing->slope_count < SITES_MAX)
		listing->slopes[listing->slope_count++] = trend.slope;
}

/* A site rises as the size does: that is why. */
static bool is_explained(const struct listing *listing, double slope)
{
	for (size_t i = 0; i < listing->slope_count; i++) {
		if (trend_explains(listing->slopes[i], slope))
			return true;
	}
	return false;
}

static void put_if_unexplained(const struct site *size, void *argument)
{
	struct listing *listing = argument;
	struct trend trend;

	if (site_rises(size, &trend) && !is_explained(listing, trend.slope))
		put_finding(listing, size, &trend);
}

void growth_for_each_rising(growth_take *take, void *argument)
{
	struct listing listing = {.take = take, .argument = argument};

	lock_assert_held(cycle_lock());
	sites_for_each(put_if_rises, &listing);
	if (options.stacks != STACKS_ALL)
		sites_for_each_size(put_if_unexplained, &listing);
}

static void put_into(const struct finding *finding, void *argument)
{
	findings_put(argument, finding, 1);
}

void growth_put_findings(struct findings_writer *writer)
{
	growth_for_each_rising(put_into, writer);
}
