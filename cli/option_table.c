/*
 * Checks options before a program is started with them: the library itself only complains and goes
 * on with the default, for it must never keep a program from running; somebody who types a command
 * wants to know at once.
 */
#include "cli/option_table.h"

#include "cli/command.h"

#include <stdlib.h>
#include <string.h>

#define OPTION_AUTO UINT64_MAX

const struct option_entry option_table[] = {
#define OPTION_CHOICE(name, initial, words, help) \
	{#name, OPTION_IS_CHOICE, initial, 0, 0, words, help},
#define OPTION_NUMBER(name, initial, low, high, help) \
	{#name, OPTION_IS_NUMBER, initial, low, high, "", help},
#define OPTION_TEXT(name, initial, help) {#name, OPTION_IS_TEXT, 0, 0, 0, initial, help},
#include "core/base/option.def"
#undef OPTION_CHOICE
#undef OPTION_NUMBER
#undef OPTION_TEXT
	{0},
};

const struct option_entry *option_find(const char *name, size_t length)
{
	for (const struct option_entry *entry = option_table; entry->name; entry++) {
		if (strlen(entry->name) == length && !memcmp(entry->name, name, length))
			return entry;
	}
	return NULL;
}

bool words_get(const char *words, uint64_t index, char *buffer, size_t capacity)
{
	size_t length;

	for (; index > 0; index--) {
		words = strchr(words, '|');
		if (!words)
			return false;
		words++;
	}
	length = strcspn(words, "|");
	if (length == 0 || length >= capacity)
		return false;
	memcpy(buffer, words, length);
	buffer[length] = 0;
	return true;
}

static bool choice_is_valid(const struct option_entry *entry, const char *value)
{
	char word[64];

	for (uint64_t i = 0; words_get(entry->words, i, word, sizeof(word)); i++) {
		if (!strcmp(word, value))
			return true;
	}
	return false;
}

static bool number_is_valid(const struct option_entry *entry, const char *value)
{
	const char *suffixes = "kmg", *suffix;
	unsigned shift = 0;
	uint64_t number;
	char *end;

	if (*value < '0' || *value > '9' || strlen(value) > 18)
		return false;
	number = strtoull(value, &end, 10);
	if (*end) {
		suffix = strchr(suffixes, *end | 0x20);
		if (!suffix || end[1])
			return false;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	return number <= UINT64_MAX >> shift && number << shift >= entry->low &&
	       number << shift <= entry->high;
}

static bool is_valid(const struct option_entry *entry, const char *value)
{
	switch (entry->kind) {
	case OPTION_IS_CHOICE:
		return choice_is_valid(entry, value);
	case OPTION_IS_NUMBER:
		return number_is_valid(entry, value);
	default:
		return strlen(value) < 256;
	}
}

void options_demand_valid(const char *command, const char *text)
{
	char *copy = strdup(text), *rest = copy, *piece;

	while ((piece = strsep(&rest, ":,"))) {
		const char *value = strchr(piece, '=');
		size_t length = strcspn(piece, "=");
		const struct option_entry *entry = option_find(piece, length);

		if (!*piece)
			continue;
		if (!entry)
			fail(EXIT_USAGE, "%s: unknown option '%.*s'; see gasket help options",
				command, (int)length, piece);
		if (!value || !is_valid(entry, value + 1))
			fail(EXIT_USAGE, "%s: bad value '%s'; see gasket help options", command,
				piece);
	}
	free(copy);
}
