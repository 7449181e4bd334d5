/*
 * Strings that somebody else was thought to free: copies of copies, lines, paths, and what a setter overwrites.
 */
#include "tests/leaks/shape.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS_MAX = 8 };

struct words {
	char *list[WORDS_MAX];
	int count;
};

KEEP static void words_add_copy(struct words *words, const char *word)
{
	words->list[words->count++] = strdup(word);
}

KEEP static void words_release(struct words *words)
{
	while (words->count > 0) {
		free(words->list[--words->count]);
		words->list[words->count] = NULL;
	}
}

KEEP static char *copy_of(const char *text)
{
	return strdup(text);
}

/* ---- a copy is handed to what makes its own ---- */

KEEP static void copied_twice(bool fixed)
{
	struct words words = {.count = 0};

	TIMES(3)
	{
		char *name = copy_of("a.domain.to.search.example");

		words_add_copy(&words, name);
		if (fixed)
			free(name);
	}
	words_release(&words);
}

KEEP static void parse_definition(struct words *words, const char *text, bool fixed)
{
	words_add_copy(words, fixed ? text : copy_of(text));
}

KEEP static void argument_copied_again(bool fixed)
{
	struct words words = {.count = 0};

	TIMES(4)
	parse_definition(&words, "report_format", fixed);
	words_release(&words);
}

/* ---- the line of each client is appended and forgotten ---- */

KEEP static char *client_line(int number)
{
	char *line = malloc(80);

	snprintf(line, 80, "addr=127.0.0.1:%d fd=%d idle=0", 50000 + number, number);
	return line;
}

KEEP static void line_of_each_client(bool fixed)
{
	char all[512] = "";

	TIMES(5)
	{
		char *line = client_line(turn);

		strncat(all, line, sizeof(all) - strlen(all) - 1);
		if (fixed)
			free(line);
	}
	use(all);
}

/* ---- the setter copies; its caller has copied for it ---- */

struct session {
	char *agent;
};

KEEP static void session_set_agent(struct session *session, const char *agent)
{
	free(session->agent);
	session->agent = strdup(agent);
}

KEEP static char *default_agent(void)
{
	char *agent = malloc(100);

	snprintf(agent, 100, "program/%s", "1.0");
	return agent;
}

KEEP static void default_copied_by_setter(bool fixed)
{
	struct session session = {NULL};
	char *agent = default_agent();

	session_set_agent(&session, agent);
	if (fixed)
		free(agent);
	free(session.agent);
	session.agent = NULL;
	use(&session);
}

/* ---- a setter that does not free what it replaces ---- */

struct filter {
	char *list;
};

KEEP static void filter_extend(struct filter *filter, int number, bool fixed)
{
	char *old = filter->list;

	if (asprintf(&filter->list, "the system calls of group number %d", number) < 0)
		filter->list = NULL;
	if (fixed)
		free(old);
}

KEEP static void overwritten_by_asprintf(bool fixed)
{
	struct filter filter = {NULL};

	TIMES(4)
	filter_extend(&filter, turn, fixed);
	free(filter.list);
	filter.list = NULL;
	use(&filter);
}

/* ---- one way out of several ---- */

KEEP static bool copy_file(const char *home, bool exists, bool fixed)
{
	char *source;

	if (asprintf(&source, "%s/.a_file_of_the_users_own", home) < 0)
		return false;
	if (!exists && !fixed)
		return false;
	free(source);
	return exists;
}

KEEP static void path_on_one_exit(bool fixed)
{
	use(copy_file("/home/somebody", true, fixed) ? "" : NULL);
	TIMES(2)
	use(copy_file("/home/somebody", false, fixed) ? "" : NULL);
}

/* ---- getline: the buffer is the caller's ---- */

static char lines[] = "Name:\tinit\nPid:\t1\n";

KEEP static int count_lines(bool fixed)
{
	FILE *file = fmemopen(lines, sizeof(lines) - 1, "r");
	char *line = NULL;
	size_t capacity = 0;
	int count = 0;

	while (file && getline(&line, &capacity, file) > 0)
		count++;
	if (fixed)
		free(line);
	if (file)
		fclose(file);
	return count;
}

KEEP static void line_buffer_forgotten(bool fixed)
{
	TIMES(2)
	use(count_lines(fixed) ? "" : NULL);
}

/* Even if it reads nothing. */
KEEP static bool read_line_at_end(bool fixed)
{
	FILE *file = fmemopen(lines, 1, "r");
	char *line = NULL;
	size_t capacity = 0;

	if (!file)
		return false;
	fseek(file, 0, SEEK_END);
	if (getline(&line, &capacity, file) < 0 && !fixed)
		line = NULL;
	free(line);
	fclose(file);
	return true;
}

KEEP static void line_buffer_of_failure(bool fixed)
{
	TIMES(3)
	use(read_line_at_end(fixed) ? "" : NULL);
}

KEEP static char *next_line(FILE *file, char **reused, size_t *capacity, bool fixed)
{
	char *line = NULL;
	size_t fresh = 0;

	if (fixed)
		return getline(reused, capacity, file) > 0 ? *reused : NULL;
	return getline(&line, &fresh, file) > 0 ? line : NULL;
}

KEEP static void line_buffer_of_each_call(bool fixed)
{
	FILE *file = fmemopen(lines, sizeof(lines) - 1, "r");
	char *reused = NULL;
	size_t capacity = 0;

	TIMES(2)
	use(next_line(file, &reused, &capacity, fixed));
	free(reused);
	fclose(file);
}

/* ---- a copy in lower case, for a look-up ---- */

KEEP static char *lower_copy(const char *text)
{
	char *copy = strdup(text);

	for (char *at = copy; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	return copy;
}

KEEP static bool has_function(const char *name, bool fixed)
{
	char *key = lower_copy(name);
	bool found = !strcmp(key, "getquote");

	if (fixed)
		free(key);
	return found;
}

KEEP static void copy_for_lookup(bool fixed)
{
	TIMES(6)
	use(has_function("GetQuoteOfTheDay", fixed) ? "" : NULL);
}

/* ---- paths ---- */

KEEP static char *resolve(const char *path)
{
	char *buffer = malloc(PATH_MAX);

	return realpath(path, buffer);
}

KEEP static void buffer_for_path(bool fixed)
{
	char *path = resolve("/");

	if (fixed)
		free(path);
}

KEEP static void export_path(const char *path, bool fixed)
{
	char *whole = realpath(path, NULL);

	setenv("SHAPES_FIFO", whole, 1); // has a copy of its own
	if (fixed)
		free(whole);
}

KEEP static void path_for_environment(bool fixed)
{
	export_path("/proc/self/..", fixed);
	unsetenv("SHAPES_FIFO");
}

KEEP static size_t length_of_directory(bool fixed)
{
	char *directory = get_current_dir_name();
	size_t length = strlen(directory);

	if (fixed)
		free(directory);
	return length;
}

KEEP static void working_directory(bool fixed)
{
	TIMES(3)
	use(length_of_directory(fixed) ? "" : NULL);
}

/* ---- a comparison that asks for copies, called by qsort ---- */

KEEP static char *attribute_of(int node)
{
	char *value = malloc(24);

	snprintf(value, 24, "rId%d", node);
	return value;
}

static bool compare_frees;

KEEP static int compare_nodes(const void *a, const void *b)
{
	char *first = attribute_of(*(const int *)a), *second = attribute_of(*(const int *)b);
	int order = strcmp(first, second);

	if (compare_frees) {
		free(first);
		free(second);
	}
	return order;
}

KEEP static void attribute_in_comparison(bool fixed)
{
	int nodes[2] = {2, 1};

	compare_frees = fixed;
	qsort(nodes, 2, sizeof(nodes[0]), compare_nodes);
	use(nodes);
}

/* ---- members move to another object, all but one ---- */

struct link {
	char *user, *options;
};

KEEP static struct link *link_create(void)
{
	struct link *link = calloc(1, sizeof(*link));

	link->user = strdup("somebody");
	link->options = strdup("AUTH=a-method-and-its-realm");
	return link;
}

KEEP static void link_reuse(struct link *link, struct link *old, bool fixed)
{
	free(link->user);
	link->user = old->user;
	if (fixed)
		free(old->options);
	free(old);
}

KEEP static void option_of_reused_link(bool fixed)
{
	struct link *link = link_create();

	link_reuse(link, link_create(), fixed);
	free(link->user);
	free(link->options);
	free(link);
}

/* ---- set to nothing without being released ---- */

struct value {
	void *resource;
};

KEEP static void value_open(struct value *value)
{
	value->resource = malloc(56);
}

KEEP static void value_set_null(struct value *value, bool fixed)
{
	if (fixed)
		free(value->resource);
	value->resource = NULL;
}

KEEP static void value_set_to_nothing(bool fixed)
{
	struct value value;

	TIMES(3)
	{
		value_open(&value);
		value_set_null(&value, fixed);
	}
	use(&value);
}

/* ---- what could not be sent, when the connection goes ---- */

struct transfer {
	char *rest;
	size_t bytes;
};

KEEP static void transfer_keep_rest(struct transfer *transfer, size_t bytes)
{
	transfer->rest = malloc(bytes);
	transfer->bytes = bytes;
}

KEEP static void unsent_at_disconnect(bool fixed)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	transfer_keep_rest(transfer, 1200);
	if (fixed)
		free(transfer->rest);
	free(transfer);
}

const struct shape string_shapes[] = {
	{"copied_twice", copied_twice, "copy_of", {3, 81}, {0, 0},
		SHAPE_LINK("systemd/systemd/pull/667")},
	{"argument_copied_again", argument_copied_again, "copy_of", {4, 56}, {0, 0},
		SHAPE_LINK("greenbone/gvmd/pull/3005")},
	{"line_of_each_client", line_of_each_client, "client_line", {5, 400}, {0, 0},
		SHAPE_LINK("redis/redis/issues/256")},
	{"default_copied_by_setter", default_copied_by_setter, "default_agent", {1, 100}, {0, 0},
		SHAPE_LINK("Lispython/pycurl/pull/3")},
	{"overwritten_by_asprintf", overwritten_by_asprintf, "filter_extend", {3, 0}, {0, 0},
		SHAPE_LINK("netblue30/firejail/pull/7098")},
	{"path_on_one_exit", path_on_one_exit, "copy_file", {2, 0}, {0, 0},
		SHAPE_LINK("netblue30/firejail/pull/6598")},
	{"line_buffer_forgotten", line_buffer_forgotten, "count_lines", {2, 0}, {0, 0},
		SHAPE_LINK("lxc/lxcfs/pull/245")},
	{"line_buffer_of_failure", line_buffer_of_failure, "read_line_at_end", {3, 0}, {0, 0},
		SHAPE_LINK("dotnet/runtime/pull/74899")},
	{"line_buffer_of_each_call", line_buffer_of_each_call, "next_line", {2, 0}, {0, 0},
		SHAPE_LINK("daphne-project/daphne/pull/770")},
	{"copy_for_lookup", copy_for_lookup, "lower_copy", {6, 102}, {0, 0},
		SHAPE_LINK("php/php-src/pull/14390")},
	{"buffer_for_path", buffer_for_path, "resolve", {1, PATH_MAX}, {0, 0},
		SHAPE_LINK("joyent/libuv/pull/324")},
	{"path_for_environment", path_for_environment, "export_path", {1, 0}, {0, 0},
		SHAPE_LINK("martanne/dvtm/pull/76")},
	{"working_directory", working_directory, "length_of_directory", {3, 0}, {0, 0},
		SHAPE_LINK("luaposix/luaposix/issues/326")},
	{"attribute_in_comparison", attribute_in_comparison, "attribute_of", {2, 48}, {0, 0},
		SHAPE_LINK("lsh123/xmlsec/pull/44")},
	{"option_of_reused_link", option_of_reused_link, "link_create", {1, 28}, {0, 0},
		SHAPE_LINK("curl/curl/pull/2790")},
	{"value_set_to_nothing", value_set_to_nothing, "value_open", {3, 168}, {0, 0},
		SHAPE_LINK("nauxliu/opencc4php/pull/17")},
	{"unsent_at_disconnect", unsent_at_disconnect, "transfer_keep_rest", {1, 1200}, {0, 0},
		SHAPE_LINK("curl/curl/pull/8415")},
	{0},
};
