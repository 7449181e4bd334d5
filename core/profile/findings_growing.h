/*
 * The record of a site that rises, as the process writes it and as `gasket growth` makes it again from the series.
 */
#pragma once

#include "core/base/trend.h"
#include "core/profile/findings.h"

/* `site` has the stack (or the size of the slots), the blocks and the bytes. */
static inline struct finding finding_of_trend(
	const struct findings_site *site, const struct trend *trend)
{
	return (struct finding){
		.kind = FINDING_GROWING,
		.stack = site->stack,
		.slot_bytes = site->slot_bytes,
		.parent = FINDINGS_NONE,
		.blocks = site->blocks,
		.bytes = site->bytes,
		.first_seen_ms = trend->from_ms,
		.last_seen_ms = trend->to_ms,
		.slope_bytes_per_s = trend_rounded(trend->slope),
		.slope_low_bytes_per_s = trend_rounded(trend->low),
		.slope_high_bytes_per_s = trend_rounded(trend->high),
		.grown_bytes = trend->grown_bytes,
	};
}
