/*
 * The leak report, in the wording of LeakSanitizer, so that tools that read that one read ours:
 *
 *	=================================================================
 *	==PID==ERROR: Gasket: detected memory leaks
 *
 *	Direct leak of 4096 byte(s) in 64 object(s) allocated from:
 *	    #0 0x55d0c0de1234 in session_create (/usr/sbin/service+0x1234)
 *
 *	Indirect leak of ...
 *
 *	Growing by 1024 byte(s) per second ..., allocated from:
 *
 *	SUMMARY: Gasket: 4096 byte(s) leaked in 64 allocation(s).
 *
 * One text, built in a buffer of its own and written at once, or to a file that appears whole under its name. Sizes are those of the slots.
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One entry of the report: blocks with the same origin. */
struct leak_entry {
	uint32_t stack;       // id in the stack table; 0: not known, `slot_bytes` names the group
	uint32_t is_indirect; // held by other leaked blocks only
	uint64_t slot_bytes;  // size of each block when `stack` is 0
	uint64_t blocks;
	uint64_t bytes;
	uint64_t reclaimed_blocks; // of `blocks`: those already taken back
	uint64_t reclaimed_bytes;

	/* for files of findings only */
	uint32_t
		parent; // of indirect ones: index of the entry that holds them, or LEAK_PARENT_NONE
	uint32_t cycles; // that did not reach the oldest block
	uint32_t
		first_ms; // when the oldest and the youngest block were first not reached, in probation's clock
	uint32_t last_ms;
	uint64_t address; // of one of the blocks
	uint32_t place;   // of an origin: index of its direct leaks in the list
	uint64_t order;   // tells origins apart and orders them alike in every run
};

#define LEAK_PARENT_NONE UINT32_MAX

/* What else the report says, one line each where the number is not 0. */
struct leak_notes {
	uint64_t double_frees;    // frees of a block that was free already, ignored
	uint64_t invalid_frees;   // frees of what is no block, ignored
	uint64_t dangling_blocks; // freed blocks something still refers to, kept
	uint64_t dangling_bytes;
	const struct finding *const
		*growing; // what of the reachable heap rises, in the order it is to be shown
	size_t growing_count;
	uint64_t growing_dropped; // more of them than there was room for
	bool incomplete;          // the last cycle gave no verdict: older results are shown
};

/*
 * Sorts `entries` (direct first, then by bytes, largest first) and writes the report to `where`: "stderr" (where messages go) or a path, in
 * which %p is the process id; the file is written beside its name and renamed. Nothing at all is written when there is no entry,
 * nothing that rises, no misuse and a verdict.
 * False if it could not be written. Not thread-safe (callers hold the lock of the cycle).
 */
bool report_write(const char *where, struct leak_entry *entries, size_t count,
	const struct leak_notes *notes);

/* Appends "in FUNCTION (MODULE+0xOFFSET)" of the first frame of a stack that is worth naming; for log lines. Returns bytes written. */
size_t report_name_site(uint32_t stack, char *buffer, size_t capacity);
