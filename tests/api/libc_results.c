/* Every libc function that returns memory for the caller to free: it must be a block of ours, and free must take it. */
#include "tests/harness/test.h"

#include <argz.h>
#include <dirent.h>
#include <execinfo.h>
#include <glob.h>
#include <iconv.h>
#include <locale.h>
#include <malloc.h>
#include <netdb.h>
#include <regex.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wordexp.h>

/* A block of ours has a usable size; a foreign one has not, or another's. */
static void free_ours(void *block)
{
	CHECK_NOT_NULL(block);
	CHECK_GT(malloc_usable_size(block), 0u);
	CHECK_NOT_NULL(block = realloc(block, malloc_usable_size(block) + 1000));
	free(block);
}

TEST(strings)
{
	char *text = NULL;

	free_ours(strdup("text"));
	free_ours(strndup("text", 2));
	free_ours(wcsdup(L"text"));
	CHECK_GT(asprintf(&text, "%d %s", 5, "five"), 0);
	free_ours(text);
}

TEST(paths)
{
	free_ours(realpath("/proc/self/..", NULL));
	free_ours(canonicalize_file_name("/usr/../usr"));
	free_ours(getcwd(NULL, 0));
	free_ours(get_current_dir_name());
}

TEST(streams)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	for (int i = 0; i < 10000; i++)
		fputs("text ", stream);
	fclose(stream);
	CHECK_EQ(size, 50000u);
	free_ours(text);

	wchar_t *wide = NULL;
	stream = open_wmemstream(&wide, &size);
	fputws(L"text", stream);
	fclose(stream);
	free_ours(wide);

	text = NULL;
	size = 0;
	stream = fopen("/proc/self/maps", "r");
	CHECK_GT(getline(&text, &size, stream), 0);
	text = realloc(text, 2);
	size = 2;
	CHECK_GT(getline(&text, &size, stream), 0);
	free_ours(text);
	text = NULL;
	CHECK_GT(getdelim(&text, &size, 'r', stream), 0);
	free_ours(text);
	fclose(stream);

	stream = fopen("/proc/self/maps", "r");
	CHECK_EQ(fscanf(stream, "%ms", &text), 1);
	free_ours(text);
	fclose(stream);
}

TEST(folders)
{
	struct dirent **entries;
	int count = scandir("/usr", &entries, NULL, alphasort);

	CHECK_GT(count, 2);
	for (int i = 0; i < count; i++)
		free_ours(entries[i]);
	free_ours(entries);
	DIR *folder = opendir("/usr");
	CHECK_NOT_NULL(readdir(folder));
	closedir(folder);
}

TEST(net)
{
	struct addrinfo *results, hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};

	CHECK_EQ(getaddrinfo("127.0.0.1", "80", &hints, &results), 0);
	freeaddrinfo(results);
	if (getaddrinfo("localhost", NULL, NULL, &results) == 0)
		freeaddrinfo(results);
	else
		CHECK_NE(access("/etc/hosts", F_OK), 0); // a root folder made by hand
}

TEST(patterns)
{
	glob_t found;
	regex_t pattern;
	wordexp_t words;

	CHECK_EQ(glob("/usr/*", 0, NULL, &found), 0);
	globfree(&found);
	CHECK_EQ(regcomp(&pattern, "(a|b)*c[[:digit:]]+$", REG_EXTENDED), 0);
	CHECK_EQ(regexec(&pattern, "xxababc123", 0, NULL, 0), 0);
	regfree(&pattern);
	CHECK_EQ(wordexp("one two three", &words, 0), 0);
	CHECK_EQ(words.we_wordc, 3u);
	wordfree(&words);
}

TEST(vectors)
{
	char *list = NULL;
	size_t length = 0;

	CHECK_EQ(argz_create_sep("a:b:c", ':', &list, &length), 0);
	CHECK_EQ(argz_add(&list, &length, "more"), 0);
	free_ours(list);
	void *frames[10];
	int count = backtrace(frames, 10);
	free_ours(backtrace_symbols(frames, count));
}

static int compare_text(const void *left, const void *right)
{
	return strcmp(left, right);
}

static void keep(void *key)
{
	(void)key;
}

TEST(trees_and_tables)
{
	void *root = NULL;
	char keys[200][8];

	CHECK(hcreate(1000));
	for (int i = 0; i < 200; i++) {
		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
		CHECK_NOT_NULL(tsearch(keys[i], &root, compare_text));
		CHECK_NOT_NULL(hsearch((ENTRY){keys[i], NULL}, ENTER));
	}
	tdestroy(root, keep);
	hdestroy();
}

TEST(locale_and_environment)
{
	CHECK_NOT_NULL(setlocale(LC_ALL, "C.UTF-8"));
	locale_t locale = newlocale(LC_ALL_MASK, "C.UTF-8", NULL);
	freelocale(locale);
	for (int i = 0; i < 100; i++) {
		char name[20];
		snprintf(name, sizeof(name), "NAME%d", i);
		CHECK_EQ(setenv(name, "value", 1), 0);
		CHECK_EQ(setenv(name, "a longer value than before", 1), 0);
		CHECK_EQ(unsetenv(name), 0);
	}
	iconv_t conversion = iconv_open("UTF-16", "UTF-8");
	CHECK_NE((intptr_t)conversion, -1);
	iconv_close(conversion);
}
