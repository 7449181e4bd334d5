/* Statistics calls tell the truth about our heap, in the units programs expect. */
#include "tests/harness/test.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

TEST(mallinfo2_sees_small_blocks)
{
	size_t before = in_use();

	for (int i = 0; i < 10 * MIB / 100; i++)
		memset(malloc(100), 1, 100);
	CHECK_GE(in_use(), before + 9 * MIB);
	CHECK_LE(in_use(), before + 20 * MIB);
}

TEST(mallinfo2_sees_large_blocks)
{
	size_t before = in_use();
	void *block = malloc(100 * MIB);

	CHECK_NOT_NULL(block);
	CHECK_GE(in_use(), before + 99 * MIB);
	CHECK_LE(in_use(), before + 110 * MIB);
}

TEST(mallinfo2_adds_up)
{
	void *blocks[1000];

	for (int i = 0; i < 1000; i++)
		blocks[i] = malloc((size_t)i * 10);
	for (int i = 0; i < 1000; i += 2)
		free(blocks[i]);
	struct mallinfo2 info = mallinfo2();
	CHECK_GE(info.arena + info.hblkhd, info.uordblks);
	CHECK_GT(info.uordblks, 0u);
}

TEST(mallinfo_agrees_with_mallinfo2)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	struct mallinfo old = mallinfo();
#pragma GCC diagnostic pop
	struct mallinfo2 new = mallinfo2();

	CHECK_LE((size_t)(unsigned)old.uordblks, new.uordblks + MIB);
	CHECK_GE((size_t)(unsigned)old.uordblks + MIB, new.uordblks);
}

TEST(malloc_info_is_xml)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	CHECK_EQ(malloc_info(0, stream), 0);
	fclose(stream);
	CHECK(strncmp(text, "<malloc version=\"", 17) == 0);
	CHECK_NOT_NULL(strstr(text, "</malloc>"));
	FILE *parser = popen("xmllint --noout -", "w");
	fputs(text, parser);
	CHECK_EQ(pclose(parser), 0);
}

TEST(malloc_trim_answers_zero_or_one)
{
	void *block = malloc(10 * MIB);

	memset(block, 1, 10 * MIB);
	free(block);
	int answer = malloc_trim(0);
	CHECK(answer == 0 || answer == 1);
}

TEST(malloc_stats_writes_to_standard_error, .contains = "heap in use")
{
	malloc_stats();
}

TEST(nothing_is_written_unasked, .error = "")
{
	free(malloc(100));
	free(realloc(malloc(100), 1 << 20));
}
