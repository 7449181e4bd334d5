/*
 * The figures of a process in words: what `gasket status` and `gasket top` share.
 */
#pragma once

#include "cli/process.h"

#include <json-c/json.h>

struct size_text {
	char text[24];
};

/* 1536 as "1.5 KiB". */
struct size_text size_of(uint64_t bytes);

/* The word of a figure made by STATS_CHOICE, or of one that has an option's value ("?": not known). Good until the eighth call after this one. */
const char *word_of(const char *words, uint64_t index);
const char *option_word(const char *name, uint64_t index);

double ms_of(uint64_t ns);

/* pid, name, state, and every figure under the name it has in stats_page.def. The caller's. */
json_object *json_of(const struct process *process, enum process_result result);
