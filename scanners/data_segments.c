/*
 * .data, .bss and RELRO of every loaded object, told from the list of mappings alone: asking the loader would take its lock. A loaded file is mapped
 * privately; what of it the process wrote is its own. The part of .bss beyond the file's last page is anonymous memory that follows directly.
 * (The kernel may have joined further anonymous memory to that tail; it is read all the same, only under this name.)
 */
#include "scanners/scanners.h"

#include <sys/mman.h>

static bool is_segment(const struct mapping *mapping)
{
	return mapping->kind == MAPPING_FILE && !mapping->shared;
}

static bool is_tail(const struct mapping *mapping, const struct mapping *before)
{
	return mapping->kind == MAPPING_ANONYMOUS && mapping->start == before->end &&
	       is_segment(before) && (before->protection & PROT_WRITE);
}

static bool claim_segments(struct root_scan *scan)
{
	const struct mapping *list = scan->maps->list;

	for (size_t i = 0; i < scan->maps->count; i++) {
		if (!is_segment(&list[i]) && !(i > 0 && is_tail(&list[i], &list[i - 1])))
			continue;
		if (!root_claim(scan, list[i].start, list[i].end))
			return false;
	}
	return root_claims_done(scan);
}

const struct scanner scanner_data_segments = {
	.name = "data_segments", .claim = claim_segments, .is_trackable = true};
