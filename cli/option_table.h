/*
 * The options of the library as the command knows them: names, words and help, from
 * core/base/option.def.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind { OPTION_IS_CHOICE, OPTION_IS_NUMBER, OPTION_IS_TEXT };

struct option_entry {
	const char *name;
	enum option_kind kind;
	uint64_t initial;
	uint64_t low;
	uint64_t high;
	const char *words; // choice: separated by |; text: the default
	const char *help;
};

/* Ended by an entry whose name is NULL. */
extern const struct option_entry option_table[];

const struct option_entry *option_find(const char *name, size_t length);

/* Word number `index` of `words` (separated by |) into `buffer`; false when there is none. */
bool words_get(const char *words, uint64_t index, char *buffer, size_t capacity);

/* Ends the process with one line if `text` (key=value:key=value) holds an unknown key or a value
 * that the library would refuse. */
void options_demand_valid(const char *command, const char *text);
