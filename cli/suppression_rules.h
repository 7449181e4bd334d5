/*
 * Rules as they were read: shared by what reads them (suppressions.c) and what uses them (suppressions_apply.c).
 */
#pragma once

#include "cli/suppressions.h"

enum frame_rule_kind { FRAME_FUNCTION, FRAME_OBJECT, FRAME_SOURCE, FRAME_ANY_NUMBER };

/* One line of a Valgrind block. */
struct frame_rule {
	enum frame_rule_kind kind;
	char *pattern; // ANY_NUMBER: NULL
};

struct rule {
	char *text; // as it is shown
	const char *file;
	const struct report
		*owner; // the program's own rules are for its report only; NULL: for all
	unsigned line;
	char *pattern; // LeakSanitizer's, with * in place of what ^ and $ did not hold; NULL: a block
	struct frame_rule *frames;
	size_t frame_count;
	uint32_t kinds;
	uint64_t max_bytes;
	char expires[11];      // YYYY-MM-DD, or ""
	uint64_t count, bytes; // of the findings it matched
	bool is_over;          // of its max_bytes
	bool has_expired;
};

struct suppressions {
	struct rule *rules;
	size_t count;
	char **files;
	size_t file_count;
};

/* What the rule owns. */
void suppressions_free_rule(struct rule *rule);
