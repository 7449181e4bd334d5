/*
 * The readers of /proc: mappings by kind, pages with contents by both ways, reads that cannot fault, tasks.
 */
#include "core/os/maps.h"
#include "core/os/pages.h"
#include "core/os/proc.h"
#include "tests/harness/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char *map_private(size_t bytes, int protection, int flags)
{
	char *memory = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static struct maps read_maps(void)
{
	struct maps maps = {0};

	CHECK(proc_open());
	CHECK(maps_reserve(&maps));
	CHECK(maps_read(&maps));
	return maps;
}

static int kind_at(const void *address)
{
	struct maps maps = read_maps();
	const struct mapping *mapping = maps_find(&maps, (uintptr_t)address);

	CHECK_NOT_NULL(mapping);
	return mapping->kind;
}

/* Runs of pages found, as page numbers from a base. */
struct found {
	uintptr_t base;
	size_t pages;
	size_t runs;
	uintptr_t first;
	uintptr_t last_end;
};

static bool note_run(uintptr_t start, uintptr_t end, void *argument)
{
	struct found *found = argument;

	CHECK_GE(start, found->last_end);
	if (found->runs++ == 0)
		found->first = (start - found->base) / PAGE;
	found->pages += (end - start) / PAGE;
	found->last_end = end;
	return true;
}

static struct found find_pages(const void *start, size_t bytes, enum page_choice choice)
{
	struct found found = {.base = (uintptr_t)start};

	CHECK(proc_open());
	CHECK(pages_for_each((uintptr_t)start, (uintptr_t)start + bytes, choice, note_run, &found));
	return found;
}

TEST(mappings_are_told_by_kind)
{
	static char data[] = "x";
	int memfd = (int)syscall(SYS_memfd_create, "name", 0);
	char *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *file;
	int local;

	CHECK_EQ(ftruncate(memfd, PAGE), 0);
	file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, memfd, 0);
	CHECK_EQ(kind_at(&local), MAPPING_STACK);
	CHECK_EQ(kind_at(data), MAPPING_FILE);
	CHECK_EQ(kind_at((void *)kind_at), MAPPING_FILE);
	CHECK_EQ(kind_at(map_private(PAGE, PROT_NONE, 0)), MAPPING_ANONYMOUS);
	CHECK_EQ(kind_at(shared), MAPPING_SHMEM);
	CHECK_EQ(kind_at(file), MAPPING_SHMEM);
}

TEST(mapping_tells_its_bounds_and_rights)
{
	char *memory = map_private(3 * PAGE, PROT_READ | PROT_EXEC, 0);
	struct maps maps = read_maps();
	const struct mapping *mapping = maps_find(&maps, (uintptr_t)memory + PAGE);

	CHECK_NOT_NULL(mapping);
	CHECK_EQ(mapping->protection, PROT_READ | PROT_EXEC);
	CHECK_LE(mapping->start, (uintptr_t)memory);
	CHECK_GE(mapping->end, (uintptr_t)memory + 3 * PAGE);
	CHECK(!mapping->shared);
	CHECK_NULL(maps_find(&maps, 0));
}

TEST(many_mappings_are_all_read)
{
	enum { COUNT = 5000 };
	char *memory = map_private((size_t)COUNT * PAGE, PROT_NONE, 0);
	struct maps maps;
	size_t found = 0;

	for (int i = 0; i < COUNT; i += 2)
		CHECK_EQ(mprotect(memory + (size_t)i * PAGE, PAGE, PROT_READ), 0);
	maps = read_maps();
	for (size_t i = 0; i < maps.count; i++) {
		found += maps.list[i].start >= (uintptr_t)memory &&
			 maps.list[i].end <= (uintptr_t)memory + (size_t)COUNT * PAGE;
		CHECK(i == 0 || maps.list[i].start >= maps.list[i - 1].end);
	}
	CHECK_GE(found, (size_t)COUNT - 1);
}

static void check_pages(bool fast)
{
	char *memory = map_private(64 * PAGE, PROT_READ | PROT_WRITE, 0);
	struct found found;

	pages_scan_set_fast(fast);
	memory[3 * PAGE] = 1;
	memory[4 * PAGE] = 1;
	memory[40 * PAGE] = 1;
	found = find_pages(memory, 64 * PAGE, PAGES_OWN);
	CHECK_EQ(found.runs, 2u);
	CHECK_EQ(found.pages, 3u);
	CHECK_EQ(found.first, 3u);
	CHECK_EQ(mprotect(memory, 64 * PAGE, PROT_NONE), 0);
	CHECK_EQ(find_pages(memory, 64 * PAGE, PAGES_OWN).pages, 3u);
}

TEST(only_pages_with_contents_are_found)
{
	check_pages(true);
}

TEST(only_pages_with_contents_are_found_by_reading_pagemap)
{
	check_pages(false);
}

static uintptr_t skipped; // nobody asks from there on

static uintptr_t find_skipped(uintptr_t address)
{
	return address < skipped ? skipped : UINTPTR_MAX;
}

TEST(what_is_wholly_present_is_told_while_pages_are_held)
{
	char *memory =
		mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t start = (uintptr_t)memory;

	CHECK(memory != MAP_FAILED);
	CHECK(proc_open());
	if (!pages_scan_is_fast())
		exit(TEST_SKIPPED);
	memset(memory + 2 * PAGE, 1, 3 * PAGE);
	memory[8 * PAGE] = 1;
	skipped = start + 7 * PAGE;
	CHECK(!pages_are_present(start + 2 * PAGE, start + 3 * PAGE)); // they are not held
	pages_hold(start + 16 * PAGE, find_skipped);
	CHECK(pages_are_present(start + 2 * PAGE + 8, start + 5 * PAGE));
	CHECK(pages_are_present(start + 3 * PAGE, start + 4 * PAGE - 8));
	CHECK(!pages_are_present(start + 2 * PAGE, start + 5 * PAGE + 8));
	CHECK(!pages_are_present(start + PAGE, start + 3 * PAGE));
	CHECK(!pages_are_present(start, start + 8));
	CHECK(pages_are_present(start + 8 * PAGE, start + 9 * PAGE));
	CHECK(!pages_are_present(start + 8 * PAGE, start + 10 * PAGE));
	pages_release();
	munmap(memory, 16 * PAGE);
}

TEST(zero_page_is_no_contents)
{
	char *memory = map_private(4 * PAGE, PROT_READ | PROT_WRITE, 0);
	volatile char byte = memory[PAGE];

	(void)byte;
	CHECK(proc_open());
	if (!pages_scan_is_fast())
		test_skip("PAGEMAP_SCAN is absent");
	CHECK_EQ(find_pages(memory, 4 * PAGE, PAGES_OWN).pages, 0u);
}

static void check_file_pages(bool fast)
{
	static char data[16 * PAGE] __attribute__((aligned(4096))) = {1};

	pages_scan_set_fast(fast);
	data[PAGE] = 2;
	CHECK_EQ(find_pages(data + PAGE, PAGE, PAGES_OWN).pages, 1u);
	CHECK_EQ(find_pages(
			 (void *)((uintptr_t)check_pages & ~(uintptr_t)(PAGE - 1)), PAGE, PAGES_OWN)
			 .pages,
		0u);
	CHECK_EQ(find_pages((void *)((uintptr_t)check_pages & ~(uintptr_t)(PAGE - 1)), PAGE,
			 PAGES_PRESENT)
			 .pages,
		1u);
}

TEST(clean_file_pages_are_not_own)
{
	check_file_pages(true);
	check_file_pages(false);
}

TEST(shared_memory_written_through_another_mapping_is_found)
{
	int memfd = (int)syscall(SYS_memfd_create, "name", 0);
	char *one, *other;

	CHECK_EQ(ftruncate(memfd, 64 * PAGE), 0);
	one = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	other = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	one[5 * PAGE] = 1;
	one[63 * PAGE] = 1;
	other[7 * PAGE] = 1;
	for (int fast = 0; fast < 2; fast++) {
		pages_scan_set_fast(fast);
		CHECK_EQ(find_pages(other, 64 * PAGE, PAGES_SHARED).pages, 3u);
	}
	CHECK_EQ(find_pages(other, 64 * PAGE, PAGES_PRESENT).pages, 1u);
}

TEST(all_pages_are_wanted_of_shared_memory_with_pages_on_disk)
{
	char *memory = mmap(NULL, 1 << 30, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct found found = {.base = (uintptr_t)memory};

	CHECK(memory != MAP_FAILED);
	memory[5 * PAGE] = 1;
	for (int fast = 0; fast < 2; fast++) {
		pages_scan_set_fast(fast);
		CHECK_EQ(find_pages(memory, 64 * PAGE, PAGES_WHOLE).pages, 64u);
		CHECK_EQ(find_pages(memory, 64 * PAGE, PAGES_WHOLE).runs, 1u);
		CHECK_EQ(find_pages(memory, 64 * PAGE, PAGES_SHARED).pages, 1u);
	}
	CHECK(!pages_for_each(
		(uintptr_t)memory, (uintptr_t)memory + (1 << 30), PAGES_WHOLE, note_run, &found));
}

TEST(guard_pages_of_madvise_are_no_contents)
{
	enum { GUARD_INSTALL = 102 };
	char *memory = map_private(4 * PAGE, PROT_READ | PROT_WRITE, 0);

	memory[0] = 1;
	if (madvise(memory + PAGE, PAGE, GUARD_INSTALL) != 0)
		test_skip("no MADV_GUARD_INSTALL");
	CHECK_EQ(find_pages(memory, 4 * PAGE, PAGES_OWN).pages, 1u);
	pages_scan_set_fast(false);
	CHECK_EQ(find_pages(memory, 4 * PAGE, PAGES_OWN).pages, 1u);
}

TEST(sparse_16_tib_costs_nothing)
{
	char *memory = mmap(NULL, 16ull << 40, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct timespec begin, end;
	struct found found;

	if (memory == MAP_FAILED)
		test_skip("a sanitizer has taken the addresses");
	memory[1ull << 43] = 1;
	memory[(16ull << 40) - 1] = 1;
	CHECK(proc_open());
	if (!pages_scan_is_fast())
		test_skip("PAGEMAP_SCAN is absent");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	found = find_pages(memory, 16ull << 40, PAGES_OWN);
	clock_gettime(CLOCK_MONOTONIC, &end);
	CHECK_GE(found.pages, 2u);
	CHECK_LT((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000, 100);
}

TEST(protected_memory_is_read)
{
	char *memory = map_private(4 * PAGE, PROT_READ | PROT_WRITE, 0);
	char copy[3 * PAGE];

	CHECK(proc_open());
	memset(memory, 'a', 4 * PAGE);
	CHECK_EQ(mprotect(memory + PAGE, PAGE, PROT_NONE), 0);
	CHECK(memory_read(copy, (uintptr_t)memory + 100, sizeof(copy)));
	for (size_t i = 0; i < sizeof(copy); i++)
		CHECK_EQ(copy[i], 'a');
}

TEST(unmapped_memory_is_refused_not_faulted)
{
	char *memory = map_private(4 * PAGE, PROT_READ | PROT_WRITE, 0);
	char copy[2 * PAGE];

	CHECK(proc_open());
	CHECK_EQ(munmap(memory + 2 * PAGE, PAGE), 0);
	CHECK(memory_read(copy, (uintptr_t)memory, sizeof(copy)));
	CHECK(!memory_read(copy, (uintptr_t)memory + PAGE, sizeof(copy)));
}

static void *sleep_for_ever(void *argument)
{
	pause();
	return argument;
}

TEST(tasks_are_listed_with_their_state)
{
	enum { COUNT = 300 };
	struct task_walk walk;
	pthread_t thread;
	int tid, count = 0;

	CHECK(proc_open());
	for (int i = 0; i < COUNT; i++)
		CHECK_EQ(pthread_create(&thread, NULL, sleep_for_ever, NULL), 0);
	for (int round = 0; round < 2; round++) {
		CHECK(task_walk_begin(&walk));
		for (count = 0; task_walk_next(&walk, &tid); count++) {
			char state;
			unsigned flags;

			CHECK(task_read_state(tid, &state, &flags));
			CHECK(state >= 'A' && state <= 'Z');
			CHECK((flags & (TASK_IO_WORKER | TASK_USER_WORKER)) == 0);
		}
		CHECK(!walk.failed);
		CHECK(count == COUNT + 1 ||
			count == COUNT + 2); // a sanitizer has a thread of its own
	}
}

static void *after_main_has_exited(void *argument)
{
	struct task_walk walk;
	char copy[16];
	int tid, count = 0;

	usleep(50000); // main is a zombie now
	CHECK_EQ(kind_at(&walk), MAPPING_ANONYMOUS);
	CHECK(memory_read(copy, (uintptr_t)copy, sizeof(copy)));
	CHECK_GE(find_pages((void *)((uintptr_t)copy & ~(uintptr_t)(PAGE - 1)), PAGE, PAGES_OWN)
			 .pages,
		1u);
	CHECK(task_walk_begin(&walk));
	while (task_walk_next(&walk, &tid))
		count++;
	CHECK_GE(count, 2);
	_exit(0);
	return argument;
}

TEST(a_tasks_signals_are_told)
{
	uint64_t pending, blocked;
	sigset_t set;
	int task = (int)syscall(SYS_gettid);

	CHECK(proc_open());
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, 64);
	CHECK_EQ(sigprocmask(SIG_SETMASK, &set, NULL), 0);
	CHECK_EQ(pthread_kill(pthread_self(), 64), 0);
	CHECK_EQ(kill(getpid(), SIGUSR1), 0); // the process's, not the task's
	CHECK(task_read_signals(task, &pending, &blocked));
	CHECK_EQ(pending, 1ull << 63);
	CHECK_EQ(blocked, 1ull << 63 | 1ull << (SIGUSR1 - 1));
	CHECK(!task_read_signals(1, &pending, &blocked));
}

TEST(all_of_it_works_after_main_has_exited)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, after_main_has_exited, NULL), 0);
	pthread_exit(NULL);
}

TEST(all_of_it_works_after_root_was_dropped)
{
	struct maps maps;
	char copy[16];
	struct task_walk walk;
	char state;
	unsigned flags;
	int tid;

	if (geteuid() != 0)
		test_skip("needs root to drop it");
	maps = read_maps();
	CHECK_EQ(setgid(65534), 0);
	CHECK_EQ(setuid(65534), 0);
	CHECK_EQ(open("/proc/self/pagemap", O_RDONLY), -1);
	CHECK(maps_read(&maps));
	CHECK(memory_read(copy, (uintptr_t)&maps, sizeof(copy)));
	CHECK_GE(find_pages((void *)((uintptr_t)copy & ~(uintptr_t)(PAGE - 1)), PAGE, PAGES_OWN)
			 .pages,
		1u);
	CHECK(task_walk_begin(&walk));
	CHECK(task_walk_next(&walk, &tid));
	CHECK(task_read_state(tid, &state, &flags));
}
