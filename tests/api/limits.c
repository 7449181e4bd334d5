/* Little address space, refused reservations, and memory that must not be touched before the program does. */
#include "tests/harness/test.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIB = 1 << 10, MIB = 1 << 20 };
#define GIB ((size_t)1 << 30)

/* Runs a program in a process whose address space is limited from its start; the child inherits the preload. */
static void run_limited(size_t limit, const char *program, const char *argument, const char *text)
{
	pid_t child = fork();

	if (child == 0) {
		struct rlimit limits = {limit, limit};
		CHECK_EQ(setrlimit(RLIMIT_AS, &limits), 0);
		execlp(program, program, argument, text, (char *)NULL);
		test_fail(__FILE__, __LINE__, "cannot run %s", program);
	}
	CHECK_CHILD_PASSES(child);
}

/* The part of this test that runs in the limited process: the test program is called again. */
static void run_self_limited(size_t limit, const char *test)
{
	if (!getenv("LIMITED")) {
		setenv("LIMITED", "1", 1);
		run_limited(limit, "/proc/self/exe", "--run", test);
		_exit(0);
	}
}

static size_t resident_bytes(void)
{
	char text[100] = "";
	int file = open("/proc/self/statm", O_RDONLY);

	CHECK_GT(read(file, text, sizeof(text) - 1), 0);
	close(file);
	return (size_t)atol(strchr(text, ' ')) * 4096;
}

TEST(python_runs_in_256_mib_of_address_space)
{
	run_limited(262144 * (size_t)KIB, "/usr/bin/python3", "-c",
		"import json, re, threading; t = threading.Thread(target=lambda: json.dumps(list(range(100000)))); t.start(); t.join()");
}

/* In a folder of its own, which is gone at the end. */
TEST(git_works_in_256_mib_of_address_space)
{
	run_limited(262144 * (size_t)KIB, "sh", "-c",
		"set -e; top=$(mktemp -d); trap 'rm -rf $top' EXIT; cd $top; export HOME=$top GIT_CONFIG_NOSYSTEM=1; git init -q .; "
		"for i in $(seq 1 50); do seq $i 500 >f$i; done; git add .; "
		"git -c user.name=a -c user.email=a@localhost commit -q -m one; git fsck --strict --full 2>fsck; ! grep -q . fsck; "
		"[ $(git ls-tree HEAD | wc -l) = 50 ]; git gc -q; git fsck --strict --full 2>fsck; ! grep -q . fsck");
}

/* The compiler proper and the assembler are children and limited as well; what they made is linked and run. */
TEST(gcc_works_in_256_mib_of_address_space)
{
	run_limited(262144 * (size_t)KIB, "sh", "-c",
		"set -e; top=$(mktemp -d); trap 'rm -rf $top' EXIT; cd $top; "
		"printf '#include <stdio.h>\\n#include <stdlib.h>\\nint main(void) { return printf(\"%%d\\\\n\", abs(-42)) == 3 ? 0 : 1; }\\n' >a.c; "
		"gcc -O2 -g a.c -o a; [ $(./a) = 42 ]; ! gcc -c -x c - -o b 2>error <<END\nint main(void) { return undeclared; }\nEND\n"
		"grep -q undeclared error");
}

TEST(shell_runs_in_256_mib_of_address_space)
{
	run_limited(262144 * (size_t)KIB, "bash", "-c",
		"for i in 1 2 3 4 5; do x=$(echo $i); done; [ \"$x\" = 5 ]");
}

TEST(small_address_space_is_used_up_and_then_enomem)
{
	run_self_limited(128 * MIB, "small_address_space_is_used_up_and_then_enomem");
	size_t total = 0;
	void *block;
	errno = 0;
	while ((block = malloc(MIB / 2)) && total < 2 * GIB) {
		memset(block, 1, MIB / 2);
		total += MIB / 2;
	}
	CHECK_NULL(block);
	CHECK_EQ(errno, ENOMEM);
	CHECK_GT(total, (size_t)60 * MIB);
}

TEST(small_address_space_of_small_blocks)
{
	run_self_limited(128 * MIB, "small_address_space_of_small_blocks");
	size_t count = 0;
	void **last = NULL, **block;
	while ((block = malloc(64)) && count < 100 * MIB) {
		*block = last;
		last = block;
		count++;
	}
	CHECK_EQ(errno, ENOMEM);
	CHECK_GT(count, (size_t)MIB / 2);
	for (size_t i = 0; i < count; i++) {
		block = *last;
		free(last);
		last = block;
	}
	CHECK_NOT_NULL(malloc(64));
}

TEST(shrinking_needs_no_memory)
{
	enum { COUNT = 20, BYTES = 30000, LARGE_BYTES = 200000 };
	run_self_limited(256 * (size_t)MIB, "shrinking_needs_no_memory");
	char *blocks[COUNT], *large[COUNT];
	for (int i = 0; i < COUNT; i++) {
		CHECK_NOT_NULL(blocks[i] = malloc(BYTES));
		memset(blocks[i], i + 1, BYTES);
		CHECK_NOT_NULL(large[i] = malloc(LARGE_BYTES));
		memset(large[i], i + 1, LARGE_BYTES);
	}
	void **last = NULL, **block;
	for (size_t bytes = LARGE_BYTES; bytes >= 1000; bytes -= bytes > 20000 ? 10000 : 500) {
		while ((block = malloc(bytes))) {
			*block = last;
			last = block;
		}
	}
	for (int i = 0; i < COUNT; i++) {
		size_t bytes = 3000 + (size_t)i * 600;
		CHECK_MSG(blocks[i] = realloc(blocks[i], bytes), "%d bytes to %zu", BYTES, bytes);
		CHECK_EQ(blocks[i][bytes - 1], i + 1);
	}
	for (int i = 0; i < COUNT; i++) {
		size_t bytes = 3000 + (size_t)i * 600;
		CHECK_MSG(
			large[i] = realloc(large[i], bytes), "%d bytes to %zu", LARGE_BYTES, bytes);
		CHECK_EQ(large[i][bytes - 1], i + 1);
	}
	CHECK_NOT_NULL(last);
}

TEST(memory_is_given_back_under_a_limit)
{
	// Four times the limit passes through blocks of changing size: what was freed must serve other sizes again.
	run_self_limited(256 * (size_t)MIB, "memory_is_given_back_under_a_limit");
	for (size_t round = 0; round < 40; round++) {
		size_t size = (size_t)1000 << round % 12;
		size_t count = 24 * MIB / size;
		void **blocks = calloc(count, sizeof(*blocks));
		CHECK_NOT_NULL(blocks);
		for (size_t i = 0; i < count; i++) {
			blocks[i] = malloc(size);
			CHECK_MSG(blocks[i], "round %zu, block %zu of %zu", round, i, count);
			memset(blocks[i], (int)i, size);
		}
		for (size_t i = 0; i < count; i++) {
			void *freed = blocks[i];
			blocks[i] = NULL; // or the collector would rightly keep it
			free(freed);
		}
		free(blocks);
	}
}

TEST(malloc_fails_as_long_as_memory_is_gone_and_works_again)
{
	run_self_limited(
		256 * (size_t)MIB, "malloc_fails_as_long_as_memory_is_gone_and_works_again");
	CHECK_NULL(malloc(300 * MIB));
	CHECK_EQ(errno, ENOMEM);
	void *hog = NULL;
	size_t size = 200 * MIB;
	while (!(hog = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) ||
		hog == MAP_FAILED)
		size -= MIB;
	free(malloc(100 * MIB));
	munmap(hog, size);
	CHECK_NOT_NULL(malloc(50 * MIB));
}

static size_t memory_and_swap_bytes(void)
{
	struct sysinfo info;

	CHECK_EQ(sysinfo(&info), 0);
	return (info.totalram + info.totalswap) * info.mem_unit;
}

/* As "overcommit_memory" says: 0 heuristics, 1 always, 2 never. */
static int overcommit_policy(void)
{
	char digit = '?';
	int file = open("/proc/sys/vm/overcommit_memory", O_RDONLY);

	if (file < 0 || read(file, &digit, 1) != 1)
		test_skip("no /proc/sys/vm/overcommit_memory");
	close(file);
	return digit - '0';
}

TEST(more_than_the_machine_has_is_refused)
{
	size_t machine = memory_and_swap_bytes();
	if (overcommit_policy() == 1) {
		free(malloc(2 * machine));
		return;
	}
	errno = 0;
	CHECK_NULL(malloc(4 * machine));
	CHECK_EQ(errno, ENOMEM);
	errno = 0;
	CHECK_NULL(calloc(4, machine));
	CHECK_EQ(errno, ENOMEM);
	void *block = NULL;
	CHECK_EQ(posix_memalign(&block, MIB, machine + MIB), ENOMEM);
	CHECK_NOT_NULL(block = malloc(100 * MIB));
	errno = 0;
	CHECK_NULL(realloc(block, 3 * machine));
	CHECK_EQ(errno, ENOMEM);
	free(block);
	// the sum of several is nobody's business, and what they leave when freed is not one block
	if (overcommit_policy() != 0)
		return;
	void *parts[4];
	for (int i = 0; i < 4; i++)
		CHECK_NOT_NULL(parts[i] = malloc(machine / 2));
	for (int i = 0; i < 4; i++)
		free(parts[i]);
	CHECK_NULL(malloc(machine + machine / 2));
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	CHECK_CHILD_PASSES(child);
}

TEST(huge_calloc_costs_nothing)
{
	size_t before = resident_bytes(), size = memory_and_swap_bytes() / 4 * 3;
	char *block = calloc(size / 64, 64);

	CHECK_NOT_NULL(block);
	CHECK_LT(resident_bytes(), before + 4 * MIB);
	CHECK_EQ(block[0], 0);
	CHECK_EQ(block[size / 2], 0);
	CHECK_EQ(block[size / 64 * 64 - 1], 0);
	CHECK_LT(resident_bytes(), before + 4 * MIB);
	free(block);
}

TEST(many_callocs_touch_no_pages)
{
	size_t before = resident_bytes();

	for (int i = 0; i < 1000; i++)
		CHECK_NOT_NULL(calloc(1, MIB));
	CHECK_LT(resident_bytes(), before + 40 * MIB);
}

TEST(used_memory_is_zero_again_for_calloc)
{
	for (int round = 0; round < 20; round++) {
		char *block = malloc(8 * MIB);
		memset(block, 0xff, 8 * MIB);
		free(block);
		block = calloc(8, MIB);
		for (size_t i = 0; i < 8 * MIB; i += 64)
			CHECK_EQ(block[i], 0);
		memset(block, 0xff, 8 * MIB);
		free(block);
	}
}

TEST(locked_memory_is_zero_again_for_calloc)
{
	// In locked memory madvise fails: the pages keep what was in them.
	struct rlimit limit;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
		test_skip("mlockall is not permitted");
	for (int round = 0; round < 20; round++) {
		size_t size = (size_t)(round % 5 + 1) * 50000;
		char *block = malloc(size);
		memset(block, 0xff, size);
		free(block);
		block = calloc(1, size);
		for (size_t i = 0; i < size; i++)
			CHECK_EQ(block[i], 0);
		memset(block, 0xff, size);
		free(block);
	}
}

/* mlockall for somebody who may lock this much and no more, or anything (false). */
static bool lock_at_most(size_t bytes, int flags)
{
	struct rlimit limit = {bytes, bytes};
	bool is_limited = setrlimit(RLIMIT_MEMLOCK, &limit) == 0;

	free(malloc(100));
	if (is_limited && geteuid() == 0)
		CHECK_EQ(setresuid(65534, 65534, 65534), 0);
	if (!is_limited && geteuid() != 0)
		test_skip("RLIMIT_MEMLOCK cannot be raised");
	CHECK_MSG(mlockall(flags) == 0, "mlockall: %s", strerror(errno));
	return is_limited;
}

static size_t locked_bytes(void)
{
	char text[4096] = "";
	int file = open("/proc/self/status", O_RDONLY);

	CHECK_GT(read(file, text, sizeof(text) - 1), 0);
	close(file);
	return (size_t)atol(strstr(text, "VmLck:") + 6) * KIB;
}

TEST(locking_all_memory_does_not_count_what_is_only_reserved)
{
	bool is_limited = lock_at_most(GIB, MCL_CURRENT | MCL_FUTURE);
	CHECK_LT(locked_bytes(), 100 * (size_t)MIB);
	CHECK_NOT_NULL(malloc(100 * MIB));
	CHECK_GE(locked_bytes(), 100 * (size_t)MIB);
	if (!is_limited)
		return;
	size_t total = 0;
	errno = 0;
	while (total < 4 * GIB && malloc(64 * MIB))
		total += 64 * MIB;
	CHECK_EQ(errno, ENOMEM);
	CHECK_LT(total, GIB);
	CHECK_NOT_NULL(malloc(100));
}

TEST(memory_allocated_after_locking_the_future_is_locked)
{
	lock_at_most(GIB, MCL_FUTURE | MCL_ONFAULT);
	CHECK_NOT_NULL(malloc(100 * MIB));
	CHECK_GE(locked_bytes(), 100 * (size_t)MIB);
}

/* What a debugger writes out (gdb's gcore leaves out only what is marked so, be it readable or not). */
TEST(a_core_dump_has_no_reservations_in_it)
{
	FILE *maps = fopen("/proc/self/smaps", "r");
	unsigned long kib = 0, dumped_kib = 0;
	char line[400];

	CHECK_NOT_NULL(maps);
	while (fgets(line, sizeof(line), maps)) {
		sscanf(line, "Size: %lu", &kib);
		if (strncmp(line, "VmFlags:", 8) == 0 && !strstr(line, " dd"))
			dumped_kib += kib;
	}
	fclose(maps);
	CHECK_MSG(dumped_kib < 128 << 10, "%lu MiB would be dumped", dumped_kib >> 10);
}

TEST(large_realloc_moves_no_bytes)
{
	// 1 GiB grown 50 times: with copies this would read and write 50 GiB.
	size_t size = GIB / 4;
	char *block = malloc(size);

	for (size_t i = 0; i < size; i += 4096)
		block[i] = (char)(i >> 12);
	for (int step = 0; step < 50; step++) {
		size += 16 * MIB;
		block = realloc(block, size);
		CHECK_NOT_NULL(block);
	}
	for (size_t i = 0; i < GIB / 4; i += 4096)
		CHECK_EQ(block[i], (char)(i >> 12));
	CHECK_LT(resident_bytes(), GIB / 2);
}

TEST(freed_memory_goes_back_to_the_system)
{
	// With free=trust or mode=fast at once or after a decay; with hints after a cycle.
	size_t before = resident_bytes();
	void *blocks[256];

	for (int i = 0; i < 256; i++)
		memset(blocks[i] = malloc(MIB), 1, MIB);
	CHECK_GT(resident_bytes(), before + 200 * MIB);
	for (int i = 0; i < 256; i++)
		free(blocks[i]);
	memset(blocks, 0, sizeof(blocks));
	malloc_trim(0);
	for (int i = 0; i < 100 && resident_bytes() > before + 64 * MIB; i++) {
		usleep(100000);
		free(malloc(100));
	}
	CHECK_LE(resident_bytes(), before + 64 * MIB);
}

/* 128 MiB that were all written before. */
TEST(blocks_of_64_kib_keep_no_pages_beside_them, .options = "interval_ms=10")
{
	enum { COUNT = 512, BYTES = 64 * KIB };
	static char *blocks[COUNT];
	size_t before = resident_bytes();
	char *former = malloc(128 * MIB);

	CHECK_NOT_NULL(former);
	memset(former, 1, 128 * MIB);
	free(former);
	former = NULL;
	usleep(100000);
	for (int i = 0; i < COUNT; i++)
		memset(blocks[i] = malloc(BYTES), 1, BYTES);
	malloc_trim(0);
	CHECK_LE(resident_bytes(), before + COUNT * BYTES + 8 * MIB);
}

static void *return_argument(void *argument)
{
	return argument;
}

TEST(address_space_limited_at_run_time)
{
	// A program that limits itself after its start: what it maps and starts below the limit succeeds, what malloc gives stays below it.
	struct rlimit limits = {GIB, GIB};
	CHECK_EQ(setrlimit(RLIMIT_AS, &limits), 0);
	void *mapped = mmap(NULL, 100 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mapped != MAP_FAILED);
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, return_argument, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	size_t total = 0;
	errno = 0;
	while (total < 4 * GIB && malloc(MIB))
		total += MIB;
	CHECK_EQ(errno, ENOMEM);
	CHECK_LT(total, GIB);
	CHECK_GT(total, GIB / 2);
}
