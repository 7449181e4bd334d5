/*
 * The file of findings: what a process knows of its leaks, its heap and its stacks, in numbers only. Names and lines are looked up outside, by
 * `gasket report` and the like, in the files the modules came from.
 *
 *	+0	struct findings_header
 *	+64	the sections' records, one section behind the other, each aligned to 8 bytes
 *	...	the table: header.section_count times struct findings_section
 *
 * Written in one pass to PATH.PID.tmp and renamed when whole; the header comes last, so that a file that was cut has no magic. Little endian,
 * addresses are 64 bits. Records only grow at their end: a reader takes min(record_bytes, what it knows) of each and sees zeros for the rest; it
 * skips sections it does not know. No contents of blocks are in the file.
 *
 * The reader believes nothing: an index or offset that is out of range is "unknown".
 *
 * This header is the format; the command includes nothing else of it.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define FINDINGS_MAGIC 0x31444e4946534147ull /* "GASFIND1", little endian */

enum { FINDINGS_ALIGN = 8, FINDINGS_BUILD_ID_MAX = 32 };

/* The sections. Each is there at most once; one that is not there has no records. */
enum findings_section_kind {
	FINDINGS_META = 1, // one struct findings_meta
	FINDINGS_STRINGS,  // bytes; each string ends in 0, and offset 0 is the empty string
	FINDINGS_MODULES,  // struct findings_module
	FINDINGS_STACKS,   // struct findings_stack
	FINDINGS_FRAMES,   // uint64_t, return addresses, innermost first
	FINDINGS_LIST,     // struct finding
	FINDINGS_HOLDERS,  // struct findings_holder
	FINDINGS_SITES,    // struct findings_site: the live heap by allocation stack
	FINDINGS_BLOCKS,   // struct findings_block, in the order of addresses (snapshots)
	FINDINGS_EDGES,    // struct findings_edge, in the order of `from` (snapshots)
	FINDINGS_TIMES, // uint64_t, milliseconds since the process began: those of the points of each of FINDINGS_SERIES
	FINDINGS_SIZES, // struct findings_site, stack 0: all live blocks by size, with or without a stack
	FINDINGS_SERIES, // uint64_t, live bytes of a site or size at each of FINDINGS_TIMES, one row behind the other
	FINDINGS_SECTION_KINDS
};

/* What kind a finding is. LEAK: nothing refers to it but what is leaked itself. INDIRECT: held by a LEAK alone (`parent`). POSSIBLE: reached, but only by words that
 * point into its middle or just behind it, or by way of such a block (`parent`, as far as it is held by one). DANGLING: freed, still referred to. MISUSE: a free that was wrong. GROWING: reachable, and more at each look. */
#define FINDING_KINDS(KIND) \
	KIND(LEAK, "leak") \
	KIND(INDIRECT, "indirect") \
	KIND(POSSIBLE, "possible") \
	KIND(DANGLING, "dangling") \
	KIND(MISUSE, "misuse") \
	KIND(GROWING, "growing")

/* What was wrong with a call (kind MISUSE). */
#define FINDING_MISUSES(MISUSE) \
	MISUSE(NONE, "none") \
	MISUSE(DOUBLE_FREE, "free of a block that was free already") \
	MISUSE(INTERIOR, "free of an address inside a block") \
	MISUSE(FOREIGN, "free of memory that malloc did not give") \
	MISUSE(STACK, "free of an address on a stack") \
	MISUSE(SIZE, "sized free with another size") \
	MISUSE(ALIGNMENT, "aligned free with another alignment") \
	MISUSE(UNUSED, "free of an address where no block begins")

/* What refers to a block. */
#define FINDINGS_HOLDER_KINDS(HOLDER) \
	HOLDER(UNKNOWN, "unknown") \
	HOLDER(GLOBAL, "global") /* `module`, `address` in it */ \
	HOLDER(STACK, \
		"stack") /* `thread`, `address` on it, `stack`: the calls from that frame outwards */ \
	HOLDER(REGISTER, "register")                   /* `thread` */ \
	HOLDER(THREAD_STORAGE, "thread-local storage") /* `thread` */ \
	HOLDER(MAPPING, "mapping")                     /* `address`, `name` of the mapping */ \
	HOLDER(BLOCK, "block")   /* `address` in a block with stack `stack` */ \
	HOLDER(KERNEL, "kernel") /* epoll data, timers, robust lists, ... */

/* Whether the last cycle can be believed. */
#define FINDINGS_VERDICTS(VERDICT) \
	VERDICT(NONE, "no verdict") \
	VERDICT(FULL, "full") \
	VERDICT(PARTIAL, "partial")

/* Whether blocks of the kind POSSIBLE were looked for. */
#define FINDINGS_POSSIBLES(POSSIBLE) \
	POSSIBLE(NOT_LOOKED, "not looked for") \
	POSSIBLE(LOOKED, "looked for") \
	POSSIBLE(UNKNOWN, "could not be looked for")

/* Why the file was written. */
#define FINDINGS_REASONS(REASON) \
	REASON(EXIT, "exit") \
	REASON(REQUEST, "request") \
	REASON(SIGNAL, "signal") \
	REASON(ABORT, "abort")

#define FINDINGS_ENTRY(name, ...) FINDING_##name,
enum finding_kind { FINDING_KINDS(FINDINGS_ENTRY) FINDING_KIND_COUNT };
#undef FINDINGS_ENTRY
#define FINDINGS_ENTRY(name, ...) FINDING_MISUSE_##name,
enum finding_misuse { FINDING_MISUSES(FINDINGS_ENTRY) FINDING_MISUSE_COUNT };
#undef FINDINGS_ENTRY
#define FINDINGS_ENTRY(name, ...) FINDINGS_HOLDER_##name,
enum findings_holder_kind { FINDINGS_HOLDER_KINDS(FINDINGS_ENTRY) FINDINGS_HOLDER_COUNT };
#undef FINDINGS_ENTRY
#define FINDINGS_ENTRY(name, ...) FINDINGS_VERDICT_##name,
enum findings_verdict { FINDINGS_VERDICTS(FINDINGS_ENTRY) FINDINGS_VERDICT_COUNT };
#undef FINDINGS_ENTRY
#define FINDINGS_ENTRY(name, ...) FINDINGS_POSSIBLE_##name,
enum findings_possible { FINDINGS_POSSIBLES(FINDINGS_ENTRY) FINDINGS_POSSIBLE_COUNT };
#undef FINDINGS_ENTRY
#define FINDINGS_ENTRY(name, ...) FINDINGS_REASON_##name,
enum findings_reason { FINDINGS_REASONS(FINDINGS_ENTRY) FINDINGS_REASON_COUNT };
#undef FINDINGS_ENTRY

#define FINDINGS_NONE UINT32_MAX /* no index */

struct findings_header {
	uint64_t magic; // FINDINGS_MAGIC
	uint32_t header_bytes;
	uint32_t section_bytes; // size of each entry of the table
	uint64_t section_offset;
	uint64_t section_count;
	uint64_t file_bytes; // the whole file's
	uint64_t reserved[3];
};

struct findings_section {
	uint32_t kind; // enum findings_section_kind
	uint32_t record_bytes;
	uint64_t offset; // in the file
	uint64_t count;  // records
};

struct findings_meta {
	uint32_t process;      // id, in its own namespace
	uint32_t reason;       // enum findings_reason
	uint32_t verdict;      // enum findings_verdict
	uint32_t no_verdict;   // enum stats_no_verdict, why there was none
	uint64_t written_ns;   // wall clock, since 1970
	uint64_t age_ns;       // since the process began
	uint64_t sample_bytes; // mean bytes between two sampled stacks; 0: every stack is kept
	uint64_t cycles;       // with a verdict
	uint64_t live_blocks, live_bytes;
	uint64_t dangling_blocks, dangling_bytes;
	uint64_t leaked_blocks, leaked_bytes;       // now, whether listed or not
	uint64_t reclaimed_blocks, reclaimed_bytes; // taken back so far
	uint64_t double_frees, invalid_frees;
	uint64_t dropped_stacks; // not kept for want of memory
	uint64_t dropped_findings;
	uint32_t command;    // string: the command line's first word
	uint32_t executable; // string: path of the program
	uint32_t stacks;     // enum stacks of core/base/option.h: which were kept
	uint32_t reserved;
	uint32_t
		default_suppressions; // string: what __lsan_default_suppressions() of the program said
	uint32_t possible;            // enum findings_possible
};

/* One ELF file that is or was mapped (core/profile/module.h). */
struct findings_module {
	uint32_t path; // string
	uint32_t first_epoch,
		last_epoch; // stacks of these epochs mean this module by its addresses
	uint32_t is_mapped;
	uint64_t low, high;
	uint64_t bias; // address - address in the file
	uint32_t build_id_bytes;
	uint32_t reserved;
	uint8_t build_id[FINDINGS_BUILD_ID_MAX];
};

/* In the order of ids. Records name stacks by these ids, of which 0 means that none was recorded. */
struct findings_stack {
	uint32_t id;
	uint32_t epoch;
	uint32_t depth;
	uint32_t reserved;
	uint64_t first_frame; // index in FINDINGS_FRAMES
};

/* Findings of one kind and origin. */
struct finding {
	uint32_t kind;        // enum finding_kind
	uint32_t detail;      // enum finding_misuse for MISUSE, else 0
	uint32_t stack;       // id of the allocation's stack; 0: none, see slot_bytes
	uint32_t other_stack; // MISUSE: id of the wrong call's stack
	uint32_t
		parent; // INDIRECT, POSSIBLE: index of the LEAK or POSSIBLE that holds it, else FINDINGS_NONE. What several hold is counted under one of them
	uint32_t cycles; // which found it unreachable; the oldest block's
	uint64_t blocks, bytes;
	uint64_t indirect_blocks,
		indirect_bytes; // LEAK, POSSIBLE: sums of those whose parent it is
	uint64_t reclaimed_blocks, reclaimed_bytes; // of `blocks`: taken back already
	uint64_t slot_bytes;                        // size of each block when `stack` is 0
	uint64_t first_seen_ms,
		last_seen_ms; // the oldest block's first, the youngest's first; since the process began
	uint64_t address;     // of one of the blocks; MISUSE: what was given to free
	uint64_t slope_bytes_per_s;                             // GROWING: since first_seen_ms
	uint64_t slope_low_bytes_per_s, slope_high_bytes_per_s; // GROWING: its interval of 95 %
	uint64_t grown_bytes;                                   // GROWING: since first_seen_ms
};

/* Who refers to a block: of a DANGLING or POSSIBLE finding, or (snapshots) a root's reference. */
struct findings_holder {
	uint32_t kind;    // enum findings_holder_kind
	uint32_t finding; // index in FINDINGS_LIST, or FINDINGS_NONE
	uint32_t thread;  // task id
	uint32_t module;  // index
	uint32_t stack;   // of the holding block; STACK: the frame's; THREAD_STORAGE: none, but bytes from the word up to the thread pointer (0: not below it)
	uint32_t name;    // string
	uint64_t address; // of the word
	uint64_t target;  // the address it holds
};

/* The live heap of one allocation stack. */
struct findings_site {
	uint32_t stack;
	uint32_t series;            // 1 + row in FINDINGS_SERIES, 0: none
	uint64_t blocks, bytes;     // live; estimates where stacks are sampled
	uint64_t slope_bytes_per_s; // 0 unless it rises
	uint64_t error_bytes;       // standard error of `bytes`, 0: exact
	uint64_t
		slot_bytes; // FINDINGS_SIZES: what a block occupies, of large ones the power of two that is not more
};

struct findings_block {
	uint64_t address;
	uint64_t bytes;
	uint32_t stack;
	uint32_t state; // enum slot_state of core/heap/heap.h
};

/* Block `from` holds a word that points into block `to`; both are indices in FINDINGS_BLOCKS. */
struct findings_edge {
	uint32_t from, to;
	uint32_t
		offset; // of the word in `from`, in units of 8 bytes; the first, if there are several
};

static_assert(sizeof(struct findings_header) == 64, "records begin at 64");
static_assert(sizeof(struct findings_section) % 8 == 0 && sizeof(struct findings_meta) % 8 == 0 &&
		      sizeof(struct findings_module) % 8 == 0 && sizeof(struct finding) % 8 == 0 &&
		      sizeof(struct findings_holder) % 8 == 0 &&
		      sizeof(struct findings_block) % 8 == 0,
	"records keep their alignment");
