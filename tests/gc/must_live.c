/*
 * Must live: the address stands in one kind of memory only, of the thread that asks for the collection.
 */
#include "tests/gc/hidden.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

enum { PAGE = 4096 };

static uintptr_t data_word = 1;
static uintptr_t bss_word;
static __thread uintptr_t thread_word;

static char *map(size_t bytes, int protection, int flags)
{
	char *memory = mmap(NULL, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

/* What the address is put into must not be known to be dead, so it is reached through this. */
static NOINLINE bool is_kept_by(void *place)
{
	uintptr_t hidden = hide_block(64);

	put(hidden, place);
	collect();
	return is_kept(hidden);
}

ROOT_TEST(data, "data_segments")
{
	return is_kept_by(&data_word);
}

ROOT_TEST(bss, "data_segments")
{
	return is_kept_by(&bss_word);
}

ROOT_TEST(stack, "stacks")
{
	volatile uintptr_t word[4] = {0};

	return is_kept_by((void *)&word[2]);
}

ROOT_TEST(tls, "thread_storage")
{
	return is_kept_by(&thread_word);
}

ROOT_TEST(mmap_arena, "mappings")
{
	return is_kept_by(map(64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE) + (17 << 20) + 8);
}

ROOT_TEST(shared_anonymous_memory, "mappings")
{
	return is_kept_by(map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED) + 5 * PAGE);
}

ROOT_TEST(memfd_read_only, "mappings")
{
	int memfd = (int)syscall(SYS_memfd_create, "name", 0);
	uintptr_t hidden = hide_block(64);
	char *memory;

	CHECK_EQ(ftruncate(memfd, 4 * PAGE), 0);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	put(hidden, memory + PAGE);
	CHECK_EQ(munmap(memory, 4 * PAGE), 0);
	CHECK(mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, memfd, 0) != MAP_FAILED);
	collect();
	return is_kept(hidden);
}

/* A mapping of a file that has a name, in /tmp. */
static char *map_named_file(char *path)
{
	int file = mkstemp(path);
	char *memory;

	CHECK_GE(file, 0);
	CHECK_EQ(ftruncate(file, 16 * PAGE), 0);
	memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED);
	return memory;
}

/* The page cache has the page, and our page tables have nothing. */
ROOT_TEST(shared_file_without_page_tables, "mappings")
{
	char path[] = "/tmp/gasket-must-live-XXXXXX", *memory = map_named_file(path);
	uintptr_t hidden = hide_block(64);

	put(hidden, memory + 5 * PAGE);
	CHECK_EQ(madvise(memory, 16 * PAGE, MADV_DONTNEED), 0);
	collect();
	unlink(path);
	return is_kept(hidden);
}

/* A fork copies no page tables of shared memory. */
TEST(shared_file_keeps_a_block_in_a_fork_child)
{
	char path[] = "/tmp/gasket-must-live-XXXXXX", *memory = map_named_file(path);
	uintptr_t hidden = hide_block(64);
	pid_t child;

	put(hidden, memory + 5 * PAGE);
	child = fork();
	if (child == 0) {
		collect();
		CHECK(is_kept(hidden));
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	unlink(path);
}

ROOT_TEST(protected_page, "mappings")
{
	char *memory = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	uintptr_t hidden = hide_block(64);

	put(hidden, memory + PAGE);
	CHECK_EQ(mprotect(memory, 4 * PAGE, PROT_NONE), 0);
	collect();
	return is_kept(hidden);
}

ROOT_TEST(executable_page, "mappings")
{
	char *memory = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	uintptr_t hidden = hide_block(64);

	put(hidden, memory + PAGE + 3);
	CHECK_EQ(mprotect(memory, 4 * PAGE, PROT_READ | PROT_EXEC), 0);
	collect();
	return is_kept(hidden);
}

ROOT_TEST(interior_address, "data_segments")
{
	uintptr_t hidden = hide_block(1000);

	put_tagged(hidden, &bss_word, 517, 0);
	collect();
	return is_kept(hidden);
}

ROOT_TEST(address_one_past_the_end, "data_segments")
{
	static const size_t sizes[] = {1, 16, 64, 80, 1024, 4096, 65536, 1 << 20};
	static uintptr_t words[8];
	uintptr_t hidden[8];
	bool kept = true;

	for (int i = 0; i < 8; i++) {
		hidden[i] = hide_block(sizes[i]);
		put_tagged(hidden[i], &words[i], sizes[i], 0);
	}
	collect();
	for (int i = 0; i < 8; i++)
		kept = kept && is_kept(hidden[i]);
	return kept;
}

ROOT_TEST(address_with_a_tag, "data_segments")
{
	static const uint64_t tags[] = {1ull << 63, 0xfffaull << 48, 1ull << 47, 0x1ffffull << 47};
	static uintptr_t words[4];
	uintptr_t hidden[4];
	bool kept = true;

	for (int i = 0; i < 4; i++) {
		hidden[i] = hide_block(48);
		put_tagged(hidden[i], &words[i], 0, tags[i]);
	}
	collect();
	for (int i = 0; i < 4; i++)
		kept = kept && is_kept(hidden[i]);
	return kept;
}

ROOT_TEST(chain_of_blocks, "data_segments")
{
	enum { LENGTH = 2000 };
	static uintptr_t hidden[LENGTH];
	bool kept = true;

	for (int i = 0; i < LENGTH; i++) {
		hidden[i] = hide_block_dirty(16 + (size_t)i % 300);
		if (i == 0)
			put(hidden[i], &bss_word);
		else
			put_in_block(hidden[i], hidden[i - 1], 8);
	}
	collect();
	for (int i = 0; i < LENGTH; i++)
		kept = kept && is_kept(hidden[i]);
	return kept;
}

ROOT_TEST(large_block, "data_segments")
{
	uintptr_t holder = hide_block(9 << 20), hidden = hide_block(64);

	put_tagged(holder, &bss_word, 5 << 20, 0);
	put_in_block(hidden, holder, 7 << 20);
	collect();
	return is_kept(hidden) && is_kept(holder);
}

/* The holder was freed and is still referred to: what it refers to must not go. */
ROOT_TEST(freed_block_that_is_reached, "data_segments")
{
	uintptr_t holder = hide_block(96), hidden = hide_block(64);

	put(holder, &bss_word);
	put_in_block(hidden, holder, 40);
	free_hidden(holder);
	collect();
	collect();
	return is_kept(hidden) && state_of(holder) == KEPT_HINTED;
}

/* ---- blocks that hold blocks ---- */

/* `hidden` is known to the sampled block alone. */
ROOT_TEST_UNDER(sampled_block_as_the_only_holder, "data_segments", "stacks=sampled:sample_bytes=1")
{
	uintptr_t holder = hide_block(96), hidden = hide_block(64);

	CHECK_EQ(state_of(holder), KEPT_SAMPLED);
	put(holder, &bss_word);
	put_in_block(hidden, holder, 40);
	collect();
	if (!is_kept(hidden))
		return false;
	collect();
	return is_kept(hidden);
}

/* Holders are freed at any moment of a cycle and are used on: a block that only such a holder knows must stay what it is. */
struct holder {
	uint64_t *held;
	uint64_t filler[9];
};
static struct holder *volatile holders[64];
static uintptr_t hidden_held[64];
static volatile int stop, was_lost;

/* What is lost is somebody else's by now, so it is looked at with care: no address is followed that was not put there. */
static bool is_intact(int at)
{
	const struct holder *holder = holders[at];
	const uint64_t *held = holder->held;

	return ~(uintptr_t)held == hidden_held[at] && held[0] == 0x1234567890abcdefull &&
	       held[5] == 0x1234567890abcdefull;
}

static void *free_and_use_on(void *argument)
{
	unsigned seed = (unsigned)(uintptr_t)argument;
	int first = (int)(uintptr_t)argument * 16;

	while (!stop) {
		int at = first + rand_r(&seed) % 16;
		struct holder *holder = malloc(sizeof(*holder));

		holder->held = malloc(48);
		holder->held[0] = holder->held[5] = 0x1234567890abcdefull;
		hidden_held[at] = ~(uintptr_t)holder->held;
		holders[at] = holder;
		free(holder); // a hint: it is still referred to
		if (at == first)
			usleep(100); // every block held is leaked in the end: not faster than they can be taken back
		for (int i = first; i < first + 16; i++) {
			if (holders[i] && !is_intact(i))
				was_lost = stop = 1;
		}
	}
	return NULL;
}

ROOT_TEST(holder_that_is_hinted_during_the_cycle, "data_segments")
{
	pthread_t threads[3];
	int verdicts = 0;

	hide_block(64);
	for (intptr_t i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, free_and_use_on, (void *)(i + 1)), 0);
	// without its scanner it is lost within a few cycles on an idle machine, and later on a busy one
	for (int i = 0; i < (strstr(getenv("GASKET_OPTIONS"), "scan_off") ? 20000 : 400) && !stop;
		i++)
		verdicts += gasket_collect();
	stop = 1;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK(was_lost || verdicts > 200);
	return !was_lost;
}

ROOT_TEST(swapped_page, "mappings")
{
	char *memory = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	uintptr_t hidden = hide_block(64);
	unsigned char resident[16];

	memset(memory, 1, 16 * PAGE);
	put(hidden, memory + 3 * PAGE);
	if (madvise(memory, 16 * PAGE, 21 /* MADV_PAGEOUT */) != 0 ||
		mincore(memory, 16 * PAGE, resident) != 0 || (resident[3] & 1))
		test_skip("nothing is swapped out here");
	collect();
	return is_kept(hidden);
}

TEST(block_in_protected_heap_memory_is_read)
{
	char *block = aligned_alloc(PAGE, 4 * PAGE);
	uintptr_t hidden = hide_block(64);

	put(hidden, block + PAGE);
	CHECK_EQ(mprotect(block, 4 * PAGE, PROT_NONE), 0);
	collect();
	CHECK(is_kept(hidden));
	CHECK_EQ(mprotect(block, 4 * PAGE, PROT_READ | PROT_WRITE), 0);
	free(block);
}

TEST(hole_in_heap_memory_is_no_fault)
{
	char *block = aligned_alloc(PAGE, 64 * PAGE);
	uintptr_t hidden = hide_block(64);

	put(hidden, block + PAGE);
	CHECK_EQ(munmap(block + 8 * PAGE, 4 * PAGE), 0);
	collect();
	CHECK(is_kept(hidden));
	__asm__ volatile("" : : "r"(block) : "memory");
}

TEST(shared_memory_over_heap_memory_is_read)
{
	char *block = aligned_alloc(PAGE, 16 * PAGE);
	int memfd = (int)syscall(SYS_memfd_create, "name", 0);
	uintptr_t hidden = hide_block(64);

	CHECK_EQ(ftruncate(memfd, 4 * PAGE), 0);
	CHECK(mmap(block + 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		      memfd, 0) == block + 4 * PAGE);
	put(hidden, block + 5 * PAGE);
	CHECK_EQ(madvise(block + 4 * PAGE, 4 * PAGE, MADV_DONTNEED), 0);
	collect();
	CHECK(is_kept(hidden));
	__asm__ volatile("" : : "r"(block) : "memory");
}

TEST(executable_heap_memory_is_read_at_every_byte)
{
	char *block = aligned_alloc(PAGE, 4 * PAGE);
	uintptr_t hidden = hide_block(64);

	put(hidden, block + PAGE + 5);
	CHECK_EQ(mprotect(block, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	collect();
	CHECK(is_kept(hidden));
	__asm__ volatile("" : : "r"(block) : "memory");
}

static void drop_root(void)
{
	if (geteuid() != 0)
		test_skip("needs root to drop it");
	CHECK_EQ(setgid(65534), 0);
	CHECK_EQ(setuid(65534), 0);
	CHECK_EQ(open("/proc/self/pagemap", O_RDONLY), -1);
}

/* The collector has its files open. */
ROOT_TEST(data_after_root_was_dropped, "data_segments")
{
	uintptr_t hidden = hide_block(64), lost;

	put(hidden, &bss_word);
	collect();
	drop_root();
	lost = hide_block(64);
	collect();
	CHECK(!is_kept(lost));
	return is_kept(hidden);
}

/* The collector starts when its files can not be opened any more. */
static NOINLINE bool is_kept_by_in_first_cycle_without_root(void *place)
{
	uintptr_t hidden, lost;

	drop_root();
	hidden = hide_block(64);
	lost = hide_block(64);
	put(hidden, place);
	collect();
	CHECK(!is_kept(lost));
	return is_kept(hidden);
}

ROOT_TEST(data_in_the_first_cycle_without_root, "data_segments")
{
	return is_kept_by_in_first_cycle_without_root(&bss_word);
}

ROOT_TEST(mmap_arena_in_the_first_cycle_without_root, "mappings")
{
	return is_kept_by_in_first_cycle_without_root(
		map(64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE) + (17 << 20));
}

ROOT_TEST(shared_memory_in_the_first_cycle_without_root, "mappings")
{
	return is_kept_by_in_first_cycle_without_root(
		map(1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED) + 5 * PAGE);
}

ROOT_TEST(tls_in_the_first_cycle_without_root, "thread_storage")
{
	return is_kept_by_in_first_cycle_without_root(&thread_word);
}

TEST(fork_child_collects_for_itself)
{
	uintptr_t hidden = hide_block(64);
	pid_t child;

	put(hidden, &bss_word);
	collect();
	child = fork();
	if (child == 0) {
		uintptr_t lost = hide_block(64);

		collect();
		CHECK(is_kept(hidden));
		CHECK(!is_kept(lost));
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	collect();
	CHECK(is_kept(hidden));
}

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

TEST(sparse_16_tib_cost_less_than_100_ms)
{
	uint64_t start, before, after;
	struct utsname kernel;
	char *memory;

	CHECK_EQ(uname(&kernel), 0);
	if (strverscmp(kernel.release, "6.7") < 0)
		test_skip("before Linux 6.7 page tables are read entry by entry");
	hide_block(64);
	collect();
	start = milliseconds();
	collect();
	before = milliseconds() - start;
	memory = map(16ull << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
	CHECK(is_kept_by(memory + (9ull << 40)));
	start = milliseconds();
	collect();
	after = milliseconds() - start;
	CHECK_LT(after, before + 100);
}
