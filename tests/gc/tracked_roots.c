/*
 * Memory of the program's own that is large enough to be read beside it: what is stored there while the heap is marked, what becomes of its mapping meanwhile, and
 * pages that were seen to hold nothing. Most nodes are referred to by one word of an arena, and by a stack while they are carried to another.
 */
#include "tests/gc/beside.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
	ARENA_BYTES = 6 << 20,
	CELL_BYTES = 64, // room for one pointer, and for none across its end but its own
	CELLS = ARENA_BYTES / CELL_BYTES - 1,
	CARRIED = 2000, // nodes of an arena
	PART_BYTES = 4 * PAGE,
	PARTS = ARENA_BYTES / PART_BYTES - 1,
	PART_CELLS = PART_BYTES / CELL_BYTES,
	GROWTHS = 40,
	GROWTH_BYTES = 32 << 20,
};

struct arena {
	char *start;
	size_t offset; // of the pointer in its cell: where code may have one, on two pages
	int protection;
	uint64_t seed;
	void *grown[GROWTHS];
	size_t grown_count;
	uint32_t cell_of[CARRIED];
	uint8_t is_used[CELLS];
};

static struct arena arenas[THREADS];

static char *place_of(const struct arena *arena, uint32_t cell)
{
	return arena->start + (size_t)cell * CELL_BYTES + arena->offset;
}

static struct node *load(const struct arena *arena, uint32_t cell)
{
	struct node *node;

	memcpy(&node, place_of(arena, cell), sizeof(node));
	return node;
}

static void store(const struct arena *arena, uint32_t cell, struct node *node)
{
	memcpy(place_of(arena, cell), &node, sizeof(node));
	__asm__ volatile("" : : : "memory");
}

/* In a twin no: what is freed on its way to being taken back proves that pointers are hidden, and so saves the rest. */
static bool frees_nodes = true;

static NOINLINE void carry_node(struct arena *arena)
{
	size_t i = random_step(&arena->seed) % CARRIED;
	uint32_t from = arena->cell_of[i], to = (uint32_t)(random_step(&arena->seed) % CELLS);
	struct node *volatile node;

	if (arena->is_used[to])
		return;
	node = load(arena, from);
	check_node(node);
	store(arena, from, NULL);
	arena->is_used[from] = 0;
	if (random_step(&arena->seed) % 8 == 0)
		usleep(20);
	if (frees_nodes && random_step(&arena->seed) % 8 == 0) {
		free(node);
		node = make_node();
	}
	store(arena, to, node);
	arena->is_used[to] = 1;
	arena->cell_of[i] = to;
}

static NOINLINE void fill(struct arena *arena)
{
	for (uint32_t i = 0; i < CARRIED; i++) {
		uint32_t cell = i * (CELLS / CARRIED);

		store(arena, cell, make_node());
		arena->is_used[cell] = 1;
		arena->cell_of[i] = cell;
	}
}

static void carry_nodes(struct arena *arena, void (*between)(struct arena *arena))
{
	fill(arena);
	while (goes_on()) {
		for (int i = 0; i < 20; i++)
			carry_node(arena);
		if (between)
			between(arena);
	}
	for (size_t i = 0; i < CARRIED; i++)
		check_node(load(arena, arena->cell_of[i]));
}

static struct arena *make_arena(void *argument, int protection, size_t offset)
{
	struct arena *arena = &arenas[(uintptr_t)argument - 1];

	arena->seed = (uintptr_t)argument;
	arena->protection = protection;
	arena->offset = offset;
	arena->start = mmap(NULL, ARENA_BYTES, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(arena->start != MAP_FAILED);
	return arena;
}

static void *carry_through_data(void *argument)
{
	carry_nodes(make_arena(argument, PROT_READ | PROT_WRITE, 0), NULL);
	return NULL;
}

TEST(pointers_in_an_arena)
{
	run_beside_cycles(carry_through_data, THREADS);
}

#if CHECKS
/* The twin: what was written meanwhile, or since the page was seen to hold nothing, is not read again. */
TEST(pointers_in_an_arena_are_lost_if_written_pages_are_not_read,
	.options = "scan_off=written_roots", .exit_code = TEST_FAILED, .limit_seconds = 120)
{
	cycles = LOST_WITHIN;
	frees_nodes = false;
	run_beside_cycles(carry_through_data, THREADS);
}
#endif

static void *carry_through_code(void *argument)
{
	carry_nodes(make_arena(argument, PROT_READ | PROT_WRITE | PROT_EXEC, CELL_BYTES - 3), NULL);
	return NULL;
}

TEST(pointers_in_code)
{
	run_beside_cycles(carry_through_code, THREADS);
}

static void *carry_through_file(void *argument)
{
	struct arena *arena = make_arena(argument, PROT_READ | PROT_WRITE, 0);
	char name[] =
		"/tmp/gasket-arena.XXXXXX"; // without a name it is shared memory to the collector
	int file = mkstemp(name);

	CHECK_GE(file, 0);
	CHECK_EQ(ftruncate(file, ARENA_BYTES), 0);
	CHECK_EQ(mmap(arena->start, ARENA_BYTES, arena->protection, MAP_PRIVATE | MAP_FIXED, file,
			 0),
		(void *)arena->start);
	close(file);
	carry_nodes(arena, NULL);
	unlink(name);
	return NULL;
}

TEST(pointers_in_the_private_copy_of_a_file)
{
	run_beside_cycles(carry_through_file, THREADS);
}

/* ---- mappings that change ---- */

/* All nodes of some pages are on the stack while there is other memory in their place. */
static NOINLINE void renew_part(struct arena *arena, char *part, int how)
{
	struct node *volatile nodes[PART_CELLS];
	uint32_t first = (uint32_t)((size_t)(part - arena->start) / CELL_BYTES);

	for (uint32_t i = 0; i < PART_CELLS; i++) {
		nodes[i] = load(arena, first + i);
		check_node(nodes[i]);
	}
	if (how == 0) // installs guards, since Linux 6.13
		CHECK(madvise(part, PART_BYTES, 102) == 0 || errno == EINVAL);
	else if (how == 1)
		CHECK_EQ(mmap(part, PART_BYTES, arena->protection,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			(void *)part);
	else
		CHECK_EQ(madvise(part, PART_BYTES, MADV_DONTNEED), 0);
	usleep(50);
	if (how == 0)
		CHECK(madvise(part, PART_BYTES, 103) == 0 || errno == EINVAL);
	for (uint32_t i = 0; i < PART_CELLS; i++)
		store(arena, first + i, nodes[i]);
}

static void move_part(char *from, char *to, int flags)
{
	CHECK_EQ(mremap(from, PART_BYTES, PART_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to),
		(void *)to);
}

/* By way of a third place. */
static void exchange_parts(struct arena *arena, char *part)
{
	char *other = arena->start + random_step(&arena->seed) % PARTS * PART_BYTES;
	char *third = mmap(NULL, PART_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t first = (uint32_t)((size_t)(part - arena->start) / CELL_BYTES);
	uint32_t second = (uint32_t)((size_t)(other - arena->start) / CELL_BYTES);

	CHECK(third != MAP_FAILED);
	if (part == other) {
		munmap(third, PART_BYTES);
		return;
	}
	move_part(part, third, MREMAP_DONTUNMAP);
	usleep(50);
	move_part(other, part, MREMAP_DONTUNMAP);
	move_part(third, other, 0);
	for (uint32_t i = 0; i < PART_CELLS; i++) {
		uint8_t used = arena->is_used[first + i];

		arena->is_used[first + i] = arena->is_used[second + i];
		arena->is_used[second + i] = used;
	}
	for (size_t i = 0; i < CARRIED; i++) {
		uint32_t cell = arena->cell_of[i];

		if (cell >= first && cell < first + PART_CELLS)
			arena->cell_of[i] = cell - first + second;
		else if (cell >= second && cell < second + PART_CELLS)
			arena->cell_of[i] = cell - second + first;
	}
}

static void change_part(struct arena *arena)
{
	char *part = arena->start + random_step(&arena->seed) % PARTS * PART_BYTES;

	switch (random_step(&arena->seed) % 5) {
	case 0:
		CHECK_EQ(mprotect(part, PART_BYTES, PROT_NONE), 0);
		usleep(50);
		CHECK_EQ(mprotect(part, PART_BYTES, arena->protection), 0);
		break;
	case 1: // code that is being written, and not
		CHECK_EQ(mprotect(part, PART_BYTES, PROT_READ | PROT_EXEC), 0);
		usleep(50);
		CHECK_EQ(mprotect(part, PART_BYTES, arena->protection), 0);
		break;
	case 2:
		exchange_parts(arena, part);
		break;
	default:
		renew_part(arena, part, (int)(random_step(&arena->seed) % 3));
	}
}

static void *carry_through_changes(void *argument)
{
	carry_nodes(make_arena(argument, PROT_READ | PROT_WRITE, 0), change_part);
	return NULL;
}

TEST(pointers_in_an_arena_whose_mappings_change)
{
	run_beside_cycles(carry_through_changes, THREADS);
}

static void *carry_through_changing_code(void *argument)
{
	carry_nodes(make_arena(argument, PROT_READ | PROT_WRITE | PROT_EXEC, 0), change_part);
	return NULL;
}

TEST(pointers_in_code_whose_mappings_change)
{
	run_beside_cycles(carry_through_changing_code, THREADS);
}

/* ---- pages that held nothing ---- */

/* Blocks come to lie where none could when the pages were read. */
static void grow(struct arena *arena)
{
	if (random_step(&arena->seed) % 64 == 0 && arena->grown_count < GROWTHS)
		arena->grown[arena->grown_count++] = malloc(GROWTH_BYTES);
}

static void *carry_and_grow(void *argument)
{
	carry_nodes(make_arena(argument, PROT_READ | PROT_WRITE, 0), grow);
	return NULL;
}

TEST(pointers_in_an_arena_while_the_heap_grows)
{
	run_beside_cycles(carry_and_grow, 1);
}

/* They hold something, but no pointer. */
static void touch_pages(struct arena *arena)
{
	make_ballast();
	for (size_t i = 0; i < ARENA_BYTES; i += PAGE)
		arena->start[i] = 1;
}

static bool a_page_that_held_nothing_keeps_a_block(void)
{
	struct arena *arena = make_arena((void *)1, PROT_READ | PROT_WRITE, 0);
	uintptr_t hidden;

	touch_pages(arena);
	collect();
	collect();
	hidden = hide_block(64);
	put(hidden, arena->start + ARENA_BYTES / 2);
	collect();
	collect();
	return is_kept(hidden);
}

TEST(a_page_that_held_nothing, .options = "interval_ms=0")
{
	CHECK(a_page_that_held_nothing_keeps_a_block());
}

#if CHECKS
TEST(a_page_that_held_nothing_loses_a_block_if_it_is_not_read_again,
	.options = "interval_ms=0:pause_max_ms=10000:scan_off=written_roots")
{
	CHECK(!a_page_that_held_nothing_keeps_a_block());
	_exit(0);
}
#endif

/* The kernel lets one watch a mapping: it is the program, which may begin at any time. */
TEST(a_program_that_watches_its_own_arena, .options = "interval_ms=0")
{
	struct arena *arena = make_arena((void *)1, PROT_READ | PROT_WRITE, 0);
	uint64_t api[3] = {0xaa, 1 << 15, 0};
	uint64_t range[4] = {(uintptr_t)arena->start, ARENA_BYTES, 2, 0};
	uintptr_t hidden;
	long file;

	touch_pages(arena);
	collect();
	file = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
	CHECK_GE(file, 0);
	CHECK_EQ(ioctl((int)file, 0xc018aa3f, api), 0);
	CHECK_EQ(ioctl((int)file, 0xc020aa00, range), 0);
	collect();
	hidden = hide_block(64);
	put(hidden, arena->start + 10 * PAGE);
	collect();
	CHECK(is_kept(hidden));
}

/* In a child nobody watches what its parent had watched. */
TEST(an_arena_in_a_child, .options = "interval_ms=0")
{
	struct arena *arena = make_arena((void *)1, PROT_READ | PROT_WRITE, 0);
	int status;
	pid_t child;

	touch_pages(arena);
	collect();
	child = fork();
	CHECK_GE(child, 0);
	if (child == 0) {
		for (int i = 0; i < 8; i++) {
			uintptr_t hidden = hide_block(64);

			put(hidden, arena->start + i * 10 * PAGE);
			collect();
			CHECK(is_kept(hidden));
		}
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}
