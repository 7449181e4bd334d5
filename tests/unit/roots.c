/*
 * What a pass over the roots reads, and what not. A token stands in one place of memory and nowhere else (everywhere else it is inverted); a sink
 * counts by scanner how often it comes by. No thread is known to the core here, so stacks are read as mappings.
 */
#include "core/base/option.h"
#include "core/gc/roots.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"
#include "core/os/pages.h"
#include "core/os/proc.h"
#include "scanners/scanners.h"
#include "tests/harness/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, DATA_SEGMENTS = 3, MAPPINGS = 5 };

static const volatile uint64_t inverted_token = ~0x7e57ab1e5eed0107ull;

static uint64_t data_word[1024] = {1};
static uint64_t bss_word[64 * 1024];

/* Stores the token there, and leaves no copy behind. */
__attribute__((noinline)) static void put_token(void *place)
{
	__asm__ volatile("mov %0, %%rax\n\tnot %%rax\n\tmov %%rax, (%1)\n\txor %%eax, %%eax"
			 :
			 : "r"(inverted_token), "r"(place)
			 : "rax", "memory");
}

struct hits {
	struct root_scan scan;
	int by_scanner[SCANNER_COUNT + 1];
	int total;
};

static int later_swap_source; // takes effect once the first was read; 0: none

static void count_token(void *argument, const uintptr_t *words, size_t count)
{
	struct hits *hits = argument;

	if (later_swap_source && hits->scan.swap_is_noted)
		maps_set_swap_source(later_swap_source);
	for (size_t i = 0; i < count; i++) {
		if (~words[i] != inverted_token)
			continue;
		hits->by_scanner[hits->scan.scanner]++;
		hits->total++;
	}
}

/* The sink's comparisons leave the token in vector registers, and the loader saves those on the stack when it binds a function. */
static void forget_registers(void)
{
	__asm__ volatile(
		"pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
		"pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"
		"pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"
		"pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\tpxor %%xmm15, %%xmm15" ::
			: "memory");
}

static struct hits *scan(bool expected)
{
	static struct hits *hits;

	// in memory of its own, which is not read
	hits = hits ? hits : os_map(sizeof(*hits));
	memset(hits, 0, sizeof(*hits));
	CHECK(proc_open());
	CHECK(roots_prepare());
	roots_register(scanners, SCANNER_COUNT);
	hits->scan.sink = count_token;
	hits->scan.sink_argument = hits;
	CHECK_MSG(roots_scan(&hits->scan) == expected, "%s at %lx",
		roots_failure_text(hits->scan.failure), (unsigned long)hits->scan.failure_address);
	forget_registers();
	return hits;
}

/* With a page on either side that keeps the kernel from joining it to its neighbour: beside a .bss it would be a part of that. */
static char *map_memory(size_t bytes, int protection, int flags)
{
	char *room = mmap(NULL, bytes + 2 * PAGE, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(room != MAP_FAILED);
	CHECK_EQ(mmap(room + PAGE, bytes, protection, flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		(void *)(room + PAGE));
	return room + PAGE;
}

static char *map_private(size_t bytes)
{
	return map_memory(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

TEST(token_is_nowhere_by_itself)
{
	CHECK_EQ(scan(true)->total, 0);
	CHECK_GT(scan(true)->scan.bytes_read, 0u);
}

TEST(data_and_bss_are_data_segments)
{
	put_token(&data_word[1000]);
	put_token(&bss_word[60000]);
	CHECK_EQ(scan(true)->by_scanner[DATA_SEGMENTS], 2);
	CHECK_EQ(scan(true)->total, 2);
}

TEST(arena_is_a_mapping)
{
	put_token(map_private(4 * PAGE) + 2 * PAGE + 8);
	CHECK_EQ(scan(true)->by_scanner[MAPPINGS], 1);
}

TEST(unaligned_word_is_no_root)
{
	put_token(map_private(PAGE) + 3);
	CHECK_EQ(scan(true)->total, 0);
}

TEST(executable_memory_is_read_at_every_byte)
{
	char *code = map_private(40 * PAGE);

	for (size_t i = 0; i < 8; i++)
		put_token(code + 64 + i * 17);
	put_token(code + PAGE - 3);      // over the edge of a page
	put_token(code + 16 * PAGE - 5); // and of the pieces in which it is read
	CHECK_EQ(mprotect(code, 40 * PAGE, PROT_READ | PROT_EXEC), 0);
	CHECK_EQ(scan(true)->total, 10);
}

TEST(shared_memory_is_read)
{
	put_token(map_memory(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED) + PAGE);
	CHECK_EQ(scan(true)->total, 1);
}

TEST(memfd_written_through_a_mapping_that_is_gone_is_read)
{
	int memfd = (int)syscall(SYS_memfd_create, "name", 0);
	char *memory;

	CHECK_EQ(ftruncate(memfd, 4 * PAGE), 0);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	put_token(memory + PAGE);
	CHECK_EQ(munmap(memory, 4 * PAGE), 0);
	CHECK_EQ(scan(true)->total, 0);
	CHECK(mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, memfd, 0) != MAP_FAILED);
	CHECK_EQ(scan(true)->total, 1);
	CHECK(mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, memfd, 0) != MAP_FAILED);
	CHECK_EQ(scan(true)->total, 2);
}

TEST(truncated_memory_is_no_failure)
{
	int memfd = (int)syscall(SYS_memfd_create, "name", 0);
	char *memory;

	CHECK_EQ(ftruncate(memfd, 4 * PAGE), 0);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	put_token(memory);
	put_token(memory + PAGE);
	CHECK_EQ(ftruncate(memfd, PAGE), 0);
	CHECK_EQ(scan(true)->total, 1);
}

TEST(protected_memory_with_contents_is_read)
{
	char *memory = map_private(8 * PAGE);

	put_token(memory + PAGE);
	CHECK_EQ(mprotect(memory, 8 * PAGE, PROT_NONE), 0);
	CHECK_EQ(scan(true)->total, 1);
}

TEST(secret_memory_is_read)
{
	int secret = (int)syscall(447 /* memfd_secret */, 0);
	char *memory;

	if (secret < 0)
		test_skip("no memfd_secret");
	CHECK_EQ(ftruncate(secret, 2 * PAGE), 0);
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	CHECK(memory != MAP_FAILED);
	put_token(memory + PAGE);
	CHECK_EQ(scan(true)->total, 1);
}

TEST(secret_memory_is_read_in_a_fork_child)
{
	int secret = (int)syscall(447 /* memfd_secret */, 0);
	char *memory;
	pid_t child;

	if (secret < 0)
		test_skip("no memfd_secret");
	CHECK_EQ(ftruncate(secret, 4 * PAGE), 0);
	memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	CHECK(memory != MAP_FAILED);
	put_token(memory + PAGE);
	child = fork();
	if (child == 0) {
		CHECK_EQ(scan(true)->total, 1);
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
}

/* A process that may not ask about the file is told that all of it is in memory. */
TEST(secret_memory_of_another_user_is_read_up_to_its_end)
{
	int secret = (int)syscall(447 /* memfd_secret */, 0);
	char *memory;

	if (secret < 0)
		test_skip("no memfd_secret");
	if (geteuid() != 0)
		test_skip("needs root to drop it");
#if defined(__SANITIZE_THREAD__)
	test_skip("ThreadSanitizer's shadow is too large to be read without page tables");
#endif
	CHECK_EQ(ftruncate(secret, 4 * PAGE), 0);
	memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	CHECK(memory != MAP_FAILED);
	put_token(memory + PAGE);
	CHECK_EQ(setgid(65534), 0);
	CHECK_EQ(setuid(65534), 0);
	CHECK_EQ(scan(true)->total, 1);
}

TEST(shared_file_without_page_tables_is_read)
{
	char path[] = "/tmp/gasket-roots-XXXXXX", *memory;
	int file = mkostemp(path, O_CLOEXEC);

	CHECK_GE(file, 0);
	CHECK_EQ(ftruncate(file, 4 * PAGE), 0);
	memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED);
	put_token(memory + PAGE);
	CHECK_EQ(madvise(memory, 8 * PAGE, MADV_DONTNEED), 0);
	CHECK_EQ(scan(true)->total, 1);
	CHECK_EQ(unlink(path), 0);
}

TEST(protected_shared_memory_without_page_tables_is_read)
{
	char *memory = map_memory(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);

	put_token(memory + PAGE);
	CHECK_EQ(madvise(memory, 4 * PAGE, MADV_DONTNEED), 0);
	CHECK_EQ(mprotect(memory, 4 * PAGE, PROT_NONE), 0);
	CHECK_EQ(scan(true)->total, 1);
}

/* ---- shared memory that is swapped out ---- */

/*
 * What it looks like: the page is on disk, and neither in our page tables nor in the page cache. A file that was deleted counts as memory, and such a page of it
 * can be had without a swap device.
 */
static char *map_page_on_disk(void)
{
	char path[] = "/tmp/gasket-roots-XXXXXX", *memory;
	int file = mkostemp(path, O_CLOEXEC);
	unsigned char residency = 1;

	CHECK_GE(file, 0);
	CHECK_EQ(ftruncate(file, 4 * PAGE), 0);
	CHECK_EQ(unlink(path), 0);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED);
	put_token(memory + PAGE);
	CHECK_EQ(munmap(memory, 4 * PAGE), 0);
	CHECK_EQ(fsync(file), 0);
	CHECK_EQ(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED);
	if (mincore(memory + PAGE, PAGE, &residency) != 0 || (residency & 1))
		test_skip("the file system keeps the page in memory");
	return memory;
}

/* A file like /proc/self/smaps in which that much of one mapping is swapped out. */
static int write_swap_source(const void *memory, const char *amount)
{
	int file = (int)syscall(SYS_memfd_create, "smaps", 0);

	dprintf(file,
		"1000-2000 rw-p 00000000 00:00 0 \nSize:                  4 kB\nSwap:                  4 kB\nVmFlags: rd wr\n");
	dprintf(file,
		"%lx-%lx rw-s 00000000 00:01 7 /dev/zero (deleted)\nSize:                 16 kB\nSwap:           %8s kB\n"
		"SwapPss:               0 kB\nVmFlags: rd wr sh\n",
		(unsigned long)memory, (unsigned long)memory + 4 * PAGE, amount);
	return file;
}

TEST(shared_memory_that_is_swapped_out_is_read)
{
	maps_set_swap_source(write_swap_source(map_page_on_disk(), "4"));
	CHECK_EQ(scan(true)->total, 1);
}

/* As what write_swap_source() makes, behind a mapping whose name alone is longer than what is read at once. */
static int write_swap_source_behind_a_long_name(const void *memory, const char *amount)
{
	enum { LONGER_THAN_READ_AT_ONCE = 300000 };
	static char name[LONGER_THAN_READ_AT_ONCE], rest[4096];
	int file = (int)syscall(SYS_memfd_create, "smaps", 0);
	int source = write_swap_source(memory, amount);
	ssize_t bytes = pread(source, rest, sizeof(rest), 0);

	memset(name, 'S', sizeof(name));
	dprintf(file, "900-1000 rw-p 00000000 00:01 7 /");
	CHECK_EQ(write(file, name, sizeof(name)), (ssize_t)sizeof(name));
	dprintf(file, "\nSize:                  4 kB\n");
	CHECK_EQ(write(file, rest, (size_t)bytes), bytes);
	close(source);
	return file;
}

TEST(shared_memory_that_is_swapped_out_is_read_behind_a_very_long_name)
{
	maps_set_swap_source(write_swap_source_behind_a_long_name(map_page_on_disk(), "4"));
	CHECK_EQ(scan(true)->total, 1);
}

/* What is missing of other shared memory was never touched, and stays so. */
TEST(missing_pages_are_left_alone_where_nothing_is_swapped_out)
{
	char *memory = map_page_on_disk();
	unsigned char residency = 1;

	maps_set_swap_source(write_swap_source(memory, "0"));
	CHECK_EQ(scan(true)->total, 0);
	CHECK_EQ(mincore(memory + PAGE, PAGE, &residency), 0);
	CHECK_EQ(residency & 1, 0);
}

TEST(shared_memory_that_is_swapped_out_during_the_pass_is_a_failure)
{
	char *memory = map_page_on_disk();

	maps_set_swap_source(write_swap_source(memory, "0"));
	later_swap_source = write_swap_source(memory, "4");
	scan(false);
}

TEST(clean_file_is_no_root_and_a_written_one_is)
{
	char path[] = "/tmp/gasket-roots-XXXXXX";
	int file = mkostemp(path, O_CLOEXEC);
	char page[PAGE];
	char *private, *shared;

	CHECK_GE(file, 0);
	memset(page, 0, sizeof(page));
	put_token(page + 8);
	CHECK_EQ(write(file, page, PAGE), PAGE);
	memset(page, 0, sizeof(page));
	private = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	CHECK_EQ(private[0], 0);
	CHECK_EQ(scan(true)->total, 0);
	private[0] = 1;
	CHECK_EQ(scan(true)->total, 1);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK_EQ(shared[0], 0);
	CHECK_EQ(scan(true)->total, 2);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(scan(true)->total, 2);
}

TEST(memory_of_ours_is_no_root)
{
	uint64_t *memory = os_map(PAGE);

	put_token(memory);
	CHECK_EQ(scan(true)->total, 0);
}

TEST(scanner_that_is_off_loses_its_roots_and_only_those)
{
	options_reset();
	put_token(&bss_word[5000]);
	put_token(map_private(PAGE));
	strcpy(options.scan_off, "data_segments");
	if (!CHECKS)
		test_skip("checking builds only");
	CHECK_EQ(scan(true)->total, 1);
	strcpy(options.scan_off, "mappings");
	CHECK_EQ(scan(true)->total, 1);
	strcpy(options.scan_off, "mappings+data_segments");
	CHECK_EQ(scan(true)->total, 0);
	strcpy(options.scan_off, "data");
	CHECK_EQ(scan(true)->total, 2);
}

TEST(ring_is_read_whole_and_says_that_requests_may_be_in_flight)
{
	uint32_t parameters[30] = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 8, parameters);
	char *entries;

	if (ring < 0)
		test_skip("no io_uring");
	CHECK(!scan(true)->scan.requests_in_flight);
	entries = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0x10000000);
	CHECK(entries != MAP_FAILED);
	put_token(entries + 32);
	CHECK_EQ(scan(true)->total, 1);
	CHECK(scan(true)->scan.requests_in_flight);
}

TEST(absent_pages_of_a_userfaultfd_are_not_touched)
{
	struct {
		uint64_t api, features, ioctls;
	} api = {0xaa, 0, 0};
	struct {
		uint64_t start, length, mode, ioctls;
	} range;
	int fault = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* user mode only */);
	char *memory;

	if (fault < 0)
		test_skip("no userfaultfd");
	memory = map_private(4 * PAGE);
	put_token(memory + PAGE);
	CHECK_EQ(syscall(SYS_ioctl, fault, 0xc018aa3f, &api), 0);
	range.start = (uintptr_t)memory;
	range.length = 4 * PAGE;
	range.mode = 1; // missing pages
	CHECK_EQ(syscall(SYS_ioctl, fault, 0xc020aa00, &range), 0);
	CHECK_EQ(scan(true)->total, 1); // would hang if it touched the others
}

TEST(sparse_16_tib_cost_less_than_100_ms_and_no_memory)
{
	char *memory = mmap(NULL, 16ull << 40, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct timespec begin, end;

	if (memory == MAP_FAILED)
		test_skip("a sanitizer has taken the addresses");
	CHECK(proc_open());
	if (!pages_scan_is_fast())
		test_skip("PAGEMAP_SCAN is absent");
	put_token(memory + (7ull << 40));
	scan(true);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	CHECK_EQ(scan(true)->total, 1);
	clock_gettime(CLOCK_MONOTONIC, &end);
	CHECK_LT((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000, 100);
}

TEST(page_tables_are_read_without_the_newer_call_too)
{
	char *memory = map_private(64 * PAGE);
	struct maps maps = {0};
	uint64_t bytes = 0;

	CHECK(proc_open());
	CHECK(maps_reserve(&maps) && maps_read(&maps));
	for (size_t i = 0; i < maps.count; i++)
		bytes += maps.list[i].end - maps.list[i].start;
	if (bytes > 1ull << 40)
		test_skip("a sanitizer's shadow is too large to be read entry by entry");
	pages_scan_set_fast(false);
	put_token(&bss_word[4000]);
	put_token(memory + 7 * PAGE);
	put_token(memory + 60 * PAGE);
	CHECK_EQ(mprotect(memory + 60 * PAGE, PAGE, PROT_NONE), 0);
	CHECK_EQ(scan(true)->total, 3);
	pages_scan_set_fast(true);
	CHECK_EQ(scan(true)->total, 3);
}
