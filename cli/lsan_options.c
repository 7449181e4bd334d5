/*
 * LSAN_OPTIONS, as far as it means something here: key=value, separated by colons, commas or blanks, values perhaps in quotes. Keys that mean nothing
 * here are passed over in silence, for the variable is mostly set for other programs, too. Switches come later and win.
 */
#include "cli/command.h"
#include "cli/leaks.h"
#include "cli/memory.h"

#include <ctype.h>

/* Digits only; else it is passed over. */
static bool parse_count(const char *text, unsigned long most, unsigned long *ret_number)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || number > most)
		return false;
	*ret_number = number;
	return true;
}

static bool is_false(const char *text)
{
	return !strcmp(text, "0") || !strcmp(text, "no") || !strcmp(text, "false");
}

/* `value` stays allocated: what is kept of it is kept to the end. */
static void take(struct leaks_order *order, const char *key, const char *value)
{
	unsigned long number;

	if (!strcmp(key, "suppressions") && *value) {
		if (!suppressions_load(order->report.suppressions, value))
			exit(EXIT_FAILED);
	} else if (!strcmp(key, "exitcode") && parse_count(value, 255, &number)) {
		order->exitcode = (int)number;
	} else if (!strcmp(key, "max_leaks") && parse_count(value, UINT32_MAX, &number)) {
		order->report.view.top = number;
	} else if (!strcmp(key, "print_suppressions")) {
		order->report.hides_suppressions = is_false(value);
	} else if (!strcmp(key, "log_path") && !strcmp(value, "stdout")) {
		order->report.stream = stdout;
	} else if (!strcmp(key, "log_path") && *value && strcmp(value, "stderr") != 0) {
		order->log_prefix = value;
	}
}

/* Cuts the first value off *rest. */
static char *next_value(char **rest)
{
	char quote = **rest == '"' || **rest == '\'' ? **rest : 0, *value = *rest + (quote != 0);
	size_t length = quote ? strcspn(value, (char[]){quote, 0}) : strcspn(value, ":, \t\r\n");

	*rest = value + length + (value[length] != 0);
	value[length] = 0;
	return value;
}

void leaks_take_lsan_options(struct leaks_order *order, const char *text)
{
	char *rest = memory_copy_text(text ? text : "");

	while (*(rest += strspn(rest, ":, \t\r\n"))) {
		char *key = rest, *end = key + strcspn(key, "=:, \t\r\n");

		rest = end;
		if (*end != '=')
			continue;
		*end = 0;
		rest = end + 1;
		take(order, key, next_value(&rest));
	}
}
