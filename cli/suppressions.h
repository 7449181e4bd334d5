/*
 * Suppressions: rules for findings that are known and accepted.
 *
 * A file holds rules of LeakSanitizer, one a line, and blocks of Valgrind, mixed as one likes:
 *
 *	# a comment
 *	#: max=64k kind=leak,possible expires=2030-12-31
 *	leak:PATTERN
 *
 *	{
 *	   name
 *	   Memcheck:Leak
 *	   fun:NAME | obj:PATH | src:FILE[:LINE] | ...
 *	}
 *
 * PATTERN is looked for in the function, source file and module of each frame, and in its place "MODULE+0xOFFSET (BuildId: DIGITS)", for which no
 * names are needed; * stands for anything, ^ and $ for start and end. The frames of a block are those of the stack from the allocation on; *
 * and ? stand for characters, ... for frames. Blocks for other tools are skipped.
 *
 * What "#:" says is for the next rule: it holds until the day `expires`, for findings of these kinds (leak, indirect, possible), and not at all
 * if they sum up to more than `max` bytes.
 */
#pragma once

#include "cli/report_data.h"

#include <json-c/json.h>
#include <stdio.h>

struct suppressions;

struct suppressions *suppressions_create(void);
void suppressions_destroy(struct suppressions *suppressions);

/* Adds the rules of a file. False: there was one line naming file, line and fault. */
bool suppressions_load(struct suppressions *suppressions, const char *path);

/* The same for rules that the program of `report` brings along (__lsan_default_suppressions()): they are for this report alone. */
bool suppressions_load_text(
	struct suppressions *suppressions, const struct report *report, const char *text);

/* Marks the findings that a rule accepts, the programs' own ones included. Call it once, before the set is sorted. */
void suppressions_apply(struct suppressions *suppressions, struct report_set *set);

/* Which rules were used, which not, which did not hold. Nothing without rules. */
void suppressions_print(FILE *out, const struct suppressions *suppressions);
json_object *suppressions_json(const struct suppressions *suppressions);
