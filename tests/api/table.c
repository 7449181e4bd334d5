/*
 * What each function of the malloc family answers, one line a row: tests/api/compare runs this program with glibc's malloc and with
 * ours and compares the lines. A row prints facts any correct malloc shares (NULL or not, errno, alignment, contents), never addresses.
 * Each row runs in a fork, so that one crash costs one row.
 */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNTOUCHED = 1234 };

struct row {
	const char *name;
	void (*run)(void);
	struct row *next;
};

static struct row *first;
static struct row **end = &first;

#define ROW(row_name) \
	static void row_##row_name(void); \
	__attribute__((constructor)) static void register_##row_name(void) \
	{ \
		static struct row row = {.name = #row_name, .run = row_##row_name}; \
		*end = &row; \
		end = &row.next; \
	} \
	static void row_##row_name(void)

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char text[400];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (write(STDOUT_FILENO, text, (size_t)length) != length)
		_exit(1);
}

/* A size the compiler knows nothing about. */
static size_t opaque(size_t size)
{
	volatile size_t hidden = size;
	return hidden;
}

static void say_pointer(const char *name, const void *pointer)
{
	int error = errno;
	const char *text = error == UNTOUCHED ? "kept"
			   : error == ENOMEM  ? "ENOMEM"
			   : error == EINVAL  ? "EINVAL"
					      : "other";

	say(" %s=%s/%s", name, pointer ? "block" : "NULL", text);
	errno = UNTOUCHED;
}

static bool is_filled(const unsigned char *bytes, unsigned char value, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

/* Sizes around every boundary an allocator may have, up to 4 MiB. */
static size_t next_size(size_t size)
{
	if (size < 300)
		return size + 1;
	return size % 8 == 1 ? size + size / 8 - 1 - (size + size / 8) % 8 : size + 1;
}

#define FOR_EACH_SIZE(size) for (size_t size = 0; size < 4 << 20; size = next_size(size))

/* ---- zero sizes ---- */

ROW(malloc_zero)
{
	void *one = malloc(opaque(0)), *two = malloc(opaque(0));

	say_pointer("one", one);
	say_pointer("two", two);
	say(" distinct=%d", one != two);
	free(one);
	free(two);
	say_pointer("after_free", NULL);
}

ROW(calloc_zero)
{
	say_pointer("zero_count", calloc(opaque(0), 8));
	say_pointer("zero_size", calloc(opaque(8), 0));
	say_pointer("both", calloc(opaque(0), 0));
}

ROW(realloc_null_is_malloc)
{
	say_pointer("zero", realloc(NULL, opaque(0)));
	say_pointer("ten", realloc(NULL, opaque(10)));
	say_pointer("mib", realloc(NULL, opaque(1 << 20)));
}

ROW(realloc_to_zero_frees)
{
	for (size_t size = 1; size < 8 << 20; size *= 64) {
		void *pointer = malloc(opaque(size));
		errno = UNTOUCHED;
		say_pointer("result", realloc(pointer, opaque(0)));
	}
}

ROW(realloc_zero_sized_block)
{
	say_pointer("grown", realloc(malloc(opaque(0)), opaque(100)));
	say_pointer("zero", realloc(malloc(opaque(0)), opaque(0)));
}

ROW(reallocarray_zero)
{
	say_pointer("null", reallocarray(NULL, opaque(0), opaque(0)));
	say_pointer("zero_count", reallocarray(malloc(opaque(10)), opaque(0), opaque(10)));
	say_pointer("zero_size", reallocarray(malloc(opaque(10)), opaque(10), opaque(0)));
}

ROW(aligned_zero)
{
	void *pointer = NULL;

	say_pointer("aligned_alloc", aligned_alloc(opaque(16), opaque(0)));
	say_pointer("memalign", memalign(opaque(64), opaque(0)));
	say_pointer("valloc", valloc(opaque(0)));
	say_pointer("pvalloc", pvalloc(opaque(0)));
	say(" code=%d", posix_memalign(&pointer, opaque(64), opaque(0)));
	say_pointer("posix_memalign", pointer);
}

ROW(free_null)
{
	free((void *)opaque(0));
	say_pointer("after", NULL);
}

/* ---- errno ---- */

ROW(success_keeps_errno)
{
	FOR_EACH_SIZE(size)
	{
		errno = UNTOUCHED;
		void *pointer = malloc(size);
		pointer = realloc(pointer, size / 2 + 1);
		pointer = realloc(pointer, size * 2 + 1);
		free(pointer);
		free(calloc(1, size));
		free(memalign(256, size));
		if (errno != UNTOUCHED)
			say(" size=%zu errno=%d", size, errno);
	}
	say(" done");
}

ROW(free_keeps_errno_of_any_order)
{
	static void *blocks[3000];

	for (size_t round = 0; round < 20; round++) {
		for (size_t i = 0; i < 3000; i++)
			blocks[i] = malloc((i * 7919 + round) % 3000 * (i % 50 == 0 ? 300 : 1));
		errno = UNTOUCHED;
		for (size_t i = 0; i < 3000; i++)
			free(blocks[i * 1009 % 3000]);
		if (errno != UNTOUCHED)
			say(" round=%zu errno=%d", round, errno);
	}
	say(" done");
}

/* ---- too much ---- */

static const size_t excessive[] = {
	(size_t)PTRDIFF_MAX + 1,
	SIZE_MAX,
	SIZE_MAX - 1,
	SIZE_MAX - 15,
	SIZE_MAX - 16,
	SIZE_MAX - 4095,
	SIZE_MAX - 65536,
	SIZE_MAX / 2 + 2,
	SIZE_MAX - SIZE_MAX / 4,
	PTRDIFF_MAX,
	(size_t)PTRDIFF_MAX - 15,
	(size_t)PTRDIFF_MAX - 65536,
	(size_t)1 << 62,
	(size_t)1 << 48,
	(size_t)1 << 47,
};

#define FOR_EACH_EXCESSIVE(size) \
	for (size_t size##_i = 0, size; size##_i < sizeof(excessive) / sizeof(*excessive) && \
					(size = opaque(excessive[size##_i]), true); \
		size##_i++)

ROW(malloc_too_much)
{
	FOR_EACH_EXCESSIVE(size)
	say_pointer("malloc", malloc(size));
}

ROW(calloc_too_much)
{
	FOR_EACH_EXCESSIVE(size)
	{
		say_pointer("one", calloc(1, size));
		say_pointer("many", calloc(size, 2));
		say_pointer("square", calloc(size, size));
	}
	say_pointer("wraps_to_zero", calloc(opaque((size_t)1 << 32), opaque((size_t)1 << 32)));
	say_pointer("wraps_to_16", calloc(opaque(SIZE_MAX / 16 + 2), opaque(16)));
}

ROW(realloc_too_much_keeps_the_block)
{
	FOR_EACH_EXCESSIVE(size)
	{
		unsigned char *pointer = malloc(opaque(100));
		memset(pointer, 'x', 100);
		errno = UNTOUCHED;
		say_pointer("realloc", realloc(pointer, size));
		say_pointer("null", realloc(NULL, size));
		say(" kept=%d", is_filled(pointer, 'x', 100));
		free(pointer);
	}
}

ROW(reallocarray_overflow_keeps_the_block)
{
	unsigned char *pointer = malloc(opaque(100));

	memset(pointer, 'x', 100);
	errno = UNTOUCHED;
	say_pointer("overflow", reallocarray(pointer, opaque(SIZE_MAX / 16 + 2), opaque(16)));
	say_pointer("too_much", reallocarray(pointer, opaque(SIZE_MAX / 16), opaque(16)));
	say_pointer("null", reallocarray(NULL, opaque(SIZE_MAX), opaque(SIZE_MAX)));
	say(" kept=%d", is_filled(pointer, 'x', 100));
	say_pointer("fits", reallocarray(pointer, opaque(100), opaque(100)));
}

ROW(aligned_too_much)
{
	FOR_EACH_EXCESSIVE(size)
	{
		void *untouched = &end;
		say_pointer("memalign", memalign(opaque(64), size));
		say_pointer("small_alignment", memalign(opaque(1), size));
		say_pointer("page", memalign(opaque(4096), size));
		say_pointer("aligned_alloc", aligned_alloc(opaque(64), size));
		say_pointer("valloc", valloc(size));
		say_pointer("pvalloc", pvalloc(size));
		say(" code=%d untouched=%d", posix_memalign(&untouched, opaque(64), size),
			untouched == (void *)&end);
		errno = UNTOUCHED;
	}
}

ROW(works_after_too_much)
{
	FOR_EACH_EXCESSIVE(size)
	{
		free(malloc(size));
		errno = UNTOUCHED;
		say_pointer("small", malloc(opaque(10)));
		say_pointer("large", malloc(opaque(1 << 20)));
	}
}

/* ---- alignment ---- */

ROW(malloc_alignment)
{
	size_t wrong = 0;

	FOR_EACH_SIZE(size)
	{
		void *one = malloc(size), *two = calloc(1, size),
		     *three = realloc(malloc(1), size + 1);
		wrong += (uintptr_t)one % 16 != 0 || (uintptr_t)two % 16 != 0 ||
			 (uintptr_t)three % 16 != 0;
		free(one);
		free(two);
		free(three);
	}
	say(" wrong=%zu", wrong);
}

ROW(memalign_alignment)
{
	size_t wrong = 0;

	for (size_t alignment = 1; alignment <= 4 << 20; alignment *= 2)
		for (size_t size = 0; size < 300000; size = size * 3 + 1) {
			unsigned char *pointer = memalign(alignment, size);
			wrong += !pointer || (uintptr_t)pointer % alignment != 0;
			memset(pointer, 1, size);
			free(pointer);
		}
	say(" wrong=%zu", wrong);
}

ROW(memalign_odd_alignment_is_rounded_up)
{
	for (size_t alignment = 0; alignment < 200; alignment += 3) {
		size_t rounded = 1;
		while (rounded < alignment)
			rounded *= 2;
		void *pointer = memalign(opaque(alignment), opaque(100));
		if (!pointer || (uintptr_t)pointer % rounded != 0)
			say(" alignment=%zu pointer=%d", alignment, pointer != NULL);
	}
	say(" done");
}

ROW(memalign_huge_alignment)
{
	say_pointer("top_bit", memalign(opaque((size_t)1 << 63), opaque(10)));
	say_pointer("above_top_bit", memalign(opaque(((size_t)1 << 63) + 1), opaque(10)));
	say_pointer("all", memalign(opaque(SIZE_MAX), opaque(10)));
	say_pointer("quarter", memalign(opaque((size_t)1 << 61), opaque(10)));
	say_pointer("1g", memalign(opaque((size_t)1 << 30), opaque(10)));
}

ROW(aligned_alloc_sizes)
{
	size_t wrong = 0;

	for (size_t alignment = 1; alignment <= 65536; alignment *= 2)
		for (size_t size = 1; size < 100000; size = size * 3 + 1) {
			void *pointer = aligned_alloc(alignment, size);
			wrong += !pointer || (uintptr_t)pointer % alignment != 0;
			free(pointer);
		}
	say(" wrong=%zu", wrong);
}

ROW(aligned_alloc_odd_alignment)
{
	say_pointer("zero", aligned_alloc(opaque(0), opaque(16)));
	say_pointer("three", aligned_alloc(opaque(3), opaque(16)));
	say_pointer("24", aligned_alloc(opaque(24), opaque(48)));
}

ROW(posix_memalign_bad_alignment_touches_nothing)
{
	static const size_t bad[] = {
		0, 1, 2, 3, 4, 5, 7, 9, 12, 24, 100, 4097, SIZE_MAX, SIZE_MAX - 7};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		void *untouched = &end;
		errno = UNTOUCHED;
		int code = posix_memalign(&untouched, opaque(bad[i]), opaque(100));
		say(" %zu:%d,%d,%d", bad[i], code == EINVAL, untouched == (void *)&end,
			errno == UNTOUCHED);
	}
}

ROW(posix_memalign_alignment)
{
	size_t wrong = 0;

	for (size_t alignment = 8; alignment <= 4 << 20; alignment *= 2)
		for (size_t size = 0; size < 300000; size = size * 3 + 1) {
			void *pointer = NULL;
			wrong += posix_memalign(&pointer, alignment, size) != 0 || !pointer ||
				 (uintptr_t)pointer % alignment != 0;
			free(pointer);
		}
	say(" wrong=%zu errno=%d", wrong, errno == UNTOUCHED);
}

ROW(valloc_gives_pages)
{
	size_t wrong = 0, short_of_page = 0;

	for (size_t size = 1; size < 300000; size = size * 3 + 1) {
		void *one = valloc(size), *two = pvalloc(size);
		wrong += (uintptr_t)one % 4096 != 0 || (uintptr_t)two % 4096 != 0;
		short_of_page += malloc_usable_size(two) < (size + 4095) / 4096 * 4096;
		free(one);
		free(two);
	}
	say(" wrong=%zu short=%zu", wrong, short_of_page);
}

/* ---- usable size ---- */

ROW(usable_size_of_null)
{
	say(" %zu", malloc_usable_size((void *)opaque(0)));
	say_pointer("errno", NULL);
}

ROW(usable_size_is_enough_constant_and_writable)
{
	size_t wrong = 0;

	FOR_EACH_SIZE(size)
	{
		unsigned char *pointer = malloc(size), *neighbour = malloc(size);
		size_t usable = malloc_usable_size(pointer);
		memset(neighbour, 'n', malloc_usable_size(neighbour));
		memset(pointer, 'p', usable);
		wrong += usable < size || malloc_usable_size(pointer) != usable;
		wrong += !is_filled(neighbour, 'n', malloc_usable_size(neighbour));
		free(pointer);
		free(neighbour);
	}
	say(" wrong=%zu", wrong);
}

ROW(usable_size_of_aligned_blocks)
{
	size_t wrong = 0;

	for (size_t alignment = 16; alignment <= 65536; alignment *= 4)
		for (size_t size = 0; size < 300000; size = size * 3 + 1) {
			unsigned char *pointer = memalign(alignment, size);
			size_t usable = malloc_usable_size(pointer);
			memset(pointer, 'p', usable);
			wrong += usable < size || malloc_usable_size(pointer) != usable;
			free(pointer);
		}
	say(" wrong=%zu", wrong);
}

ROW(realloc_keeps_the_usable_bytes)
{
	size_t wrong = 0;

	FOR_EACH_SIZE(size)
	{
		unsigned char *pointer = malloc(size);
		size_t usable = malloc_usable_size(pointer);
		memset(pointer, 'u', usable);
		pointer = realloc(pointer, usable * 2 + 100);
		wrong += !is_filled(pointer, 'u', usable);
		pointer = realloc(pointer, size / 2 + 1);
		wrong += !is_filled(pointer, 'u', size / 2 + 1 < usable ? size / 2 + 1 : usable);
		free(pointer);
	}
	say(" wrong=%zu", wrong);
}

/* ---- contents ---- */

ROW(realloc_keeps_contents)
{
	size_t wrong = 0, held = 0;
	unsigned char *pointer = NULL;
	uint32_t random = 1;

	for (int i = 0; i < 3000; i++) {
		random = random * 1664525 + 1013904223;
		size_t size = 1 + (random >> 8) % (i % 10 == 0 ? 3 << 20 : 5000);
		pointer = realloc(pointer, size);
		for (size_t j = 0; j < (held < size ? held : size); j++)
			wrong += pointer[j] != (unsigned char)(j * 31 + j / 256);
		for (size_t j = held; j < size; j++)
			pointer[j] = (unsigned char)(j * 31 + j / 256);
		held = size;
	}
	say(" wrong=%zu", wrong);
}

ROW(realloc_of_aligned_block_keeps_contents)
{
	size_t wrong = 0;

	for (size_t alignment = 8; alignment <= 1 << 20; alignment *= 2)
		for (size_t size = 1; size < 200000; size = size * 5 + 1) {
			unsigned char *pointer = memalign(alignment, size);
			memset(pointer, 'a', size);
			pointer = realloc(pointer, size * 2);
			wrong += !is_filled(pointer, 'a', size);
			pointer = realloc(pointer, size / 2 + 1);
			wrong += !is_filled(pointer, 'a', size / 2 + 1);
			free(pointer);
		}
	say(" wrong=%zu", wrong);
}

ROW(calloc_is_zero_after_dirty_memory)
{
	size_t wrong = 0;

	FOR_EACH_SIZE(size)
	{
		unsigned char *dirty = malloc(size);
		memset(dirty, 0xff, size);
		free(dirty);
		unsigned char *clean = calloc(1, size);
		wrong += !is_filled(clean, 0, size);
		memset(clean, 0xff, malloc_usable_size(clean));
		free(clean);
	}
	say(" wrong=%zu", wrong);
}

ROW(blocks_do_not_overlap)
{
	enum { COUNT = 4000 };
	static unsigned char *blocks[COUNT];
	size_t wrong = 0;

	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT; i++) {
			size_t size = (i * 2654435761u >> 4) % (i % 100 == 0 ? 200000 : 700);
			blocks[i] = malloc(size);
			memset(blocks[i], (int)i, malloc_usable_size(blocks[i]));
		}
		for (size_t i = 0; i < COUNT; i++)
			wrong += !is_filled(
				blocks[i], (unsigned char)i, malloc_usable_size(blocks[i]));
		for (size_t i = 0; i < COUNT; i++)
			free(blocks[i * 997 % COUNT]);
	}
	say(" wrong=%zu", wrong);
}

/* ---- tuning ---- */

ROW(mallopt_answers)
{
	say(" threshold=%d", mallopt(M_MMAP_THRESHOLD, 1 << 20));
	say(" trim=%d", mallopt(M_TRIM_THRESHOLD, 1 << 20));
	say(" arenas=%d", mallopt(M_ARENA_MAX, 1));
	say(" unknown=%d", mallopt(4711, 1));
	say_pointer("errno", NULL);
}

ROW(malloc_info_refuses_options)
{
	errno = UNTOUCHED;
	say(" code=%d", malloc_info(1, stdout));
	say_pointer("errno", NULL);
}

/* ---- the rest ---- */

ROW(child_of_fork_allocates)
{
	void *before = malloc(opaque(100));
	pid_t child = fork();

	if (child == 0) {
		free(before);
		for (int i = 0; i < 1000; i++)
			free(realloc(malloc((size_t)i), (size_t)i * 3 + 1));
		_exit(malloc(opaque(1 << 20)) ? 7 : 8);
	}
	int status = 0;
	waitpid(child, &status, 0);
	say(" status=%d", WEXITSTATUS(status));
}

static void run_row(const struct row *row)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		say("%s:", row->name);
		alarm(60);
		errno = UNTOUCHED;
		row->run();
		say("\n");
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (status != 0)
		say("%s: ended with status 0x%x\n", row->name, status);
}

int main(void)
{
	for (const struct row *row = first; row; row = row->next)
		run_row(row);
	return 0;
}
