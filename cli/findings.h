/*
 * A file of findings (core/profile/findings.h) in memory, as copies of the records we know: shorter records of an older writer are filled with
 * zeros, longer ones of a newer writer are cut, sections we do not know are skipped.
 *
 * The file may have been made by anybody. What is checked on loading: the header, the table, and that every section lies inside the file. What
 * is checked on use: every index and offset that a record holds, by the functions below, which say "unknown" (NULL, -1, "?") when it is out of
 * range. Texts may hold any byte but 0: whoever prints them makes them printable.
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything is owned by it. Arrays of a section that is not there are NULL with a count of 0. */
struct findings {
	const char *name; // of the file, as messages say it; the caller's
	struct findings_meta meta;
	char *strings; // ended by a 0 of ours
	size_t string_bytes;
	struct findings_module *modules;
	size_t module_count;
	struct findings_stack *stacks; // by id
	size_t stack_count;
	uint64_t *frames;
	size_t frame_count;
	struct finding *list;
	size_t list_count;
	struct findings_holder *holders;
	size_t holder_count;
	struct findings_site *sites;
	size_t site_count;
	struct findings_block *blocks; // by address
	size_t block_count;
	struct findings_edge *edges; // by `from`
	size_t edge_count;
	uint64_t *times; // of each row of `series`
	size_t time_count;
	struct findings_site *sizes;
	size_t size_count;
	uint64_t *series;
	size_t series_count;
};

/* Reads the whole file open as `fd`. False: there was one line naming `name` and the fault; nothing is to be released. */
bool findings_load(struct findings *findings, int fd, const char *name);

/* The same for a path. It must be a regular file. */
bool findings_load_path(struct findings *findings, const char *path);

void findings_release(struct findings *findings);

/* A string of the file; "" for 0, "?" for an offset that is none. */
const char *findings_text(const struct findings *findings, uint32_t offset);

/* The stack with that id, or NULL. */
const struct findings_stack *findings_find_stack(const struct findings *findings, uint32_t id);

/* The stack's `depth` return addresses, or NULL when they are not in the file. */
const uint64_t *findings_frames(
	const struct findings *findings, const struct findings_stack *stack);

/* Index of the module that `address` meant in `epoch`, or -1. */
int findings_module_at(const struct findings *findings, uint64_t address, uint32_t epoch);

/* Words for the enums of the format; "unknown" for a number that is none of theirs. */
const char *findings_kind_word(uint32_t kind);
const char *findings_misuse_words(uint32_t misuse);
const char *findings_holder_words(uint32_t kind);
const char *findings_verdict_words(uint32_t verdict);
const char *findings_reason_word(uint32_t reason);
const char *findings_possible_words(uint32_t possible);
