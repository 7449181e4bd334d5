/*
 * Words and units of the figures; and all of them as JSON.
 */
#include "cli/figures.h"

#include "cli/option_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct size_text size_of(uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	struct size_text size;
	double number = (double)bytes;
	int unit = -1;

	for (; number >= 1024 && unit < 5; unit++)
		number /= 1024;
	if (unit < 0)
		snprintf(size.text, sizeof(size.text), "%" PRIu64 " B", bytes);
	else
		snprintf(size.text, sizeof(size.text), "%.1f %ciB", number, units[unit]);
	return size;
}

const char *word_of(const char *words, uint64_t index)
{
	static char ring[8][128];
	static int next;
	char *word = ring[next++ % 8];

	return words_get(words, index, word, sizeof(ring[0])) ? word : "?";
}

const char *option_word(const char *name, uint64_t index)
{
	return word_of(option_find(name, strlen(name))->words, index);
}

double ms_of(uint64_t ns)
{
	return (double)ns / 1e6;
}

static void add_text(json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static void add_figures(json_object *object, const struct stats_page *page)
{
#define STATS_NUMBER(name, unit, writer, help) \
	json_object_object_add(object, #name, json_object_new_uint64(page->name));
#define STATS_OPTION(name, writer, help) add_text(object, #name, option_word(#name, page->name));
#define STATS_CHOICE(name, words, writer, help) add_text(object, #name, word_of(words, page->name));
#include "core/profile/stats_page.def"
#undef STATS_NUMBER
#undef STATS_OPTION
#undef STATS_CHOICE
}

json_object *json_of(const struct process *process, enum process_result result)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "pid", json_object_new_int(process->pid));
	add_text(object, "name", process->name);
	if (result != PROCESS_FOUND) {
		add_text(object, "state",
			result == PROCESS_WITHOUT_PAGE ? "no page yet" : "page cannot be read");
		return object;
	}
	add_text(object, "state", process->page.aside ? "standing aside" : "on");
	add_figures(object, &process->page);
	return object;
}
