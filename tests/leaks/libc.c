/*
 * What libc gives and wants back: addresses, expressions, directories, conversions, locales. How many blocks each is, is libc's own business.
 */
#include "tests/leaks/shape.h"

#include <dirent.h>
#include <glob.h>
#include <iconv.h>
#include <locale.h>
#include <netdb.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- getaddrinfo ---- */

/* A number, so that nobody is asked; of each kind of socket one entry, as many as there are kinds. */
KEEP static struct addrinfo *look_up(int kind)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_family = AF_INET,
		.ai_socktype = kind};
	struct addrinfo *list = NULL;

	if (getaddrinfo("127.0.0.1", "80", &hints, &list) != 0)
		abort();
	return list;
}

/* The loop uses the only pointer to the list. */
KEEP static void addresses_walked(bool fixed)
{
	struct addrinfo *list = look_up(0), *first = list;

	while (list)
		list = list->ai_next;
	if (fixed)
		freeaddrinfo(first);
}

KEEP static bool first_is_ipv6(bool fixed)
{
	struct addrinfo *list = look_up(SOCK_STREAM);

	if (list->ai_family != AF_INET6 && !fixed)
		return false;
	freeaddrinfo(list);
	return true;
}

KEEP static void address_that_does_not_match(bool fixed)
{
	TIMES(2)
	use(first_is_ipv6(fixed) ? "" : NULL);
}

KEEP static int send_to(bool fixed)
{
	struct addrinfo *list = look_up(SOCK_DGRAM);
	int family = list->ai_family;

	if (fixed)
		freeaddrinfo(list);
	return family;
}

KEEP static void address_of_each_datagram(bool fixed)
{
	TIMES(3)
	use(send_to(fixed) ? "" : NULL);
}

/* ---- regcomp ---- */

struct rule {
	regex_t expression;
	char *text;
};

KEEP static bool rule_compile(struct rule *rule, const char *text)
{
	return regcomp(&rule->expression, text, REG_EXTENDED) == 0;
}

/* The object goes, the expression in it is not told. */
KEEP static void expression_in_object(bool fixed)
{
	struct rule *rule = calloc(1, sizeof(*rule));

	if (rule_compile(rule, "^(a|b)+[0-9]*$") && fixed)
		regfree(&rule->expression);
	memset(rule, 0, sizeof(*rule));
	free(rule);
}

KEEP static char *rule_text(const char *text)
{
	return strdup(text);
}

KEEP static void text_beside_bad_expression(bool fixed)
{
	TIMES(3)
	{
		struct rule *rule = calloc(1, sizeof(*rule));

		rule->text = rule_text("an expression (that does not end");
		if (!rule_compile(rule, rule->text) && fixed)
			free(rule->text);
		memset(rule, 0, sizeof(*rule));
		free(rule);
	}
}

/* ---- directories ---- */

KEEP static int count_entries(bool fixed)
{
	DIR *directory = opendir("/proc/self/fdinfo");
	int count = 0;

	while (directory && readdir(directory))
		count++;
	if (fixed)
		closedir(directory);
	return count;
}

KEEP static void directory_never_closed(bool fixed)
{
	TIMES(2)
	use(count_entries(fixed) ? "" : NULL);
}

KEEP static void directory_open(DIR **directory, bool fixed)
{
	if (*directory && fixed)
		closedir(*directory);
	*directory = opendir("/");
}

KEEP static void directory_opened_again(bool fixed)
{
	DIR *directory = NULL;

	TIMES(3)
	directory_open(&directory, fixed);
	closedir(directory);
}

static int is_dots(const struct dirent *entry)
{
	return entry->d_name[0] == '.' && (!entry->d_name[1] || !strcmp(entry->d_name, ".."));
}

KEEP static struct dirent **list_names(int *ret_count)
{
	struct dirent **names = NULL;

	*ret_count = scandir("/proc/self/fdinfo", &names, is_dots, alphasort);
	return names;
}

/* The array is freed, its elements are not. */
KEEP static void names_of_list(bool fixed)
{
	int count;
	struct dirent **names = list_names(&count);

	for (int i = 0; i < count; i++) {
		if (fixed)
			free(names[i]);
		names[i] = NULL;
	}
	free(names);
}

/* Each element is freed on the way, but the way ends early. */
KEEP static void rest_of_list(bool fixed)
{
	int count;
	struct dirent **names = list_names(&count);

	for (int i = 0; i < count; i++) {
		bool is_wanted = !strcmp(names[i]->d_name, ".");

		free(names[i]);
		names[i] = NULL;
		if (is_wanted && !fixed)
			break;
	}
	memset(names, 0, (size_t)count * sizeof(*names));
	free(names);
}

/* ---- conversions and locales ---- */

KEEP static bool convert(bool fixed)
{
	iconv_t conversion = iconv_open("UTF-16LE", "UTF-8");

	if (conversion == (iconv_t)-1)
		abort();
	if (fixed)
		iconv_close(conversion);
	return true;
}

KEEP static void conversion_never_closed(bool fixed)
{
	TIMES(2)
	use(convert(fixed) ? "" : NULL);
}

KEEP static bool parse_number(const char *text, bool fixed)
{
	locale_t neutral =
		newlocale(LC_NUMERIC_MASK, "C", newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL));

	if (!*text) {
		if (fixed && neutral)
			freelocale(neutral);
		return false;
	}
	if (neutral)
		freelocale(neutral);
	return true;
}

KEEP static void locale_on_one_exit(bool fixed)
{
	use(parse_number("1", fixed) ? "" : NULL);
	TIMES(3)
	use(parse_number("", fixed) ? "" : NULL);
}

/* ---- glob: what was found before the error ---- */

static int stop_at_error(const char *path, int error)
{
	use(path);
	return error;
}

KEEP static void load_files(bool fixed)
{
	glob_t found = {0};
	int status = glob("/proc/self/st*", 0, stop_at_error, &found);

	// the second pattern cannot be read
	if (status == 0)
		status = glob("/proc/self/status/*/*", GLOB_APPEND, stop_at_error, &found);
	if (status == 0 || fixed)
		globfree(&found);
	memset(&found, 0, sizeof(found));
	use(&found);
}

KEEP static void paths_of_failed_glob(bool fixed)
{
	load_files(fixed);
}

/* ---- a stream into memory: closing it leaves the text ---- */

KEEP static char *text_of(int number)
{
	char *text = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&text, &bytes);

	fprintf(stream, "the answer is %d\n", number);
	fclose(stream);
	return text;
}

KEEP static void text_of_memory_stream(bool fixed)
{
	TIMES(3)
	{
		char *text = text_of(42);

		if (fixed)
			free(text);
	}
}

const struct shape libc_shapes[] = {
	{"addresses_walked", addresses_walked, "look_up", {1, 0}, {2, 0},
		SHAPE_LINK("warmcat/libwebsockets/issues/255")},
	{"address_that_does_not_match", address_that_does_not_match, "look_up", {2, 0}, {0, 0},
		SHAPE_LINK("samee/obliv-c/pull/11")},
	{"address_of_each_datagram", address_of_each_datagram, "look_up", {3, 0}, {0, 0},
		SHAPE_LINK("dermesser/libsocket/pull/47")},
	{"expression_in_object", expression_in_object, "rule_compile", {0, 0}, {0, 0},
		SHAPE_LINK("newsboat/newsboat/pull/637")},
	{"text_beside_bad_expression", text_beside_bad_expression, "rule_text", {3, 99}, {0, 0},
		SHAPE_LINK("ovis-hpc/ldms/pull/1936")},
	{"directory_never_closed", directory_never_closed, "count_entries", {2, 0}, {0, 0},
		SHAPE_LINK("raysan5/raylib/pull/5529")},
	{"directory_opened_again", directory_opened_again, "directory_open", {2, 0}, {0, 0},
		SHAPE_LINK("gap-packages/io/issues/24")},
	{"names_of_list", names_of_list, "list_names", {2, 0}, {0, 0},
		SHAPE_LINK("intel/intel-cmt-cat/pull/100")},
	{"rest_of_list", rest_of_list, "list_names", {1, 0}, {0, 0},
		SHAPE_LINK("void-linux/xbps/pull/46")},
	{"conversion_never_closed", conversion_never_closed, "convert", {0, 0}, {0, 0},
		SHAPE_LINK("hashcat/hashcat/pull/2861")},
	{"locale_on_one_exit", locale_on_one_exit, "parse_number", {3, 0}, {0, 0},
		SHAPE_LINK("libdfp/libdfp/pull/171")},
	{"paths_of_failed_glob", paths_of_failed_glob, "load_files", {0, 0}, {0, 0},
		SHAPE_LINK("krb5/krb5/pull/183")},
	{"text_of_memory_stream", text_of_memory_stream, "text_of", {3, 0}, {0, 0}, "own"},
	{0},
};
