/*
 * Mappings that a careless reader faults on, fills, waits for or never comes to an end of: there must be a verdict with each of them, in bounded time, and
 * what can be read of them must count.
 */
#include "tests/gc/hidden.h"
#include "tests/harness/deep_folder.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 64, BYTES = PAGES * PAGE };

static char *map(size_t bytes, int flags)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		test_skip("the kernel refuses this mapping");
	return memory;
}

/* The address at `place` keeps its block, and one that is nowhere is lost. */
static NOINLINE void check_with(void *place)
{
	uintptr_t hidden = hide_block(64), lost = hide_block(64);

	if (place)
		put(hidden, place);
	collect();
	CHECK(!place || is_kept(hidden));
	CHECK(!is_kept(lost));
}

static size_t resident_pages(void)
{
	char text[128] = {0};
	int file = open("/proc/self/statm", O_RDONLY);

	CHECK_GT(read(file, text, sizeof(text) - 1), 0);
	close(file);
	return strtoul(strchr(text, ' '), NULL, 10);
}

TEST(memory_that_was_never_touched_stays_untouched)
{
	size_t before;

	map((size_t)8 << 30, MAP_PRIVATE | MAP_NORESERVE);
	map((size_t)1 << 30, MAP_SHARED | MAP_NORESERVE);
	hide_block(64);
	collect();
	before = resident_pages();
	check_with(NULL);
	CHECK_LT(resident_pages(), before + 1000);
}

TEST(truncated_file)
{
	char path[] = "/tmp/gasket-hostile-XXXXXX";
	int file = mkstemp(path);
	char *private, *shared;

	unlink(path);
	CHECK_EQ(ftruncate(file, BYTES), 0);
	private = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	shared = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	private[5 * PAGE] = 1;
	shared[5 * PAGE] = 1;
	shared[0] = 1;
	CHECK_EQ(ftruncate(file, PAGE), 0);
	check_with(private + 8);
	check_with(shared + 8);
}

TEST(huge_pages_without_a_pool)
{
	map((size_t)64 << 20, MAP_PRIVATE | MAP_HUGETLB | MAP_NORESERVE);
	check_with(NULL);
}

TEST(memory_that_grows_down)
{
	char *memory = map(BYTES, MAP_PRIVATE | MAP_GROWSDOWN);

	check_with(memory + BYTES - 64);
}

TEST(memory_that_is_wiped_on_fork)
{
	char *memory = map(BYTES, MAP_PRIVATE);

	CHECK_EQ(madvise(memory, BYTES, MADV_WIPEONFORK), 0);
	check_with(memory + PAGE);
}

TEST(guard_pages)
{
	char *memory = map(BYTES, MAP_PRIVATE);

	memset(memory, 1, BYTES);
	if (madvise(memory + 4 * PAGE, 4 * PAGE, 102 /* MADV_GUARD_INSTALL */) != 0)
		test_skip("no guard pages");
	check_with(memory + PAGE);
}

TEST(memory_that_a_protection_key_closes)
{
	char *memory = map(BYTES, MAP_PRIVATE);
	uintptr_t hidden = hide_block(64);
	int pkey = pkey_alloc(0, 0);

	if (pkey < 0)
		test_skip("no protection keys");
	put(hidden, memory + PAGE);
	CHECK_EQ(pkey_mprotect(memory, BYTES, PROT_READ | PROT_WRITE, pkey), 0);
	CHECK_EQ(pkey_set(pkey, PKEY_DISABLE_ACCESS), 0);
	collect();
	CHECK(is_kept(hidden));
}

/* Blocks are not read like other memory. The collector's thread has the keys that were open when it was made, which no later one is. */
TEST(blocks_that_a_protection_key_closes)
{
	void *block = NULL;
	uintptr_t hidden;
	int pkey;

	collect();
	hidden = hide_block(64);
	pkey = pkey_alloc(0, 0);
	if (pkey < 0)
		test_skip("no protection keys");
	CHECK_EQ(posix_memalign(&block, PAGE, 2 * PAGE), 0);
	put(hidden, (char *)block + PAGE);
	CHECK_EQ(pkey_mprotect(block, 2 * PAGE, PROT_READ | PROT_WRITE, pkey), 0);
	collect();
	CHECK(is_kept(hidden));
	CHECK_EQ(pkey_set(pkey, PKEY_DISABLE_ACCESS), 0);
	collect();
	CHECK(is_kept(hidden));
	CHECK_EQ(pkey_set(pkey, 0), 0);
	CHECK_EQ(pkey_mprotect(block, 2 * PAGE, PROT_READ | PROT_WRITE, 0), 0);
	free(block);
}

TEST(secret_memory)
{
	int secret = (int)syscall(447 /* memfd_secret */, 0);
	char *memory;

	if (secret < 0)
		test_skip("no memfd_secret");
	CHECK_EQ(ftruncate(secret, BYTES), 0);
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	CHECK(memory != MAP_FAILED);
	check_with(memory + PAGE);
}

/* Nobody will ever answer for the absent pages. */
TEST(userfaultfd_whose_handler_stands_still)
{
	uint64_t api[3] = {0xaa, 0, 0}, range[4] = {0, BYTES, 1, 0};
	char *memory = map(BYTES, MAP_PRIVATE);
	int fault = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);

	if (fault < 0)
		test_skip("no userfaultfd");
	memory[PAGE] = 1;
	range[0] = (uintptr_t)memory;
	CHECK_EQ(syscall(SYS_ioctl, fault, 0xc018aa3f, api), 0);
	CHECK_EQ(syscall(SYS_ioctl, fault, 0xc020aa00, range), 0);
	check_with(memory + PAGE + 8);
}

TEST(thousands_of_mappings)
{
	enum { COUNT = 20000 };
	char *memory = map((size_t)COUNT * PAGE, MAP_PRIVATE | MAP_NORESERVE);

	for (int i = 0; i < COUNT; i += 2)
		CHECK_EQ(mprotect(memory + (size_t)i * PAGE, PAGE, PROT_READ), 0);
	check_with(memory + (size_t)(COUNT - 1) * PAGE);
}

/* ---- names that are longer than what is read of /proc at once ---- */

enum { LEVELS = 150, READ_AT_ONCE = 128 * 1024 }; // newlines are printed as four characters each

/* Of a file that is deleted. */
static char *map_deep_file(int protection, int flags, int levels, const char *name)
{
	struct deep_folder folder;
	char *memory;
	int file;

	deep_enter(&folder, levels, '\n');
	file = open(name, O_RDWR | O_CREAT, 0600);
	CHECK_GE(file, 0);
	CHECK_EQ(unlink(name), 0);
	deep_leave(&folder);
	CHECK_EQ(ftruncate(file, BYTES), 0);
	memory = mmap(NULL, BYTES, protection, flags, file, 0);
	CHECK(memory != MAP_FAILED);
	CHECK_EQ(close(file), 0);
	return memory;
}

TEST(a_shared_file_with_a_very_long_name)
{
	check_with(map_deep_file(PROT_READ | PROT_WRITE, MAP_SHARED, LEVELS, "file") + PAGE);
}

TEST(a_private_file_with_a_very_long_name)
{
	check_with(map_deep_file(PROT_READ | PROT_WRITE, MAP_PRIVATE, LEVELS, "file") + PAGE);
}

/* That it is deleted, and so serves as memory, stands at the end of the line, which is split there. */
TEST(a_file_with_a_very_long_name_that_may_only_be_read)
{
	enum {
		BEFORE_NAME = 73,
		TOP = 23,
		LEVEL = 4 * DEEP_NAME_BYTES + 1,
		FITTING = 130,
		BEHIND = 5
	};
	static const char deleted[] = " (deleted)";
	char name[256], *memory;
	size_t bytes = READ_AT_ONCE + BEHIND - (BEFORE_NAME + TOP + FITTING * LEVEL + 1) -
		       (sizeof(deleted) - 1);
	uintptr_t hidden = hide_block(64);

	CHECK_LT(bytes, 4 * (size_t)DEEP_NAME_BYTES);
	memset(name, '\n', bytes / 4);
	memset(name + bytes / 4, 'x', bytes % 4);
	name[bytes / 4 + bytes % 4] = 0;
	memory = map_deep_file(PROT_READ | PROT_WRITE, MAP_SHARED, FITTING, name);
	put(hidden, memory + PAGE);
	CHECK_EQ(mprotect(memory, BYTES, PROT_READ), 0);
	collect();
	CHECK(is_kept(hidden));
}

/* ---- mappings that come and go ---- */

static volatile int stop;

static void *map_at_random(void *argument)
{
	static const int protections[] = {
		PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC};
	unsigned seed = (unsigned)(uintptr_t)argument;

	while (!stop) {
		char *memory = map(BYTES, MAP_PRIVATE);
		size_t first = (size_t)rand_r(&seed) % PAGES * PAGE,
		       last = first + (size_t)rand_r(&seed) % (PAGES + 1 - first / PAGE) * PAGE;

		memset(memory, 0x5a, BYTES);
		mprotect(memory + first, last - first, protections[rand_r(&seed) % 4]);
		if (rand_r(&seed) % 2)
			madvise(memory, BYTES, MADV_DONTNEED);
		// whoever maps something meanwhile may get the hole: nothing there may be touched again
		munmap(memory + first, last - first);
		munmap(memory, first);
		munmap(memory + last, BYTES - last);
	}
	return NULL;
}

TEST(mappings_that_come_and_go_during_hundreds_of_cycles, .limit_seconds = 60)
{
	enum { THREADS = 3, KEPT = 200 };
	static uintptr_t words[KEPT], hidden[KEPT];
	pthread_t threads[THREADS];
	int verdicts = 0;

	for (int i = 0; i < KEPT; i++) {
		hidden[i] = hide_block_dirty(32 + (size_t)i);
		put(hidden[i], &words[i]);
	}
	for (intptr_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, map_at_random, (void *)(i + 1)), 0);
	for (int i = 0; i < 300; i++)
		verdicts += gasket_collect();
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < KEPT; i++)
		CHECK(is_kept(hidden[i]));
	CHECK_GT(verdicts, 100);
}
