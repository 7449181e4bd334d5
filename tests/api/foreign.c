/*
 * Pointers that are not ours reach free, realloc and malloc_usable_size; pairs of functions cross the names that glibc has for them. None
 * may crash, and realloc must carry the contents over.
 */
#include "tests/harness/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern void __libc_free(void *pointer);

static char *map_page(void)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(page != MAP_FAILED);
	return page;
}

TEST(free_of_a_mapping_is_ignored)
{
	char *page = map_page();

	memset(page, 'm', 4096);
	errno = 1234;
	free(page);
	free(page + 1);
	free(page + 64);
	free(page + 4096 - 16);
	CHECK_EQ(errno, 1234);
	CHECK_EQ(page[4095], 'm');
}

TEST(free_of_static_stack_and_code_is_ignored)
{
	static char data[100];
	char stack[100] = "";

	free(data + 16);
	free(stack + 16);
	free((void *)(uintptr_t)&map_page);
	free((void *)16);
	free((void *)(uintptr_t)0x123456789ab0);
	free((void *)(uintptr_t)0xfffffffffffffff0);
	free((void *)(uintptr_t)0x7fffffffffff);
}

TEST(usable_size_of_a_foreign_pointer_is_harmless)
{
	// What it answers is of no interest; it must not read before the pointer nor crash.
	malloc_usable_size(map_page());
	malloc_usable_size(map_page() + 4080);
	malloc_usable_size((void *)(uintptr_t)0x123456789ab0);
}

TEST(realloc_of_a_mapping_copies)
{
	char *page = map_page();

	memset(page, 'm', 4096);
	char *copy = realloc(page + 4096 - 100, 5000);
	CHECK_NOT_NULL(copy);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(copy[i], 'm');
	free(copy);
}

TEST(realloc_of_a_mapping_before_a_hole_copies)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK_EQ(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	memset(pages, 'm', 4096);
	char *copy = realloc(pages + 4096 - 64, 1 << 20);
	CHECK_NOT_NULL(copy);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(copy[i], 'm');
}

TEST(interior_pointers_are_not_freed)
{
	char *block = malloc(1000);

	memset(block, 'b', 1000);
	for (int i = 1; i < 1000; i++)
		free(block + i);
	for (int i = 0; i < 200; i++)
		memset(malloc(1000), 'n', 1000);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(block[i], 'b');
}

TEST(double_free_is_harmless)
{
	for (int i = 0; i < 1000; i++) {
		void *block = malloc((size_t)i * 50);
		free(block);
		free(block);
	}
	char *one = malloc(100), *two = malloc(100);
	CHECK_NE(one, two);
}

TEST(every_allocator_pairs_with_every_releaser)
{
	for (int allocator = 0; allocator < 11; allocator++)
		for (int releaser = 0; releaser < 5; releaser++) {
			char *block = NULL;
			switch (allocator) {
			case 0:
				block = malloc(100);
				break;
			case 1:
				block = calloc(10, 10);
				break;
			case 2:
				block = realloc(NULL, 100);
				break;
			case 3:
				block = memalign(64, 100);
				break;
			case 4:
				block = valloc(100);
				break;
			case 5:
				block = __libc_malloc(100);
				break;
			case 6:
				block = __libc_calloc(10, 10);
				break;
			case 7:
				block = __libc_realloc(NULL, 100);
				break;
			case 8:
				block = __libc_memalign(64, 100);
				break;
			case 9:
				block = __libc_valloc(100);
				break;
			case 10:
				block = __libc_pvalloc(100);
				break;
			}
			CHECK_NOT_NULL(block);
			CHECK_GE(malloc_usable_size(block), 100u);
			memset(block, 'x', 100);
			switch (releaser) {
			case 0:
				free(block);
				break;
			case 1:
				__libc_free(block);
				break;
			case 2:
				block = realloc(block, 5000);
				CHECK_EQ(block[99], 'x');
				free(block);
				break;
			case 3:
				block = __libc_realloc(block, 5000);
				CHECK_EQ(block[99], 'x');
				__libc_free(block);
				break;
			case 4:
				CHECK_NULL(realloc(block, 0));
				break;
			}
		}
}

TEST(aliases_are_ours)
{
	// Else half of a pair would be glibc's: all names must resolve into one library.
	static const char *const names[] = {"malloc", "calloc", "realloc", "free", "memalign",
		"aligned_alloc", "posix_memalign", "valloc", "pvalloc", "reallocarray",
		"malloc_usable_size", "cfree", "__libc_malloc", "__libc_calloc", "__libc_realloc",
		"__libc_free", "__libc_memalign", "__libc_valloc", "__libc_pvalloc", "free_sized",
		"free_aligned_sized", "mallinfo", "mallinfo2", "mallopt", "malloc_trim",
		"malloc_stats", "malloc_info", "_Znwm", "_ZdlPv"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		Dl_info where = {0};
		void *address = dlsym(RTLD_DEFAULT, names[i]);
		CHECK_MSG(address && dladdr(address, &where) && where.dli_fname &&
				  strstr(where.dli_fname, "libgasket"),
			"%s is in %s", names[i], where.dli_fname ? where.dli_fname : "no library");
	}
}

TEST(blocks_of_the_loader_can_be_grown)
{
	// The loader allocates with its own minimal malloc before ours is there; a dlopen later resizes such blocks.
	for (int i = 0; i < 20; i++) {
		void *library = dlopen("libm.so.6", RTLD_NOW);
		CHECK_NOT_NULL(library);
		dlclose(library);
	}
	CHECK_NOT_NULL(dlerror() ? "error" : "none");
	CHECK_NULL(dlopen("/nonexistent/library.so", RTLD_NOW));
	CHECK_NOT_NULL(dlerror());
}

TEST(sized_free_takes_any_size)
{
	void (*free_sized)(void *, size_t) =
		(void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
	void (*free_aligned)(void *, size_t, size_t) =
		(void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");

	CHECK(free_sized && free_aligned);
	free_sized(malloc(100), 100);
	free_sized(malloc(100), 5);
	free_sized(NULL, 0);
	free_aligned(memalign(64, 100), 64, 100);
	free_aligned(memalign(64, 100), 16, 1);
	free_aligned(NULL, 16, 0);
}

TEST(state_calls_fail_cleanly)
{
	void *(*get)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "malloc_get_state");
	int (*set)(void *) = (int (*)(void *))dlsym(RTLD_DEFAULT, "malloc_set_state");

	CHECK(get && set);
	CHECK_NULL(get());
	CHECK_NE(set(NULL), 0);
}

TEST(memory_around_a_block_can_be_read)
{
	// Some programs look at glibc's header, or read a few bytes too far.
	for (size_t size = 1; size < 70000; size += size / 16 + 1) {
		char *block = malloc(size);
		__asm__("" : "+r"(block)); // the compiler must not know the bounds
		volatile size_t before = ((volatile size_t *)(void *)block)[-1];
		volatile char after = ((volatile char *)block)[size + 14];
		(void)before;
		(void)after;
		free(block);
	}
}

TEST(contents_survive_free)
{
	// Programs live that read just after free: nothing is written into a freed block.
	char *block = malloc(200);

	memset(block, 'f', 200);
	free(block);
	for (int i = 0; i < 200; i++)
		CHECK_EQ(((volatile char *)block)[i], 'f');
}

TEST(addresses_are_in_the_usual_range)
{
	for (size_t i = 0; i < 100000; i++) {
		uintptr_t address = (uintptr_t)malloc(i % 3000);
		CHECK_GT(address, (uintptr_t)1 << 32);
		CHECK_LT(address, (uintptr_t)1 << 47);
	}
}
