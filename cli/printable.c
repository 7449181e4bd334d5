/*
 * Text of unknown origin, made fit for terminals and JSON.
 */
#include "cli/memory.h"
#include "cli/render.h"

/* Bytes of the UTF-8 character at `text`, 0 if there is none: overlong forms, surrogates and what lies beyond the last plane are none. */
static size_t character_bytes(const unsigned char *text)
{
	static const struct {
		unsigned char low, high, second_low, second_high, bytes;
	} forms[] = {
		{0x20, 0x7e, 0, 0xff, 1},
		{0xc2, 0xc2, 0xa0, 0xbf, 2}, // without the control characters at U+0080
		{0xc3, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		size_t bytes = forms[i].bytes;

		if (text[0] < forms[i].low || text[0] > forms[i].high)
			continue;
		if (bytes > 1 && (text[1] < forms[i].second_low || text[1] > forms[i].second_high))
			return 0;
		for (size_t j = 2; j < bytes; j++) {
			if (text[j] < 0x80 || text[j] > 0xbf)
				return 0;
		}
		return bytes;
	}
	return 0;
}

char *printable(const char *text)
{
	char *copy = memory_copy_text(text);

	for (char *at = copy; *at;) {
		size_t bytes = character_bytes((const unsigned char *)at);

		if (bytes == 0)
			*at = '?';
		at += bytes ? bytes : 1;
	}
	return copy;
}

void print_printable(FILE *out, const char *text)
{
	char *copy = printable(text);

	fputs(copy, out);
	free(copy);
}
