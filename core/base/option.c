/*
 * The option parser: one table made from option.def, one pass for `mode`, which sets several keys, one for the keys.
 */
#include "core/base/option.h"

#include "core/base/format.h"

enum option_kind { KIND_CHOICE, KIND_NUMBER, KIND_TEXT };

struct option_entry {
	const char *name;
	enum option_kind kind;
	size_t offset;
	uint64_t initial;
	uint64_t low;
	uint64_t high;
	const char *values; // KIND_CHOICE: names separated by |; KIND_TEXT: the default
};

static const struct option_entry table[] = {
#define OPTION_CHOICE(name, initial, values, help) \
	{#name, KIND_CHOICE, offsetof(struct options, name), initial, 0, 0, values},
#define OPTION_NUMBER(name, initial, low, high, help) \
	{#name, KIND_NUMBER, offsetof(struct options, name), initial, low, high, 0},
#define OPTION_TEXT(name, initial, help) \
	{#name, KIND_TEXT, offsetof(struct options, name), 0, 0, 0, initial},
#include "core/base/option.def"
#undef OPTION_CHOICE
#undef OPTION_NUMBER
#undef OPTION_TEXT
};

enum { OPTION_COUNT = sizeof(table) / sizeof(table[0]) };

struct options options;

struct text {
	const char *start;
	size_t length;
};

static uint64_t *number_of(const struct option_entry *entry)
{
	return (uint64_t *)((char *)&options + entry->offset);
}

static void store_text(const struct option_entry *entry, struct text value)
{
	char *target = (char *)&options + entry->offset;
	size_t i;

	for (i = 0; i < value.length && i < OPTION_TEXT_BYTES - 1; i++)
		target[i] = value.start[i];
	target[i] = 0;
}

static struct text text_of(const char *string)
{
	struct text text = {string, 0};

	while (string[text.length])
		text.length++;
	return text;
}

static bool text_equals(struct text a, struct text b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length; i++) {
		if (a.start[i] != b.start[i])
			return false;
	}
	return true;
}

/* Cuts the piece up to the first of two separators off the front of *rest. */
static struct text cut(struct text *rest, char separator, char other)
{
	struct text piece = {rest->start, 0};

	while (piece.length < rest->length && rest->start[piece.length] != separator &&
		rest->start[piece.length] != other)
		piece.length++;
	rest->start += piece.length;
	rest->length -= piece.length;
	if (rest->length > 0) {
		rest->start++;
		rest->length--;
	}
	return piece;
}

static bool parse_choice(const struct option_entry *entry, struct text value, uint64_t *ret_number)
{
	struct text names = text_of(entry->values);

	for (uint64_t i = 0; names.length > 0; i++) {
		if (text_equals(cut(&names, '|', '|'), value)) {
			*ret_number = i;
			return true;
		}
	}
	return false;
}

static unsigned suffix_shift(char suffix)
{
	switch (suffix) {
	case 'k':
	case 'K':
		return 10;
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	default:
		return 0;
	}
}

static bool parse_number(const struct option_entry *entry, struct text value, uint64_t *ret_number)
{
	uint64_t number = 0;
	unsigned shift = 0;

	if (value.length > 1)
		shift = suffix_shift(value.start[value.length - 1]);
	if (shift != 0)
		value.length--;
	if (value.length == 0 || value.length > 18)
		return false;
	for (size_t i = 0; i < value.length; i++) {
		if (value.start[i] < '0' || value.start[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(value.start[i] - '0');
	}
	if (number > (UINT64_MAX >> shift))
		return false;
	number <<= shift;
	if (number < entry->low || number > entry->high)
		return false;
	*ret_number = number;
	return true;
}

static const struct option_entry *find(struct text name)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (text_equals(text_of(table[i].name), name))
			return &table[i];
	}
	return 0;
}

static void apply_mode(uint64_t mode)
{
	options.mode = mode;
	options.free = mode == MODE_FAST ? FREE_TRUST : FREE_HINT;
	options.leaks = mode == MODE_SEAL    ? LEAKS_RECLAIM
			: mode == MODE_WATCH ? LEAKS_REPORT
					     : LEAKS_OFF;
	options.collector = mode == MODE_FAST ? COLLECTOR_OFF : COLLECTOR_AUTO;
	options.stacks = mode == MODE_FAST ? STACKS_OFF : STACKS_SAMPLED;
}

static bool store(const struct option_entry *entry, struct text value)
{
	if (entry->kind == KIND_TEXT) {
		if (value.length >= OPTION_TEXT_BYTES)
			return false;
		store_text(entry, value);
		return true;
	}
	if (entry->kind == KIND_CHOICE)
		return parse_choice(entry, value, number_of(entry));
	return parse_number(entry, value, number_of(entry));
}

static void complain_about(
	void (*complain)(const char *), const char *what, struct text name, struct text value)
{
	char message[512];
	char name_text[64];
	char value_text[128];

	format_text(name_text,
		name.length + 1 < sizeof(name_text) ? name.length + 1 : sizeof(name_text), "%s",
		name.start);
	format_text(value_text,
		value.length + 1 < sizeof(value_text) ? value.length + 1 : sizeof(value_text), "%s",
		value.length ? value.start : "");
	format_text(message, sizeof(message), "GASKET_OPTIONS: %s '%s%s%s'; using the default",
		what, name_text, value.length ? "=" : "", value_text);
	complain(message);
}

void options_reset(void)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (table[i].kind == KIND_TEXT)
			store_text(&table[i], text_of(table[i].values));
		else
			*number_of(&table[i]) = table[i].initial;
	}
	apply_mode(MODE_SEAL);
}

void options_parse(const char *string, size_t length, void (*complain)(const char *message))
{
	for (int pass = 0; pass < 2; pass++) {
		struct text rest = {string, length};

		while (rest.length > 0) {
			struct text value = cut(&rest, ':', ',');
			struct text name = cut(&value, '=', '=');
			const struct option_entry *entry = find(name);
			bool is_mode = entry == find(text_of("mode"));
			uint64_t mode;

			if (name.length == 0 && value.length == 0)
				continue;
			if (pass == 0) {
				if (is_mode && parse_choice(entry, value, &mode))
					apply_mode(mode);
			} else if (!entry) {
				complain_about(complain, "unknown option", name, value);
			} else if (!store(entry, value)) {
				complain_about(complain, "bad value", name, value);
			}
		}
	}
}
