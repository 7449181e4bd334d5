/*
 * Must die: nothing the program can use refers to the block, whatever once did.
 */
#include "tests/gc/hidden.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

enum { PAGE = 4096, DIRT_BYTES = 512, DIRT_BLOCKS = 8000, FEW_DIRT_BLOCKS = 1000 };

static uintptr_t words[64];

static int count_kept(const uintptr_t *hidden, int count)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		kept += is_kept(hidden[i]);
	return kept;
}

TEST(block_nobody_refers_to)
{
	uintptr_t hidden = hide_block(64);

	collect();
	CHECK(!is_kept(hidden));
}

TEST(blocks_of_every_size)
{
	enum { SIZES = 100, EACH = 20 };
	static uintptr_t hidden[SIZES * EACH];
	int kept;

	for (int i = 0; i < SIZES * EACH; i++)
		hidden[i] = hide_block_dirty(
			((size_t)1 << (i / EACH / 5)) + (size_t)(i / EACH % 5) * 7);
	scrub();
	collect();
	kept = count_kept(hidden, SIZES * EACH);
	CHECK_MSG(kept <= SIZES * EACH / 500, "%d of %d are kept", kept, SIZES * EACH);
}

TEST(cycle_of_blocks)
{
	enum { LENGTH = 100 };
	static uintptr_t hidden[LENGTH];

	for (int i = 0; i < LENGTH; i++)
		hidden[i] = hide_block(80);
	for (int i = 0; i < LENGTH; i++)
		put_in_block(hidden[(i + 1) % LENGTH], hidden[i], 24);
	collect();
	CHECK_EQ(count_kept(hidden, LENGTH), 0);
}

TEST(block_whose_only_holder_was_freed)
{
	uintptr_t holder = hide_block(80), hidden = hide_block(64);

	put_in_block(hidden, holder, 8);
	free_hidden(holder);
	collect();
	CHECK(!is_kept(hidden));
	CHECK_NE(state_of(holder), KEPT_HINTED);
}

TEST(freed_block)
{
	uintptr_t hidden = hide_block(64);

	free_hidden(hidden);
	CHECK_EQ(state_of(hidden), KEPT_HINTED);
	collect();
	CHECK_NE(state_of(hidden), KEPT_HINTED);
}

TEST(block_whose_address_stands_unaligned)
{
	uintptr_t hidden = hide_block(64);

	put(hidden, (char *)words + 3);
	collect();
	CHECK(!is_kept(hidden));
}

TEST(block_whose_address_stands_inverted)
{
	uintptr_t hidden = hide_block(64);

	words[0] = hidden;
	collect();
	CHECK(!is_kept(hidden));
}

static NOINLINE void leave_on_dead_stack(uintptr_t hidden)
{
	volatile uintptr_t array[512];

	put(hidden, (void *)&array[5]);
	put(hidden, (void *)&array[500]);
}

TEST(block_known_to_the_dead_part_of_the_stack_only)
{
	uintptr_t hidden = hide_block(64);

	leave_on_dead_stack(hidden);
	gasket_collect(); // not collect(), which would wipe it
	collect();
	CHECK(!is_kept(hidden));
}

struct deep_job {
	uintptr_t hidden;
	volatile int ready;
	volatile int stop;
};

static NOINLINE void go_deep(struct deep_job *job)
{
	volatile uintptr_t array[8192];

	put(job->hidden, (void *)&array[100]);
}

static void *leave_below_and_wait(void *argument)
{
	struct deep_job *job = argument;

	go_deep(job);
	job->ready = 1;
	while (!job->stop)
		__asm__ volatile("pause");
	return NULL;
}

TEST(block_known_to_the_dead_part_of_a_threads_stack_only)
{
	struct deep_job job = {.hidden = hide_block(64)};
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, leave_below_and_wait, &job), 0);
	while (!job.ready)
		usleep(1000);
	collect();
	CHECK(!is_kept(job.hidden));
	job.stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* Their stacks are cached by libc, with everything on them. */
static void *hold_and_end(void *argument)
{
	volatile uintptr_t array[64];
	uintptr_t *hidden = argument;

	*hidden = hide_block_dirty(64);
	put(*hidden, (void *)&array[20]);
	return NULL;
}

TEST(blocks_known_to_finished_threads_only)
{
	enum { COUNT = 1000, AT_ONCE = 50 };
	static uintptr_t hidden[COUNT];
	int kept;

	for (int i = 0; i < COUNT; i += AT_ONCE) {
		pthread_t threads[AT_ONCE];

		for (int j = 0; j < AT_ONCE; j++)
			CHECK_EQ(
				pthread_create(&threads[j], NULL, hold_and_end, &hidden[i + j]), 0);
		for (int j = 0; j < AT_ONCE; j++)
			CHECK_EQ(pthread_join(threads[j], NULL), 0);
	}
	collect();
	kept = count_kept(hidden, COUNT);
	CHECK_MSG(kept <= COUNT / 100, "%d of %d are kept", kept, COUNT);
}

TEST(block_known_to_memory_that_is_gone)
{
	uintptr_t hidden = hide_block(64), other = hide_block(64);
	char *memory =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	put(hidden, memory);
	put(other, memory + 2 * PAGE);
	CHECK_EQ(munmap(memory, PAGE), 0);
	CHECK_EQ(madvise(memory + 2 * PAGE, PAGE, MADV_DONTNEED), 0);
	collect();
	CHECK(!is_kept(hidden));
	CHECK(!is_kept(other));
}

TEST(block_whose_address_is_in_a_file_only)
{
	char path[] = "/tmp/gasket-must-die-XXXXXX";
	int file = mkstemp(path);
	static char page[PAGE];
	uintptr_t hidden = hide_block(64);

	put(hidden, page);
	CHECK_EQ(write(file, page, PAGE), PAGE);
	memset(page, 0, PAGE);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0) != MAP_FAILED);
	unlink(path);
	collect();
	CHECK(!is_kept(hidden));
}

TEST(block_reached_by_an_unreached_large_block_only)
{
	uintptr_t holder = hide_block(3 << 20), hidden = hide_block(64);

	put_in_block(hidden, holder, 1 << 20);
	collect();
	CHECK(!is_kept(hidden));
	CHECK(!is_kept(holder));
}

/* ---- what earlier owners left at the end of a slot, which its owner did not ask for ---- */

/* Makes blocks of `size` in slots that other blocks, of `other` bytes, had before them: in each word of those stood the address of a hidden one. */
static NOINLINE void make_slots_of_others(
	const uintptr_t *hidden, char **blocks, int count, size_t other, size_t size)
{
	for (int i = 0; i < count; i++) {
		blocks[i] = malloc(other);
		for (size_t at = 0; at + sizeof(uintptr_t) <= other; at += sizeof(uintptr_t))
			put(hidden[i], blocks[i] + at);
	}
	for (int i = 0; i < count; i++)
		free(blocks[i]);
	memset(blocks, 0, (size_t)count * sizeof(*blocks));
	collect();
	for (int i = 0; i < count; i++) {
		blocks[i] = malloc(size);
		memset(blocks[i], 0x55, size);
	}
}

static NOINLINE void check_ends(size_t other, size_t size)
{
	enum { COUNT = 40 };
	static uintptr_t hidden[COUNT];
	static uintptr_t *held[COUNT];
	static char *blocks[COUNT];

	for (int i = 0; i < COUNT; i++) {
		hidden[i] = hide_block(64);
		put(hidden[i], &held[i]);
	}
	make_slots_of_others(hidden, blocks, COUNT, other, size);
	memset(held, 0, sizeof(held));
	collect();
	CHECK_LE(count_kept(hidden, COUNT), 2);
}

TEST(block_known_to_the_end_of_a_slot, .options = "scribble=0")
{
	check_ends(10232, 9300);
}

TEST(block_known_to_the_end_of_a_large_block, .options = "scribble=0")
{
	check_ends(127 << 10, 110 << 10);
}

/* ... unless that is the program's: it has asked how much it may use. */
TEST(block_in_the_usable_end_of_a_large_block_lives)
{
	uintptr_t hidden = hide_block(64);
	static char *large;

	large = malloc(110 << 10);
	put(hidden, large + (malloc_usable_size(large) & ~(size_t)7) - 8);
	collect();
	CHECK(is_kept(hidden));
}

/* ... or belongs to the next block, of the same span but longer. */
TEST(block_in_the_end_of_a_large_block_after_a_shorter_one_lives,
	.options = "free=trust:stacks=off:collector=stw")
{
	uintptr_t hidden = hide_block(64);
	static char *large;
	char *volatile shorter = malloc(110 << 10);

	free(shorter);
	large = malloc(127 << 10);
	CHECK_EQ((void *)large, (void *)shorter);
	put(hidden, large + (127 << 10) - 8);
	collect();
	CHECK(is_kept(hidden));
}

/* Makes blocks full of dirt, frees them while `kept` may still name them, and has a cycle run. */
static NOINLINE void free_dirt(char **kept, int count)
{
	for (int i = 0; i < count; i++) {
		kept[i] = malloc(DIRT_BYTES);
		memset(kept[i], 0x55, DIRT_BYTES);
	}
	for (int i = 0; i < count; i++)
		free(kept[i]);
	collect();
}

/* Of new blocks, those in which there is something. */
static NOINLINE int count_dirty(int count)
{
	int dirty = 0;

	for (int i = 0; i < count; i++)
		dirty += *(volatile char *)malloc(DIRT_BYTES) != 0;
	return dirty;
}

/* Once much of what was freed is still named, the reason may be what earlier owners left in blocks: slots are cleared from then on. */
TEST(slots_are_cleared_when_much_that_was_freed_is_kept, .options = "scribble=0")
{
	static char *kept[DIRT_BLOCKS];

	free_dirt(kept, FEW_DIRT_BLOCKS);
	memset(kept, 0, sizeof(kept));
	collect();
	CHECK_GT(count_dirty(FEW_DIRT_BLOCKS / 2), 0);
	free_dirt(kept, DIRT_BLOCKS);
	memset(kept, 0, sizeof(kept));
	collect();
	CHECK_EQ(count_dirty(FEW_DIRT_BLOCKS), 0);
}
