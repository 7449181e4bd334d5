/*
 * Options do what they say: each test compares a process under one value with one under another. What a role does is the same in both.
 */
#include "tests/gc/hidden.h"
#include "tests/policy/child.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20, CHOSEN_SIGNAL = 44, LONG_SECONDS = 20, PILE = 3000000, TRIES = 20 };

static void *volatile keep[1 << 16];

/* ---- when a cycle comes ---- */

/* Freed blocks that nobody refers to; a cycle makes them free. More than one, for a stray word may still name this or that. */
enum { WATCHED = 10 };
static uintptr_t watched[WATCHED];

static __attribute__((noinline)) void free_some(size_t first, size_t last)
{
	for (size_t i = 0; i < WATCHED; i++)
		watched[i] = ~(uintptr_t)keep[first + i * (last - first) / WATCHED];
	for (size_t i = first; i < last; i++) {
		free(keep[i]);
		keep[i] = NULL;
	}
}

static bool all_are_hinted(void)
{
	for (int i = 0; i < WATCHED; i++) {
		if (state_of(watched[i]) != KEPT_HINTED)
			return false;
	}
	return true;
}

/* Seconds until a cycle has come, at most `limit`. */
static double wait_for_cycle(double limit)
{
	double start = seconds_now();

	while (all_are_hinted() && seconds_now() - start < limit)
		usleep(2000);
	return seconds_now() - start;
}

/* 40 MiB are in use; then 12 of them are freed. */
static void free_a_third(double limit)
{
	double waited;

	for (size_t i = 0; i < 40000; i++)
		memset(keep[i] = malloc(1000), 1, 1000);
	collect();
	usleep(300000); // the call may leave a cycle behind that another reason has asked for
	free_some(100, 12000);
	waited = wait_for_cycle(limit);
	tell_figure("came", waited < limit);
}

/* A heap that takes some time to mark; the cycle that is asked for costs so much CPU, and the next one comes when there has been enough of a rest. */
static void free_after_long_cycle(void)
{
	void **first = NULL;

	for (int i = 0; i < 1000000; i++) {
		void **link = malloc(64);

		*link = first;
		first = link;
	}
	for (size_t i = 0; i < 2000; i++)
		memset(keep[i] = malloc(1000), 1, 1000);
	keep[60000] = first;
	collect();
	free_some(0, 1200);
	tell_figure("waited_ms", (uint64_t)(wait_for_cycle(LONG_SECONDS) * 1000));
}

/* 400 MiB of garbage, of which half a MiB is in use at a time. */
static void make_garbage(void)
{
	for (size_t i = 0; i < 400000; i++) {
		free(keep[i % 500]);
		memset(keep[i % 500] = malloc(1000), 1, 1000);
	}
}

/* ---- which signal stops threads ---- */

static volatile int handled, is_over;

static void count_signal(int number)
{
	(void)number;
	handled++;
}

static void *spin(void *argument)
{
	while (!is_over)
		__asm__ volatile("pause");
	return argument;
}

/* The kernel's view: the signals of this process that have a handler. */
static uint64_t caught_signals(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned long caught = 0;
	char line[200];

	while (fgets(line, sizeof(line), status))
		sscanf(line, "SigCgt: %lx", &caught);
	fclose(status);
	return caught;
}

static bool is_caught(int number)
{
	return caught_signals() >> (number - 1) & 1;
}

static int real_time_signals_caught(void)
{
	return __builtin_popcountll(caught_signals() >> 33 & ~0ull);
}

static void collect_with_running_thread(void)
{
	pthread_t thread;

	is_over = 0;
	CHECK_EQ(pthread_create(&thread, NULL, spin, NULL), 0);
	collect();
	is_over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void claim(void)
{
	struct sigaction action = {.sa_handler = count_signal};

	CHECK_EQ(sigaction(CHOSEN_SIGNAL, &action, NULL), 0);
}

static void check_claimed(void)
{
	struct sigaction seen;

	handled = 0;
	collect_with_running_thread();
	CHECK_EQ(handled, 0); // the stop was another signal ...
	CHECK_EQ(raise(CHOSEN_SIGNAL), 0);
	CHECK_EQ(handled, 1); // ... and this one is the program's
	CHECK_EQ(sigaction(CHOSEN_SIGNAL, NULL, &seen), 0);
	CHECK_EQ((void *)seen.sa_handler, (void *)count_signal);
	CHECK_GE(real_time_signals_caught(), 2);
}

TEST(the_chosen_signal_is_used, .options = "stop_signal=44")
{
	CHECK(!is_caught(CHOSEN_SIGNAL));
	collect_with_running_thread();
	CHECK(is_caught(CHOSEN_SIGNAL));
	CHECK_EQ(real_time_signals_caught(), 1);
}

TEST(another_is_used_without_a_choice)
{
	collect_with_running_thread();
	CHECK(!is_caught(CHOSEN_SIGNAL));
	CHECK_EQ(real_time_signals_caught(), 1);
}

TEST(a_chosen_signal_that_is_the_programs_is_left_alone, .options = "stop_signal=44")
{
	claim();
	check_claimed();
}

TEST(a_chosen_signal_that_becomes_the_programs_is_left_alone, .options = "stop_signal=44")
{
	collect_with_running_thread();
	claim();
	check_claimed();
}

/* ---- tests ---- */

/* ---- large blocks that were freed ---- */

/* A pointer keeps the block; its pages are gone, and who still looks finds zeros. */
static void use_after_free(void)
{
	const size_t bytes = 40 * (size_t)MIB;
	unsigned char *block = malloc(bytes);
	long before;

	memset(block, 7, bytes);
	keep[0] = block;
	before = resident_kib();
	free(block);
	tell_figure("dropped_kib", (uint64_t)(before - resident_kib() + 1000));
	for (int i = 0; i < 3; i++)
		collect();
	free(block);
	tell_figure("byte", block[bytes / 2]);
	block[bytes / 2] = 9;
	keep[0] = NULL;
	block = NULL;
	collect();
	block = calloc(1, bytes);
	for (size_t i = 0; i < bytes; i += 4096)
		CHECK_EQ(block[i], 0);
	CHECK_EQ(block[bytes / 2], 0);
}

/* Builds a list as fast as it can. */
static void pile_up(void)
{
	struct pile {
		struct pile *next;
		uint64_t payload[7];
	} *pile = NULL;
	size_t count = 0;

	for (size_t i = 0; i < PILE; i++) {
		struct pile *above = malloc(sizeof(*above));

		above->next = pile;
		pile = above;
	}
	for (; pile; pile = pile->next)
		count++;
	CHECK_EQ(count, (size_t)PILE);
}

TEST(play_a_role, .limit_seconds = 120)
{
	const char *role = getenv("POLICY_ROLE");

	if (!role)
		return;
	if (strcmp(role, "third") == 0)
		free_a_third(LONG_SECONDS);
	else if (strcmp(role, "third_and_no_cycle") == 0)
		free_a_third(0.5);
	else if (strcmp(role, "long_cycle") == 0)
		free_after_long_cycle();
	else if (strcmp(role, "use_after_free") == 0)
		use_after_free();
	else if (strcmp(role, "pile") == 0)
		pile_up();
	else
		make_garbage();
}

TEST(quarantine_percent_starts_a_cycle)
{
	struct outcome more = play("third_and_no_cycle",
		"quarantine_bytes=64k:growth=100000:quarantine_percent=60", 0);
	struct outcome less =
		play("third", "quarantine_bytes=64k:growth=100000:quarantine_percent=10", 0);

	CHECK_EQ(told_figure(&more, "came"), 0u);
	CHECK_EQ(told_figure(&less, "came"), 1u);
}

/*
 * Marking a list of a million blocks takes 11 ms of CPU at the very least, after which a collector with 1 % rests for over a second. The hinted bytes stay below the hard limit, where nobody
 * rests. A busy machine makes waits longer, never shorter.
 */
TEST(cpu_percent_spaces_cycles, .limit_seconds = 120)
{
	const char *all =
		"pause_max_ms=10000:quarantine_bytes=1m:quarantine_percent=1:growth=100000:cpu_percent=100";
	const char *little =
		"pause_max_ms=10000:quarantine_bytes=1m:quarantine_percent=1:growth=100000:cpu_percent=1";
	struct outcome resting = play("long_cycle", little, 0), busy = play("long_cycle", all, 0);

	CHECK_GT(told_figure(&resting, "waited_ms"), 1000u);
	CHECK_LT(told_figure(&busy, "waited_ms"), 1000u * LONG_SECONDS);
}

/* Without a limit the quarantine alone is larger than that. */
TEST(memory_limit_keeps_the_heap_below, .limit_seconds = 120)
{
	struct outcome free_running = play("garbage", "quarantine_bytes=200m:growth=100000", 0);
	struct outcome limited =
		play("garbage", "quarantine_bytes=200m:growth=100000:memory_limit=64m", 0);

	CHECK_GT(free_running.peak_kib, 150 << 10);
	CHECK_LT(limited.peak_kib, (64 + 16) << 10);
	CHECK_GT(figure(&limited, "cycles"), 2 * figure(&free_running, "cycles") + 2);
}

/* Where the threads take turns on a busy CPU, the program may stand still while the heap is marked. */
TEST(who_allocates_faster_than_is_marked_is_braked, .limit_seconds = 120)
{
	struct outcome outcome = play("pile", "collector=stw:interval_ms=1", 0);

	CHECK_EQ(outcome.status, 0);
	CHECK_EQ(figure(&outcome, "brakes"), 0u);
	for (int i = 0; i < TRIES && figure(&outcome, "brakes") == 0; i++) {
		outcome = play("pile", "collector=concurrent:interval_ms=1", 0);
		CHECK_EQ(outcome.status, 0);
		if (figure(&outcome, "concurrent_cycles") == 0)
			test_skip("the kernel has no asynchronous write protection (Linux 6.7)");
	}
	CHECK_GT(figure(&outcome, "brakes"), 0u);
}

TEST(hint_drop_bytes_gives_pages_of_freed_blocks_back)
{
	struct outcome dropped = play("use_after_free", "hint_drop_bytes=32m", 0);
	struct outcome kept = play("use_after_free", "hint_drop_bytes=1g", 0);

	CHECK_EQ(dropped.status, 0);
	CHECK_GT(told_figure(&dropped, "dropped_kib"), 39000u);
	CHECK_EQ(told_figure(&dropped, "byte"), 0u);
	CHECK_EQ(figure(&dropped, "double_frees"), 1u);
	CHECK_EQ(kept.status, 0);
	CHECK_LT(told_figure(&kept, "dropped_kib"), 2000u);
	CHECK_EQ(told_figure(&kept, "byte"), 7u);
}
