/*
 * Reads files of suppressions. A file with a fault is refused whole: half of its rules would hide other findings than its author meant.
 */
#include "cli/suppressions.h"

#include "cli/suppression_rules.h"

#include "cli/memory.h"
#include "cli/render.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <time.h>

static const uint32_t kinds_initial =
	1u << FINDING_LEAK | 1u << FINDING_INDIRECT | 1u << FINDING_POSSIBLE;

/* A file being read. */
struct reader {
	struct suppressions *suppressions;
	const char *path;           // the list's
	const struct report *owner; // or NULL
	FILE *file;
	char *buffer;
	size_t capacity;
	unsigned line;
	struct rule next; // what "#:" said of it
};

/* The next line without the space around it, or NULL. */
static char *read_line(struct reader *reader)
{
	ssize_t length = getline(&reader->buffer, &reader->capacity, reader->file);
	char *text = reader->buffer;

	if (length < 0)
		return NULL;
	reader->line++;
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		text[--length] = 0;
	while (isspace((unsigned char)*text))
		text++;
	return text;
}

static bool fault(const struct reader *reader, const char *words, const char *what)
{
	char *shown = printable(what);

	warn_line("%s:%u: %s '%s'", reader->path, reader->line, words, shown);
	free(shown);
	return false;
}

static void reset_next(struct reader *reader)
{
	reader->next = (struct rule){.kinds = kinds_initial, .max_bytes = UINT64_MAX};
}

static struct rule *add_rule(struct reader *reader, const char *text)
{
	struct suppressions *all = reader->suppressions;
	struct rule *rule;

	all->rules = memory_grow(all->rules, all->count, sizeof(*all->rules));
	rule = &all->rules[all->count++];
	*rule = reader->next;
	rule->text = memory_copy_text(text);
	rule->file = reader->path;
	rule->owner = reader->owner;
	rule->line = reader->line;
	reset_next(reader);
	return rule;
}

static bool parse_max(const struct reader *reader, const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "kmg";
	const char *suffix;
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno)
		return fault(reader, "max= takes bytes, not", text);
	suffix = *end ? strchr(suffixes, tolower((unsigned char)*end)) : NULL;
	if (*end && (!suffix || end[1] || number >> (54 - 10 * (suffix - suffixes + 1)) != 0))
		return fault(reader, "max= takes bytes, not", text);
	*ret_bytes = suffix ? number << 10 * (suffix - suffixes + 1) : number;
	return true;
}

static bool parse_kinds(const struct reader *reader, const char *list, uint32_t *ret_kinds)
{
	char *copy = memory_copy_text(list), *rest, *word;
	uint32_t kinds = 0;
	bool is_good = true;

	for (word = strtok_r(copy, ",", &rest); word && is_good;
		word = strtok_r(NULL, ",", &rest)) {
		uint32_t kind = 0;

		while (kind < FINDING_KIND_COUNT && strcmp(findings_kind_word(kind), word) != 0)
			kind++;
		if (kind == FINDING_KIND_COUNT)
			is_good = fault(reader, "unknown kind", word);
		else
			kinds |= 1u << kind;
	}
	free(copy);
	*ret_kinds = kinds;
	return is_good;
}

static bool parse_day(const struct reader *reader, const char *text, char *ret_day)
{
	struct tm day = {0};
	const char *end = strptime(text, "%Y-%m-%d", &day);

	if (!end || *end || strlen(text) != 10)
		return fault(reader, "expires= takes YYYY-MM-DD, not", text);
	memcpy(ret_day, text, 11);
	return true;
}

static bool parse_attributes(struct reader *reader, char *text)
{
	char *rest, *word;

	for (word = strtok_r(text, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		bool is_good;

		if (!strncmp(word, "max=", 4))
			is_good = parse_max(reader, word + 4, &reader->next.max_bytes);
		else if (!strncmp(word, "kind=", 5))
			is_good = parse_kinds(reader, word + 5, &reader->next.kinds);
		else if (!strncmp(word, "expires=", 8))
			is_good = parse_day(reader, word + 8, reader->next.expires);
		else
			is_good = fault(
				reader, "only max=, kind= and expires= may follow #:, not", word);
		if (!is_good)
			return false;
	}
	return true;
}

static bool parse_line_rule(struct reader *reader, const char *text)
{
	const char *pattern = text + strlen("leak:");
	size_t length;
	struct rule *rule;
	bool is_start, is_end;

	if (strncmp(text, "leak:", 5) != 0)
		return fault(reader, "neither leak:PATTERN nor a block:", text);
	rule = add_rule(reader, pattern);
	is_start = *pattern == '^';
	pattern += is_start;
	length = strlen(pattern);
	is_end = length > 0 && pattern[length - 1] == '$';
	length -= is_end;
	if (length == 0)
		return fault(reader, "this would match everything:", text);
	if (asprintf(&rule->pattern, "%s%.*s%s", is_start ? "" : "*", (int)length, pattern,
		    is_end ? "" : "*") < 0)
		fail(EXIT_FAILED, "no memory");
	return true;
}

/* ---- blocks ---- */

static bool add_frame(struct reader *reader, struct rule *rule, const char *text)
{
	static const struct {
		const char *prefix;
		enum frame_rule_kind kind;
	} forms[] = {{"fun:", FRAME_FUNCTION}, {"obj:", FRAME_OBJECT}, {"src:", FRAME_SOURCE}};
	struct frame_rule frame = {.kind = FRAME_ANY_NUMBER, .pattern = NULL};

	if (strcmp(text, "...") != 0) {
		for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
			if (!strncmp(text, forms[i].prefix, 4))
				frame = (struct frame_rule){
					forms[i].kind, memory_copy_text(text + 4)};
		}
		if (!frame.pattern)
			return fault(reader,
				"in a block there may be fun:, obj:, src: and ..., not", text);
	}
	rule->frames = memory_grow(rule->frames, rule->frame_count, sizeof(frame));
	rule->frames[rule->frame_count++] = frame;
	return true;
}

/* Valgrind's words for kinds of leaks. */
static bool parse_leak_kinds(struct reader *reader, char *list, uint32_t *ret_kinds)
{
	static const struct {
		const char *word;
		uint32_t kinds;
	} known[] = {
		{"definite", 1u << FINDING_LEAK},
		{"indirect", 1u << FINDING_INDIRECT},
		{"possible", 1u << FINDING_POSSIBLE},
		{"reachable", 1u << FINDING_GROWING},
		{"all", (1u << FINDING_KIND_COUNT) - 1},
		{"none", 0},
	};
	char *rest, *word;
	uint32_t kinds = 0;

	for (word = strtok_r(list, ", \t", &rest); word; word = strtok_r(NULL, ", \t", &rest)) {
		size_t i = 0;

		while (i < sizeof(known) / sizeof(*known) && strcmp(known[i].word, word) != 0)
			i++;
		if (i == sizeof(known) / sizeof(*known))
			return fault(reader, "unknown kind of leak", word);
		kinds |= known[i].kinds;
	}
	*ret_kinds = kinds;
	return true;
}

/* "Tool1,Tool2:Kind": it is for Memcheck:Leak. */
static bool is_for_leaks(const char *text)
{
	const char *colon = strchr(text, ':'), *tool = strstr(text, "Memcheck");

	return colon && tool && tool < colon && !strcmp(colon + 1, "Leak");
}

/* The next line that counts; NULL at the end of the file or block. */
static char *read_block_line(struct reader *reader)
{
	char *text;

	do
		text = read_line(reader);
	while (text && (*text == 0 || *text == '#'));
	return text;
}

static bool parse_block(struct reader *reader)
{
	static const char kinds_key[] = "match-leak-kinds:";
	unsigned start = reader->line;
	struct rule *rule;
	char *text = read_block_line(reader);
	bool is_leak;

	if (!text || *text == '}')
		return fault(reader, "a block begins with its name, not with", text ? text : "");
	rule = add_rule(reader, text);
	rule->line = start;
	text = read_block_line(reader);
	if (!text || !strchr(text, ':'))
		return fault(reader, "the second line of a block names tool and kind, not",
			text ? text : "");
	is_leak = is_for_leaks(text);
	while ((text = read_block_line(reader)) && strcmp(text, "}") != 0) {
		if (!is_leak)
			continue;
		if (!strncmp(text, kinds_key, strlen(kinds_key))) {
			if (!parse_leak_kinds(reader, text + strlen(kinds_key), &rule->kinds))
				return false;
		} else if (!add_frame(reader, rule, text)) {
			return false;
		}
	}
	if (!text)
		return fault(reader, "there is no } for block", rule->text);
	if (is_leak && rule->frame_count == 0)
		return fault(reader, "there is no frame in block", rule->text);
	if (!is_leak) {
		free(rule->text);
		reader->suppressions->count--;
	}
	return true;
}

static bool parse_file(struct reader *reader)
{
	char *text;

	reset_next(reader);
	while ((text = read_line(reader))) {
		bool is_good = true;

		if (!strncmp(text, "#:", 2))
			is_good = parse_attributes(reader, text + 2);
		else if (!strcmp(text, "{"))
			is_good = parse_block(reader);
		else if (*text && *text != '#')
			is_good = parse_line_rule(reader, text);
		if (!is_good)
			return false;
	}
	return true;
}

struct suppressions *suppressions_create(void)
{
	return memory_get(1, sizeof(struct suppressions));
}

/* Takes `name`, under which the rules are told of, and closes the file. */
static bool load_file(
	struct suppressions *suppressions, FILE *file, char *name, const struct report *owner)
{
	struct reader reader = {
		.suppressions = suppressions, .file = file, .path = name, .owner = owner};
	bool is_good;

	suppressions->files = memory_grow(
		suppressions->files, suppressions->file_count, sizeof(*suppressions->files));
	suppressions->files[suppressions->file_count++] = name;
	is_good = parse_file(&reader);
	if (is_good && ferror(file)) {
		warn_line("%s: it cannot be read", name);
		is_good = false;
	}
	fclose(file);
	free(reader.buffer);
	return is_good;
}

bool suppressions_load(struct suppressions *suppressions, const char *path)
{
	FILE *file = fopen(path, "re");

	if (!file) {
		warn_line("%s: %s", path, strerror(errno));
		return false;
	}
	return load_file(suppressions, file, memory_copy_text(path), NULL);
}

bool suppressions_load_text(
	struct suppressions *suppressions, const struct report *report, const char *text)
{
	FILE *file = fmemopen((char *)text, strlen(text), "r");
	char *name = NULL, *shown = printable(report->executable);

	if (!file || asprintf(&name, "suppressions of %s itself", shown) < 0)
		fail(EXIT_FAILED, "no memory");
	free(shown);
	return load_file(suppressions, file, name, report);
}

void suppressions_free_rule(struct rule *rule)
{
	for (size_t i = 0; i < rule->frame_count; i++)
		free(rule->frames[i].pattern);
	free(rule->frames);
	free(rule->pattern);
	free(rule->text);
}

void suppressions_destroy(struct suppressions *suppressions)
{
	if (!suppressions)
		return;
	for (size_t i = 0; i < suppressions->count; i++)
		suppressions_free_rule(&suppressions->rules[i]);
	for (size_t i = 0; i < suppressions->file_count; i++)
		free(suppressions->files[i]);
	free(suppressions->files);
	free(suppressions->rules);
	free(suppressions);
}
