/* Metadata memory: zeroed, aligned, disjoint, recycled; large pieces give their pages back. */
#include "tests/harness/test.h"

#include "core/heap/meta.h"

#include <string.h>

static void init(size_t capacity)
{
	static struct region other = {.capacity = 1 << 20, .step = 4096};

	CHECK(regions_init(meta_region(capacity), &other, true));
}

static void check_zero(const char *piece, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		CHECK_EQ(piece[i], 0);
}

TEST(pieces_are_zero_aligned_and_recycled)
{
	static const size_t sizes[] = {
		1, 63, 64, 65, 200, 4000, 4096, 4097, 5000, 8192, 70000, 1 << 20};
	struct signal_guard guard;

	signals_block(&guard);
	init((size_t)1 << 30);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *a = meta_alloc(sizes[i]), *b = meta_alloc(sizes[i]), *c;

		CHECK(a && b && a != b);
		CHECK_EQ((uintptr_t)a % 64, 0u);
		check_zero(a, sizes[i]);
		memset(a, 1, sizes[i]);
		check_zero(b, sizes[i]);
		memset(b, 2, sizes[i]);
		meta_free(a, sizes[i]);
		CHECK_EQ(b[0], 2);
		CHECK_EQ(b[sizes[i] - 1], 2);
		c = meta_alloc(sizes[i]);
		CHECK_EQ((void *)c, (void *)a);
		check_zero(c, sizes[i]);
		meta_free(b, sizes[i]);
		meta_free(c, sizes[i]);
	}
	meta_free(0, 100);
	CHECK_EQ(meta_bytes(), 0u);
	signals_restore(&guard);
}

TEST(an_exhausted_arena_says_so)
{
	struct signal_guard guard;
	int count = 0;

	signals_block(&guard);
	init(1 << 20);
	while (meta_alloc(10000))
		count++;
	CHECK_EQ(count, (1 << 20) / 16384);
	CHECK_NULL(meta_alloc(10000));
	CHECK_NULL(meta_alloc(SIZE_MAX / 4));
	signals_restore(&guard);
}
