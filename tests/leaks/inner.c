/*
 * inner --list
 * inner NAME leak|fixed [wait|fork|limit]: blocks that are reached by words into their middle, or just behind them. With `wait` the program goes on until its input ends; with `fork`
 * it makes children meanwhile, each of which must see its own memory; with `limit` it ends with little room for more memory.
 *
 * Of each case it is known how many blocks are possible leaks, and how many more those alone hold; with `fixed` a word more names their first bytes. Cases of which nothing is
 * possible name blocks in ways of which it is known that they are no accident.
 */
#include "tests/leaks/inner.h"

#include "tests/leaks/programs.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 10, MEMBERS = 20, LARGE_BYTES = 3 << 20 };

struct node {
	long number;
	struct node *next;
	char text[48];
};

struct link {
	struct link *next, *previous;
};

struct member {
	char name[64];
	struct link link;
};

static char *inner[MEMBERS];
static char *whole[MEMBERS]; // exact words, of the corrected case
static struct node *chain;
static struct link members = {&members, &members};
static uintptr_t tagged[BLOCKS];
static __thread char *inner_of_thread;

void __lsan_ignore_object(const void *block) __attribute__((weak));

/* The site of all that is possible. */
KEEP static void *block_create(size_t bytes)
{
	return calloc(1, bytes);
}

KEEP static struct node *chain_create(void)
{
	struct node *front = NULL;

	TIMES(3)
	{
		struct node *node = calloc(1, sizeof(*node));

		node->next = front;
		front = node;
	}
	return front;
}

/* ---- possible ---- */

KEEP static void hold(int place, char *block, size_t offset, bool fixed)
{
	inner[place] = block + offset;
	if (fixed)
		whole[place] = block;
}

KEEP static void interior(bool fixed)
{
	for (volatile int i = 0; i < BLOCKS; i = i + 1)
		hold(i, block_create(200), 40, fixed);
}

KEEP static void past_end(bool fixed)
{
	for (volatile int i = 0; i < BLOCKS; i = i + 1)
		hold(i, block_create(100), 100, fixed);
}

KEEP static void of_a_thread(bool fixed)
{
	char *block = block_create(300);

	inner_of_thread = block + 88;
	use(&inner_of_thread);
	if (fixed)
		whole[0] = block;
}

KEEP static void large(bool fixed)
{
	hold(0, block_create(LARGE_BYTES), LARGE_BYTES / 2, fixed);
}

KEEP static void holds_a_chain(bool fixed)
{
	char *block = block_create(200);

	*(struct node **)(void *)block = chain_create();
	hold(0, block, 40, fixed);
}

/* The words that hold the chain's blocks are exact, but they stand in a block that is possible; one of them is held by a second such block. */
KEEP static void held_by_two(bool fixed)
{
	char *one = block_create(200), *other = block_create(200);
	struct node *front = chain_create();

	*(struct node **)(void *)one = front;
	*(struct node **)(void *)other = front->next;
	hold(0, one, 40, fixed);
	hold(1, other, 40, fixed);
}

/* What the lists of kernels are like: words name the link in the middle. */
KEEP static void list_of_links(bool fixed)
{
	for (volatile int i = 0; i < MEMBERS; i = i + 1) {
		struct member *member = block_create(sizeof(*member));

		member->link.next = members.next;
		member->link.previous = &members;
		members.next->previous = &member->link;
		members.next = &member->link;
		if (fixed)
			whole[i] = member->name;
	}
}

/* ---- not possible ---- */

KEEP static void both(bool fixed)
{
	(void)fixed;
	for (volatile int i = 0; i < BLOCKS; i = i + 1)
		hold(i, block_create(200), 40, true);
}

/* The inner word is met first, and the exact one stands in another block. */
KEEP static void both_by_way_of_a_block(bool fixed)
{
	char *block = block_create(200);

	(void)fixed;
	inner[0] = block + 40;
	chain = chain_create();
	chain->next->next->next = (struct node *)(void *)block;
}

KEEP static void tags(bool fixed)
{
	(void)fixed;
	for (volatile int i = 0; i < BLOCKS; i = i + 1)
		tagged[i] = (uintptr_t)block_create(200) |
			    (i < 5 ? (uintptr_t)1 + i : (uintptr_t)i << 56);
	use(tagged);
}

KEEP static void aligned(bool fixed)
{
	(void)fixed;
	for (volatile int i = 0; i < BLOCKS; i = i + 1)
		whole[i] = aligned_alloc((size_t)16 << i, (size_t)16 << i);
}

KEEP static void size_in_front(bool fixed)
{
	(void)fixed;
	for (volatile int i = 0; i < BLOCKS; i = i + 1) {
		size_t front = i < 5 ? 8 : 16;
		size_t *block = block_create(200 + front);

		*block = 200;
		inner[i] = (char *)block + front;
	}
}

/* Length and capacity as two words of 4 or 8 bytes, then a byte, then the text. */
KEEP static void strings_with_lengths(bool fixed)
{
	uint32_t *small = block_create(300);
	uint64_t *large = block_create(300);

	(void)fixed;
	small[0] = 0;
	small[1] = 250;
	large[0] = 7;
	large[1] = 250;
	inner[0] = (char *)small + 9;
	inner[1] = (char *)large + 17;
}

/* Length, capacity, count of references. */
KEEP static void old_string(bool fixed)
{
	uint64_t *block = block_create(25 + 40);

	(void)fixed;
	block[0] = 12;
	block[1] = 40;
	inner[0] = (char *)(block + 3);
}

/* What stands in front is the collector's of CPython; a type of the program's own is an object, too. */
KEEP static void python_objects(bool fixed)
{
	static uintptr_t type_of_types[8];
	uintptr_t *type = block_create(400), *object = block_create(64), *other = block_create(80);

	(void)fixed;
	type[2] = other[4] = 1;
	type[3] = other[5] = (uintptr_t)type_of_types;
	object[2] = 70000;
	object[3] = (uintptr_t)(type + 2);
	inner[0] = (char *)(object + 2);
	inner[1] = (char *)(other + 4);
}

KEEP static void front_with_its_length(bool fixed)
{
	char *block = block_create(200);

	(void)fixed;
	block[39] = 40;
	inner[0] = block + 40;
}

/* The freed one is told of as dangling, and what it holds is held. */
KEEP static void held_by_a_freed_one(bool fixed)
{
	char *block = block_create(200);

	(void)fixed;
	*(struct node **)(void *)(block + 64) = chain_create();
	hold(0, block, 40, false);
	free(block);
}

KEEP static void ignored(bool fixed)
{
	char *block = block_create(200);

	(void)fixed;
	*(struct node **)(void *)block = chain_create();
	hold(0, block, 40, false);
	__lsan_ignore_object(block);
}

/* Memory whose protection was changed is read in another way. */
KEEP static void held_by_a_protected_one(bool fixed)
{
	char *large = block_create(LARGE_BYTES), *page = large + (8192 - (uintptr_t)large % 4096);

	(void)fixed;
	whole[0] = large;
	*(struct node **)(void *)page = chain_create();
	*(struct node **)(void *)(large + LARGE_BYTES / 2) = chain_create();
	if (mprotect(page, 4096, PROT_READ) != 0)
		abort();
}

/* ---- freed, and still referred to ---- */

KEEP static void freed_in_mapping(void)
{
	void **page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		abort();
	page[5] = block_create(120);
	free(page[5]);
}

KEEP static void freed_in_kernel(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), ends[2];

	event.data.ptr = block_create(130);
	if (epoll < 0 || pipe(ends) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0)
		abort();
	free(event.data.ptr);
}

static volatile int is_spinning;

KEEP static void *freed_in_register(void *argument)
{
	void *kept = block_create(140);

	free(kept);
	is_spinning = 1;
	for (;;)
		__asm__ volatile("" : "+r"(kept));
	return argument;
}

KEEP static void freed(bool fixed)
{
	pthread_t thread;

	(void)fixed;
	freed_in_mapping();
	freed_in_kernel();
	if (pthread_create(&thread, NULL, freed_in_register, NULL) != 0)
		abort();
	pthread_detach(thread);
	while (!is_spinning)
		;
}

#define CASE(name, possible, held) \
	{ \
#name, name, possible, held \
	}

static const struct {
	const char *name;
	void (*run)(bool fixed);
	unsigned possible, held;
} cases[] = {
	CASE(interior, BLOCKS, 0),
	CASE(past_end, BLOCKS, 0),
	CASE(of_a_thread, 1, 0),
	CASE(large, 1, 0),
	CASE(holds_a_chain, 1, 3),
	CASE(held_by_two, 2, 3),
	CASE(list_of_links, 1, MEMBERS - 1),
	CASE(both, 0, 0),
	CASE(both_by_way_of_a_block, 0, 0),
	CASE(tags, 0, 0),
	CASE(aligned, 0, 0),
	CASE(size_in_front, 0, 0),
	CASE(strings_with_lengths, 0, 0),
	CASE(old_string, 0, 0),
	CASE(python_objects, 0, 0),
	CASE(front_with_its_length, 0, 0),
	CASE(held_by_a_freed_one, 0, 0),
	CASE(ignored, 0, 0),
	CASE(held_by_a_protected_one, 0, 0),
	CASE(freed, 0, 0),
	CASE(inner_array, 0, 0),
	CASE(inner_aligned_array, 0, 0),
	CASE(inner_second_base, 0, 0),
	CASE(inner_virtual_base, 0, 0),
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static int chosen;
static bool is_fixed;

static void run(void)
{
	cases[chosen].run(is_fixed);
}

/* Leaves room for little more than there is: not for what a copy of the process has to tell. The first limit has reservations given back. */
static void limit_memory(void)
{
	const size_t room = 12 << 20;
	struct rlimit limit = {8ul << 30, RLIM_INFINITY};
	FILE *file;
	size_t pages = 0;

	if (setrlimit(RLIMIT_AS, &limit) != 0 || !(file = fopen("/proc/self/statm", "r")))
		abort();
	if (fscanf(file, "%zu", &pages) != 1)
		abort();
	fclose(file);
	limit.rlim_cur = pages * 4096 + room;
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		abort();
}

static void make_child(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		for (int i = 0; i < 1000; i++)
			free(block_create(1 + (size_t)i));
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		abort();
}

static void go_on(bool forks)
{
	struct pollfd input = {.events = POLLIN};
	char byte;

	for (;;) {
		if (forks)
			make_child();
		if (poll(&input, 1, forks ? 0 : -1) > 0 && read(0, &byte, 1) <= 0)
			return;
	}
}

int main(int count, char **arguments)
{
	if (count < 3) {
		for (int i = 0; i < CASES; i++)
			printf("%s\t%u\t%u\n", cases[i].name, cases[i].possible, cases[i].held);
		return 0;
	}
	while (chosen < CASES && strcmp(cases[chosen].name, arguments[1]) != 0)
		chosen++;
	if (chosen == CASES)
		return 2;
	is_fixed = !strcmp(arguments[2], "fixed");
	programs_run(run);
	if (count > 3 && !strcmp(arguments[3], "limit"))
		limit_memory();
	else if (count > 3 && write(1, "ready\n", 6) == 6)
		go_on(!strcmp(arguments[3], "fork"));
	use(inner);
	use(whole);
	use(chain);
	return 0;
}
