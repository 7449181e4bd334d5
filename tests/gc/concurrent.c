/*
 * The mark runs beside the program: whatever the program does meanwhile, nothing it can reach is taken back, and nothing of what it does fails. Each test has
 * a heap whose mark takes a while (a long list in random order) and goes on through several cycles; blocks that are taken back are overwritten.
 *
 * Built for each TIER that marks so.
 */
#include "tests/gc/beside.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum {
	TABLES = 64,
	SLOTS = 64, // of a table
	BIG_SLOTS = 1 << 17,
	WIDE_TABLES = 512,
	WIDE_BYTES = 2 << 20, // of a table, the front of which is used
	WIDE_SLOTS = 1 << 13,
	WIDE_NODES = 2000,
	WIDE_CYCLES = 8,
	PAGE_SLOTS = PAGE / sizeof(void *),
};

TEST(the_tier_is_used, .options = "gctrace=1", .contains = " " TIER " ")
{
	make_ballast();
	collect();
}

#if TRACKS
TEST(auto_marks_beside_the_program_what_would_take_long, .options = "collector=auto:gctrace=1",
	.contains = " concurrent ")
{
	make_ballast();
	collect();
}

TEST(auto_stops_the_world_where_that_is_short, .options = "collector=auto:gctrace=1",
	.contains = " stw ")
{
	collect();
}
#endif

/* ---- pointers that move ---- */

typedef void (*store_pointer)(struct node **place, struct node *node);

/* As read(2) does: the kernel writes. */
static void store_by_kernel(struct node **place, struct node *node)
{
	struct iovec from = {&node, sizeof(node)}, to = {place, sizeof(node)};

	CHECK_EQ(process_vm_writev(getpid(), &from, 1, &to, 1, 0), (ssize_t)sizeof(node));
}

/* One pointer to each node, in one of many blocks, or in another node; it moves on all the time, from blocks not yet read to such as were read. */
static void *move_pointers(uint64_t seed, store_pointer store)
{
	struct node ***tables = malloc(TABLES * sizeof(*tables));

	for (size_t i = 0; i < TABLES; i++) {
		tables[i] = calloc(SLOTS, sizeof(**tables));
		for (size_t j = 0; j < SLOTS; j++)
			tables[i][j] = make_node();
	}
	while (goes_on()) {
		struct node **from =
			&tables[random_step(&seed) % TABLES][random_step(&seed) % SLOTS];
		struct node **to = &tables[random_step(&seed) % TABLES][random_step(&seed) % SLOTS];
		struct node *node = *from, *other = *to;

		check_node(node);
		check_node(other);
		switch (random_step(&seed) % 8) {
		case 0: // another takes its place
			free(node);
			store(from, make_node());
			break;
		case 1: // behind another
			if (node && other && node != other && !other->peer) {
				store(&other->peer, node);
				store(from, NULL);
			}
			break;
		case 2: // and back
			if (other && other->peer && !node) {
				store(from, other->peer);
				store(&other->peer, NULL);
			}
			break;
		case 3: // the table moves
			from = realloc(tables[seed % TABLES], SLOTS * sizeof(*from));
			tables[seed % TABLES] = from;
			break;
		default:
			store(to, node);
			store(from, other);
		}
	}
	return NULL;
}

static void *move_plainly(void *seed)
{
	return move_pointers((uintptr_t)seed, store_plainly);
}

static void *move_by_kernel(void *seed)
{
	return move_pointers((uintptr_t)seed, store_by_kernel);
}

TEST(pointers_that_move_between_blocks)
{
	run_beside_cycles(move_plainly, THREADS);
}

TEST(pointers_that_the_kernel_writes)
{
	run_beside_cycles(move_by_kernel, THREADS);
}

#if CHECKS && TRACKS
/* The twin: what was written meanwhile is not read again. */
TEST(pointers_that_move_are_lost_if_written_pages_are_not_read, .options = "scan_off=written",
	.signal = SIGABRT, .limit_seconds = 120)
{
	cycles = LOST_WITHIN;
	run_beside_cycles(move_plainly, 1);
}
#endif

/*
 * Pointers that are on the stack for a while and then somewhere in a heap of many more ranges than are written in the time of a round: in each pause most of it
 * is cold, and a pointer that was in no place when that was read may have just come to lie there. The places are read late, behind the ballast.
 */
static void *move_far(void *argument)
{
	struct node ***volatile hidden_tables = malloc(WIDE_TABLES * sizeof(*hidden_tables));
	struct node *volatile held[WIDE_NODES];
	uintptr_t places[WIDE_NODES] = {0}; // inverted
	uint64_t seed = (uintptr_t)argument;
	struct ballast *last = ballast;

	while (last->next)
		last = last->next;
	last->payload[0] = (uintptr_t)hidden_tables;
	for (size_t i = 0; i < WIDE_TABLES; i++) {
		hidden_tables[i] = malloc(WIDE_BYTES);
		memset(hidden_tables[i], 0, WIDE_SLOTS * sizeof(**hidden_tables));
	}
	hidden_tables = (struct node ***)~(uintptr_t)hidden_tables;
	for (size_t i = 0; i < WIDE_NODES; i++)
		held[i] = make_node();
	while (goes_on()) {
		size_t i = random_step(&seed) % WIDE_NODES;
		struct node **place;

		if (places[i]) {
			place = (struct node **)~places[i];
			check_node(*place);
			held[i] = *place;
			store_plainly(place, NULL);
			places[i] = 0;
		} else {
			place = &((struct node ***)~(
				uintptr_t)hidden_tables)[random_step(&seed) % WIDE_TABLES]
							[random_step(&seed) % WIDE_SLOTS];
			check_node(held[i]);
			if (!*place) {
				store_plainly(place, held[i]);
				held[i] = NULL;
				places[i] = ~(uintptr_t)place;
			}
		}
		usleep(10);
	}
	return NULL;
}

TEST(pointers_that_move_where_nothing_was_written_lately)
{
	cycles = WIDE_CYCLES;
	run_beside_cycles(move_far, 1);
}

#if CHECKS && TRACKS
TEST(pointers_that_move_are_lost_if_cold_pages_are_not_looked_at, .options = "scan_off=cold",
	.exit_code = TEST_FAILED, .limit_seconds = 120)
{
	cycles = LOST_WITHIN;
	run_beside_cycles(move_far, 1);
}
#endif

/* A pointer that is in a register or on a stack most of the time. */
static void *hold_on_stack(void *argument)
{
	uint64_t seed = (uintptr_t)argument;
	struct node **table = calloc(SLOTS, sizeof(*table));

	for (size_t i = 0; i < SLOTS; i++)
		table[i] = make_node();
	while (goes_on()) {
		size_t i = random_step(&seed) % SLOTS;
		struct node *volatile held = table[i];

		store_plainly(&table[i], NULL);
		usleep(100);
		check_node(held);
		store_plainly(&table[i], held);
	}
	return NULL;
}

TEST(pointers_that_are_on_stacks)
{
	run_beside_cycles(hold_on_stack, THREADS);
}

static void *short_thread(void *argument)
{
	struct node **table = argument, *node = *table;

	store_plainly(table, NULL);
	usleep(50);
	check_node(node);
	return node;
}

/* The result that was not joined yet is known to the thread's descriptor alone. */
static void *make_threads(void *seed)
{
	struct node **table = calloc(1, sizeof(*table));

	(void)seed;
	*table = make_node();
	while (goes_on()) {
		pthread_t id;
		void *node;

		CHECK_EQ(pthread_create(&id, NULL, short_thread, table), 0);
		CHECK_EQ(pthread_join(id, &node), 0);
		check_node(node);
		store_plainly(table, node);
	}
	return NULL;
}

TEST(pointers_that_threads_take_with_them)
{
	run_beside_cycles(make_threads, 2);
}

/* ---- large blocks ---- */

/* Large blocks full of pointers grow, shrink and move. */
static void *resize_large_blocks(void *argument)
{
	uint64_t seed = (uintptr_t)argument;
	size_t slots = BIG_SLOTS;
	struct node **table = calloc(slots, sizeof(*table));

	while (goes_on()) {
		size_t wanted = BIG_SLOTS / 4 + random_step(&seed) % (8 * BIG_SLOTS);
		size_t shared = wanted < slots ? wanted : slots;

		for (int i = 0; i < 100; i++) {
			size_t from = random_step(&seed) % (BIG_SLOTS / 4),
			       to = random_step(&seed) % shared;
			struct node *node = table[from];

			if (!node)
				store_plainly(&table[from], make_node());
			else if (!table[to]) {
				store_plainly(&table[to], node);
				store_plainly(&table[from], NULL);
			}
		}
		for (size_t i = shared; i < slots; i++) {
			free(table[i]);
			table[i] = NULL;
		}
		// the last word of each page names its place: pages that were lost hold nothing
		for (size_t i = PAGE_SLOTS - 1; i < shared; i += PAGE_SLOTS) {
			free(table[i]);
			table[i] = (struct node *)(i << 1 | 1);
		}
		table = realloc(table, wanted * sizeof(*table));
		CHECK_NOT_NULL(table);
		for (size_t i = PAGE_SLOTS - 1; i < shared; i += PAGE_SLOTS) {
			CHECK_EQ((uintptr_t)table[i], i << 1 | 1);
			table[i] = NULL;
		}
		if (wanted > slots)
			memset(table + slots, 0, (wanted - slots) * sizeof(*table));
		slots = wanted;
		for (size_t i = 0; i < slots; i++)
			check_node(table[i]);
	}
	return NULL;
}

TEST(pointers_in_large_blocks_that_are_resized)
{
	run_beside_cycles(resize_large_blocks, 2);
}

/* New memory all the time: spans are born, and the heap grows beyond what was protected. */
static void *grow(void *argument)
{
	uint64_t seed = (uintptr_t)argument;
	struct node *chain = NULL;

	while (goes_on()) {
		struct node *node = make_node();
		void *block = malloc(random_step(&seed) % 200000);

		node->peer = chain;
		chain = node;
		free(block);
		if (random_step(&seed) % 100000 == 0)
			chain = NULL;
		for (int i = 0; i < 10 && node; i++, node = node->peer)
			check_node(node);
	}
	for (; chain; chain = chain->peer)
		check_node(chain);
	return NULL;
}

TEST(blocks_that_are_born_meanwhile)
{
	run_beside_cycles(grow, 2);
}

/* ---- pages that are taken away ---- */

static void *change_mappings(void *argument)
{
	uint64_t seed = (uintptr_t)argument;
	void *small[64];

	while (goes_on()) {
		char *block;
		int kind = (int)(random_step(&seed) % 5);

		CHECK_EQ(posix_memalign((void **)&block, PAGE, 16 * PAGE), 0);
		memset(block, 1, 16 * PAGE);
		for (int i = 0; i < 64; i++)
			small[i] = malloc(200);
		switch (kind) {
		case 0:
			CHECK_EQ(mprotect(block + PAGE, 4 * PAGE, PROT_NONE), 0);
			break;
		case 1:
			CHECK_EQ(munmap(block + PAGE, 4 * PAGE), 0);
			break;
		case 2:
			CHECK_EQ(mmap(block + PAGE, 4 * PAGE, PROT_NONE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
				(void *)(block + PAGE));
			break;
		case 3:
			CHECK_EQ(madvise(block + PAGE, 4 * PAGE, MADV_DONTNEED), 0);
			break;
		default: // installs guards, since Linux 6.13
			CHECK(madvise(block + PAGE, 4 * PAGE, 102) == 0 || errno == EINVAL);
			CHECK(madvise(block + PAGE, 4 * PAGE, 103) == 0 || errno == EINVAL);
		}
		usleep(random_step(&seed) % 200);
		if (kind == 1)
			CHECK_EQ(mmap(block + PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
				(void *)(block + PAGE));
		else
			CHECK_EQ(mprotect(block + PAGE, 4 * PAGE, PROT_READ | PROT_WRITE), 0);
		block[2 * PAGE] = 1;
		free(block);
		for (int i = 0; i < 64; i++)
			free(small[i]);
	}
	return NULL;
}

TEST(pages_that_the_program_takes_away)
{
	run_beside_cycles(change_mappings, 2);
}

/* A page of small blocks that nobody may touch: there are verdicts all the same, and what it holds counts. */
TEST(a_protected_page_of_small_blocks)
{
	static void *blocks[4096];
	char *page;
	uintptr_t hidden = 0;

	for (int i = 0; i < 4096; i++)
		blocks[i] = calloc(1, 112);
	page = (char *)(((uintptr_t)blocks[2048] + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
	for (int i = 0; i < 4096; i++) {
		if ((char *)blocks[i] >= page && (char *)blocks[i] < page + PAGE - 112) {
			hidden = hide_block(
				64); // not before: cycles run all the time, and nothing held it
			put(hidden, blocks[i]);
			break;
		}
	}
	CHECK_EQ(mprotect(page, PAGE, PROT_NONE), 0);
	collect();
	CHECK(is_kept(hidden));
	CHECK_EQ(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
}

#if TRACKS
/* The kernel lets one watch a page: then it is the program, and cycles stop the world. */
TEST(a_program_that_watches_its_own_blocks, .options = "gctrace=1", .contains = " stw ")
{
	uint64_t api[3] = {0xaa, 1 << 15, 0};
	uint64_t range[4] = {0, 16 * PAGE, 2, 0};
	uintptr_t hidden = hide_block(64);
	static char *block;
	long file;

	need_tracking();
	file = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
	CHECK_GE(file, 0);
	CHECK_EQ(posix_memalign((void **)&block, PAGE, 16 * PAGE), 0);
	range[0] = (uintptr_t)block;
	CHECK_EQ(syscall(SYS_ioctl, file, 0xc018aa3f, api), 0);
	CHECK_EQ(syscall(SYS_ioctl, file, 0xc020aa00, range), 0);
	put(hidden, block);
	collect();
	CHECK(is_kept(hidden));
}

#endif

/* ---- processes ---- */

static void *make_children(void *argument)
{
	struct node *node = make_node();

	(void)argument;
	while (goes_on()) {
		pid_t child = fork();
		int status;

		CHECK_GE(child, 0);
		if (child == 0) {
			for (int i = 0; i < 1000; i++)
				free(make_node());
			collect();
			check_node(node);
			_exit(0);
		}
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK_EQ(status, 0);
	}
	return NULL;
}

TEST(children_that_are_made_meanwhile, .limit_seconds = 120)
{
	run_beside_cycles(make_children, 1);
}

/* The end of the process does not wait for the mark. */
TEST(an_exit_in_the_middle)
{
	make_ballast();
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			free(malloc(100));
			usleep((useconds_t)i * 3000);
			exit(0);
		}
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK_EQ(status, 0);
	}
}
