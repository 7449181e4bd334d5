/*
 * What the histories say, as records of the file of findings. A site's trend is asked for twice, for its finding and for its record, which is cheap: what did not grow
 * is seen at once.
 */
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/growth.h"
#include "core/gc/sites.h"
#include "core/os/lock.h"
#include "core/profile/findings_writer.h"

struct listing {
	struct findings_writer *writer;
	uint32_t series; // rows so far
	uint64_t findings;
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

static uint64_t rounded(double value)
{
	return value > 0 ? (uint64_t)(value + 0.5) : 0;
}

static bool put_site(const struct site *site, void *argument)
{
	struct listing *listing = argument;
	struct findings_site record = {
		.stack = site->stack,
		.series = site->history ? ++listing->series : 0,
		.blocks = rounded(site->blocks),
		.bytes = rounded(site->bytes),
		.error_bytes = rounded(trend_root(site->variance)),
	};
	struct trend trend;

	if (site_rises(site, &trend))
		record.slope_bytes_per_s = rounded(trend.slope);
	findings_put(listing->writer, &record, 1);
	return true;
}

static bool put_series(const struct site *site, void *argument)
{
	struct listing *listing = argument;
	struct trend_point points[TREND_POINTS_MAX];
	size_t count = site_history(site, points);

	for (size_t i = 0; i < count; i++)
		findings_put(listing->writer, &points[i].bytes, 1);
	return true;
}

void growth_put_sites(struct findings_writer *writer)
{
	struct listing listing = {.writer = writer};
	uint64_t ms[TREND_POINTS_MAX];
	size_t count = sites_times(ms);

	lock_assert_held(cycle_lock());
	findings_begin(writer, FINDINGS_SITES, sizeof(struct findings_site));
	sites_for_each(put_site, &listing);
	findings_begin(writer, FINDINGS_TIMES, sizeof(uint64_t));
	findings_put(writer, ms, count);
	findings_begin(writer, FINDINGS_SERIES, sizeof(uint64_t));
	sites_for_each(put_series, &listing);
}

static bool put_finding(const struct site *site, void *argument)
{
	struct listing *listing = argument;
	struct trend trend;

	if (!site_rises(site, &trend))
		return true;
	findings_put(listing->writer,
		&(struct finding){
			.kind = FINDING_GROWING,
			.stack = site->stack,
			.parent = FINDINGS_NONE,
			.blocks = rounded(site->blocks),
			.bytes = rounded(site->bytes),
			.first_seen_ms = trend.from_ms,
			.last_seen_ms = trend.to_ms,
			.slope_bytes_per_s = rounded(trend.slope),
			.slope_low_bytes_per_s = rounded(trend.low),
			.slope_high_bytes_per_s = rounded(trend.high),
			.grown_bytes = trend.grown_bytes,
		},
		1);
	listing->findings++;
	return true;
}

uint64_t growth_put_findings(struct findings_writer *writer)
{
	struct listing listing = {.writer = writer};

	lock_assert_held(cycle_lock());
	sites_for_each(put_finding, &listing);
	return listing.findings;
}
