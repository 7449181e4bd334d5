/*
 * Roots: everything through which the program can reach the heap, or no verdict.
 *
 * roots_scan() runs in a pause (every other task stands still) and in three steps:
 *
 *	maps	/proc's list of mappings is read
 *	claim	each scanner names the ranges that are its own: a thread's live stack, its storage, a module's data. What is ours, the heap window
 *		and the dead parts of stacks are claimed for nobody. Whoever claims first has it; no range has two owners.
 *	read	the scanners hand over words that do not lie in memory of their own; then all memory is read once, in the order of addresses, each
 *		range in the name of its owner; what nobody claimed belongs to the last scanner, `mappings`.
 *
 * So no memory falls between two scanners, and with scan_off=NAME (checking builds; NAME+NAME for several) exactly the roots of that scanner
 * are not seen. Any failure ends the pass: no verdict.
 *
 * In the pause: no libc, no lock that a stopped thread may hold, no memory but what roots_prepare() mapped.
 */
#pragma once

#include "core/gc/root_ranges.h"
#include "core/os/maps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct marker;

/* Why a pass failed; text for gctrace and `gasket status` by roots_failure_text(). */
enum roots_failure {
	ROOTS_NOT_FAILED,
	ROOTS_NOT_PREPARED,      // no memory, or /proc is not open
	ROOTS_MAPS_UNREADABLE,   // also: more mappings than there was room for
	ROOTS_PAGES_UNREADABLE,  // page tables, or too much sparse shared memory
	ROOTS_MEMORY_UNREADABLE, // a page that is there
	ROOTS_TOO_MANY_RANGES,
	ROOTS_THREAD_UNREADABLE, // a stopped thread's registers
	ROOTS_TABLE_FULL,        // a pointer held by the kernel found no place in our table
	ROOTS_FAILURE_COUNT
};

/* What becomes of large private memory: tracked_roots.h. */
enum root_tracking { ROOT_TRACKING_OFF, ROOT_TRACKING_NOTE, ROOT_TRACKING_USE };

/* One pass over all roots. The caller sets sink or marker, the rest is output. */
struct root_scan {
	/* Gets every word, in a copy; NULL: candidates go to mark_words(marker). */
	void (*sink)(void *argument, const uintptr_t *words, size_t count);
	void *sink_argument;
	struct marker *marker;
	enum root_tracking tracking;

	enum roots_failure failure;
	uintptr_t failure_address;   // what could not be read, or 0
	const char *failure_scanner; // who wanted it, or NULL
	bool requests_in_flight; // the kernel may hold pointers that nobody can ask for: this cycle proves no leak
	uint64_t bytes_read;
	uint64_t trackable_bytes; // of them, but for ROOT_TRACKING_USE

	/* For scanners. */
	const struct maps *maps;
	bool swap_is_noted;         // in `maps`: which mappings have pages on disk only
	struct root_ranges *claims; // the batch is the running scanner's
	uint32_t scanner;           // its index; while memory is read, its owner's

	/* For the sink, while it is called: of which memory the words are a copy. */
	uintptr_t address; // of the first word; 0: they lay nowhere
	uint32_t stride;   // bytes from one word to the next
	int32_t thread; // id of the task whose registers or own words they are; 0: told by the address, if at all
};

struct scanner {
	const char *name;
	void (*prepare)(void);                 // before the pause, or NULL
	bool (*claim)(struct root_scan *scan); // or NULL
	bool (*scan)(struct root_scan *scan);  // or NULL
	bool is_trackable; // what it claims may be read beside the program, if the kernel tells what is written there
};

/* The scanners, in order of their claims; what nobody claims is the last one's. The table is the caller's, for life. At start, once. */
void roots_register(const struct scanner *const *scanners, size_t count);

/* The library's own ELF image (its __ehdr_start): its writable data is ours and no root. At start. */
void roots_exclude_image(const void *header);

/* Memory for a pass, as much as the process needs now. Collector thread, not in a pause, before each cycle. False: no memory, or no /proc. */
bool roots_prepare(void);

/* In a pause. False: no verdict (scan->failure). */
bool roots_scan(struct root_scan *scan);

/* True when `name` is one of the names in scan_off=NAME+NAME: its roots are not seen (checking builds). */
bool roots_are_off(const char *name);

/* Name of the scanner with this index, as in scan->scanner; NULL for what the pass itself reads of the heap's window. */
const char *roots_scanner_name(uint32_t scanner);

const char *roots_failure_text(enum roots_failure failure);

/* After a pass, while the program runs: the private, writable memory that it read, but for the heap's, range by range, with the name of the scanner whose it is. It may be gone. */
void roots_for_each_read(
	void (*visit)(const char *scanner, uintptr_t start, uintptr_t end, void *argument),
	void *argument);

/* ---- for scanners ---- */

enum root_read_flags {
	ROOT_READ_WORDS = 0,
	ROOT_READ_BYTES = 1, // words at every byte: code holds pointers as unaligned immediates
	ROOT_READ_DIRECT =
		2, // where the kernel refuses, by plain loads: mapped for good and readable (rings, memfd_secret)
	ROOT_READ_TOLERANT = 4, // what cannot be read is no failure (a truncated file)
};

/* Claims what of [start, end) is still unclaimed for the running scanner; rounded outwards to words. False (failure is set): too many ranges. */
bool root_claim(struct root_scan *scan, uintptr_t start, uintptr_t end);

/*
 * The same, of the live stack of a thread that is stopped and that we are told of when it ends: pages that are there are read by plain loads, for nobody takes them
 * away before (world_wait_out_abandonment()).
 */
bool root_claim_stack(struct root_scan *scan, uintptr_t start, uintptr_t end);

/*
 * Ends the batch of claims and starts one for nobody; after it, root_exclude() says what is dead or ours (rounded inwards). A scanner's own claims
 * come before its exclusions, so that what is both is read.
 */
bool root_claims_done(struct root_scan *scan);
bool root_exclude(struct root_scan *scan, uintptr_t start, uintptr_t end);

/* Hands words to the sink, which lay nowhere; or in memory of the task `thread`, from that address on. */
void root_scan_words(struct root_scan *scan, const uintptr_t *words, size_t count);
void root_scan_words_of(struct root_scan *scan, int32_t thread, uintptr_t address,
	const uintptr_t *words, size_t count);

/* Reads all of [start, end), of whole words, perhaps only with a later call. False: failure (set). */
bool root_scan_memory(struct root_scan *scan, uintptr_t start, uintptr_t end, unsigned flags);

/* Has it told in scan->maps which mappings have pages on disk only, once in a pass. False: failure (set). */
bool root_note_swapped(struct root_scan *scan);

/* Notes a failure; returns false. */
bool root_fail(struct root_scan *scan, enum roots_failure failure, uintptr_t address);
