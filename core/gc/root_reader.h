/*
 * Between roots.c and root_reader.c: memory of the program, read as what it is and handed to the sink of the pass.
 */
#pragma once

#include "core/gc/roots.h"
#include "core/os/pages.h"

/* The buffer. False: no memory. */
bool root_reader_prepare(void);

/* Starts a pass. */
void root_reader_begin(void);

/* Reads what was gathered and not read yet. False: failure (set). */
bool root_reader_finish(struct root_scan *scan);

/* Reads [start, end), which lies in the mapping: those pages that count there. False: failure (set). */
bool root_read_mapping(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end);

/* The same of a stack that was claimed as such (root_claim_stack()). */
bool root_read_stack(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end);

/* Reads those pages of [start, end) that hold something. */
bool root_read_pages(struct root_scan *scan, uintptr_t start, uintptr_t end,
	enum page_choice choice, unsigned flags);
