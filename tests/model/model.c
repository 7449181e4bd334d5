/*
 * A randomised model test of allocator and collector together. Threads make, verify, free, drop, resize and exchange blocks as fast as they can while
 * cycles run back to back; the shadow (shadow.h) knows what must be there. What it would notice:
 *
 *	a reachable block taken back		its state is not ALLOCATED, its contents are scribbled or another block's
 *	a block freed but still reachable	the same, its state is not HINTED
 *	a slot handed out twice			one of the two has the other's contents
 *	leaked blocks never taken back		those in the graveyard live on
 *
 * The only names of blocks are the cells of their records, one kind of root each: stack, thread-local storage, .bss, an anonymous mapping, a shared
 * one, a block of the heap, a mailbox that threads exchange records through, and for moments a register or a vector register alone.
 *
 * Environment: MODEL_SECONDS (3), MODEL_THREADS (6), MODEL_SEED (1). The line at the end says what was done.
 */
#include "tests/harness/test.h"
#include "tests/model/engine.h"
#include "tests/model/shadow.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

enum { THREADS_MAX = 64, CELLS = 48, MAILBOXES = 64, LIFE_OPERATIONS = 20000, HELD_SPINS = 60000 };

enum root_kind {
	ROOT_STACK,
	ROOT_STORAGE,
	ROOT_DATA,
	ROOT_MAPPING,
	ROOT_SHARED,
	ROOT_HEAP,
	ROOT_KINDS
};

static const char *const root_names[ROOT_KINDS] = {
	"stack", "thread-local storage", ".bss", "mapping", "shared mapping", "heap"};

/* A thread of the model. Lies in a mapping of its own, like everything the shadow keeps. */
struct worker {
	pthread_t thread;
	unsigned number;
	uint64_t random;
	uint64_t lives;
	volatile uintptr_t *cells[ROOT_KINDS];
	uintptr_t mapped_cells[CELLS];
	struct record records[ROOT_KINDS][CELLS];
	struct graveyard dead;
	struct tally tally;
};

struct mailbox {
	pthread_mutex_t mutex;
	struct record record;
};

static struct {
	struct worker *workers[THREADS_MAX];
	struct mailbox *mailboxes;
	unsigned threads;
	double seconds;
	uint64_t seed;
	struct timespec end;
	pthread_mutex_t collecting;
	uint64_t verdicts; /* guarded by collecting */
} model = {.collecting = PTHREAD_MUTEX_INITIALIZER};

static volatile uintptr_t data_cells[THREADS_MAX][CELLS];
static volatile uintptr_t mailbox_cells[MAILBOXES];
static volatile uintptr_t
	*heap_cells[THREADS_MAX]; /* names the block that holds a thread's heap cells */
static __thread volatile uintptr_t storage_cells[CELLS];

static void *map(size_t bytes, int flags)
{
	void *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	CHECK_NE(memory, MAP_FAILED);
	return memory;
}

static bool is_over(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > model.end.tv_sec ||
	       (now.tv_sec == model.end.tv_sec && now.tv_nsec > model.end.tv_nsec);
}

static void collect(struct worker *worker)
{
	bool has_verdict = engine_collect();

	pthread_mutex_lock(&model.collecting);
	model.verdicts += has_verdict;
	pthread_mutex_unlock(&model.collecting);
	worker->tally.collections++;
}

/* ---- operations ---- */

/* For some milliseconds the word is in one register and nowhere else. */
static NOINLINE void hold_in_register(volatile uintptr_t *cell, unsigned choice)
{
#if defined(__x86_64__)
	uint64_t spins = HELD_SPINS;

	if (choice == 0)
		__asm__ volatile(
			"mov (%1), %%r12\n\tmovq $0, (%1)\n1:\tpause\n\tdec %0\n\tjnz 1b\n\tmov %%r12, (%1)\n\txor %%r12, %%r12"
			: "+r"(spins)
			: "r"(cell)
			: "r12", "memory", "cc");
	else if (choice == 1)
		__asm__ volatile(
			"mov (%1), %%r9\n\tmovq $0, (%1)\n1:\tpause\n\tdec %0\n\tjnz 1b\n\tmov %%r9, (%1)\n\txor %%r9, %%r9"
			: "+r"(spins)
			: "r"(cell)
			: "r9", "memory", "cc");
	else
		__asm__ volatile(
			"movq (%1), %%xmm11\n\tmovq $0, (%1)\n1:\tpause\n\tdec %0\n\tjnz 1b\n\tmovq %%xmm11, (%1)\n\t"
			"pxor %%xmm11, %%xmm11"
			: "+r"(spins)
			: "r"(cell)
			: "xmm11", "memory", "cc");
#else
	(void)cell;
	(void)choice;
#endif
}

/* The record and its word change places with those of a mailbox, where any thread may find them. */
static void exchange(struct worker *worker, struct record *record, volatile uintptr_t *cell)
{
	unsigned index = (unsigned)random_below(&worker->random, MAILBOXES);
	struct mailbox *mailbox = &model.mailboxes[index];
	struct record copy;
	uintptr_t word;

	pthread_mutex_lock(&mailbox->mutex);
	copy = mailbox->record;
	mailbox->record = *record;
	*record = copy;
	word = mailbox_cells[index];
	mailbox_cells[index] = *cell;
	*cell = word;
	record_verify(record, cell, "from a mailbox");
	pthread_mutex_unlock(&mailbox->mutex);
	worker->tally.moved++;
}

static void change(struct worker *worker, struct record *record, volatile uintptr_t *cell)
{
	uint64_t *random = &worker->random;
	uint64_t choice = random_below(random, 1000);

	if (choice < 330)
		record_free(record, cell, random, &worker->dead, &worker->tally);
	else if (choice < 400)
		record_drop(record, cell, &worker->dead, &worker->tally);
	else if (choice < 560)
		record_free_node(record, random, &worker->tally);
	else if (choice < 600)
		record_free_twice(record, random, &worker->tally);
	else if (choice < 800)
		record_realloc_node(record, cell, random, &worker->tally);
	else
		exchange(worker, record, cell);
}

static void step(struct worker *worker)
{
	uint64_t *random = &worker->random;
	unsigned kind = (unsigned)random_below(random, ROOT_KINDS);
	unsigned index = (unsigned)random_below(random, CELLS);
	struct record *record = &worker->records[kind][index];
	volatile uintptr_t *cell = &worker->cells[kind][index];

	if (record->count == 0) {
		record_make(record, cell, 1 + (unsigned)random_below(random, NODES_MAX), random,
			&worker->tally);
		return;
	}
	if (random_below(random, 2000) == 0) {
		hold_in_register(cell, (unsigned)random_below(random, 3));
		worker->tally.held++;
	}
	record_verify(record, cell, root_names[kind]);
	worker->tally.verified += record->count;
	if (random_below(random, 2) == 0)
		change(worker, record, cell);
}

/* Before its thread ends: roots that die with it are emptied, by all three ways. */
static void leave_home(struct worker *worker)
{
	for (unsigned kind = 0; kind < ROOT_KINDS; kind++) {
		for (unsigned i = 0; i < CELLS && (kind == ROOT_STACK || kind == ROOT_STORAGE ||
							  kind == ROOT_HEAP);
			i++) {
			struct record *record = &worker->records[kind][i];
			volatile uintptr_t *cell = &worker->cells[kind][i];

			record_verify(record, cell, root_names[kind]);
			if (record->count > 0 && random_below(&worker->random, 3) == 0)
				exchange(worker, record, cell);
			if (random_below(&worker->random, 2) == 0)
				record_drop(record, cell, &worker->dead, &worker->tally);
			else
				record_free(record, cell, &worker->random, &worker->dead,
					&worker->tally);
		}
	}
}

/* ---- threads ---- */

static NOINLINE void find_cells(
	struct worker *worker, volatile uintptr_t *stack_cells, uintptr_t *shared)
{
	heap_cells[worker->number] = engine_calloc(CELLS * sizeof(uintptr_t));
	CHECK_NOT_NULL(heap_cells[worker->number]);
	worker->cells[ROOT_STACK] = stack_cells;
	worker->cells[ROOT_STORAGE] = storage_cells;
	worker->cells[ROOT_DATA] = data_cells[worker->number];
	worker->cells[ROOT_MAPPING] = worker->mapped_cells;
	worker->cells[ROOT_SHARED] = shared;
	worker->cells[ROOT_HEAP] = heap_cells[worker->number];
}

/* One life of a worker: a thread of its own each time, with new stack, storage and heap cells. */
static void *live(void *argument)
{
	volatile uintptr_t stack_cells[CELLS] = {0};
	struct worker *worker = argument;
	uintptr_t *shared = (uintptr_t *)worker->cells[ROOT_SHARED];

	engine_enter();
	engine_thread_begin();
	find_cells(worker, stack_cells, shared ? shared : map(4096, MAP_SHARED));
	engine_leave();
	for (unsigned i = 0; i < LIFE_OPERATIONS && !is_over(); i++) {
		engine_enter();
		step(worker);
		engine_leave();
		if (random_below(&worker->random, 2000) == 0)
			collect(worker);
	}
	engine_enter();
	leave_home(worker);
	worker->cells[ROOT_HEAP] = 0;
	engine_free((void *)heap_cells[worker->number]);
	heap_cells[worker->number] = 0;
	worker->lives++;
	engine_thread_end();
	engine_leave();
	return 0;
}

/* Threads of the model are born and joined by threads that take no part in it. */
static void *lead_lives(void *argument)
{
	struct worker *worker = argument;

	while (!is_over()) {
		CHECK_EQ(pthread_create(&worker->thread, 0, live, worker), 0);
		CHECK_EQ(pthread_join(worker->thread, 0), 0);
	}
	return 0;
}

/* ---- the end ---- */

static void verify_all(void)
{
	for (unsigned i = 0; i < model.threads; i++) {
		struct worker *worker = model.workers[i];

		for (unsigned kind = 0; kind < ROOT_KINDS; kind++) {
			for (unsigned at = 0; at < CELLS; at++) {
				if (worker->records[kind][at].count > 0)
					record_verify(&worker->records[kind][at],
						&worker->cells[kind][at], "at the end");
			}
		}
	}
	for (unsigned i = 0; i < MAILBOXES; i++)
		record_verify(
			&model.mailboxes[i].record, &mailbox_cells[i], "at the end, in a mailbox");
}

/* Some of the dead may live on: stray words in dead stacks and unused registers name them. Most may not. */
static void expect_death(bool freed, const char *what)
{
	uint64_t living = 0, total = 0;

	for (unsigned i = 0; i < model.threads; i++) {
		uint64_t part;

		living += graveyard_count_living(&model.workers[i]->dead, freed, &part);
		total += part;
	}
	CHECK_MSG(living * 20 <= total + 200, "%lu of %lu %s blocks were not taken back", living,
		total, what);
	dprintf(STDOUT_FILENO, "%lu of %lu %s blocks are still there\n", living, total, what);
}

static void print_tally(void)
{
	struct tally sum = {0};
	uint64_t lives = 0;

	for (unsigned i = 0; i < model.threads; i++) {
		const uint64_t *from = (const uint64_t *)&model.workers[i]->tally;

		for (size_t at = 0; at < sizeof(sum) / sizeof(uint64_t); at++)
			((uint64_t *)&sum)[at] += from[at];
		lives += model.workers[i]->lives;
	}
	dprintf(STDOUT_FILENO,
		"%lu threads, %lu blocks, %lu MiB, %lu verified, %lu freed, %lu dropped, %lu strays, %lu reallocs, %lu double frees, %lu exchanged, "
		"%lu held, %lu collections asked for, %lu with a verdict\n",
		lives, sum.blocks, sum.bytes >> 20, sum.verified, sum.freed, sum.dropped,
		sum.strays, sum.reallocs, sum.double_frees, sum.moved, sum.held, sum.collections,
		model.verdicts);
}

static double number_from(const char *name, double otherwise)
{
	const char *text = getenv(name);

	return text ? atof(text) : otherwise;
}

static void set_up(void)
{
	model.seconds = number_from("MODEL_SECONDS", 3);
	model.threads = (unsigned)number_from("MODEL_THREADS", 6);
	model.seed = (uint64_t)number_from("MODEL_SEED", 1);
	CHECK(model.threads >= 1 && model.threads <= THREADS_MAX);
	model.mailboxes = map(MAILBOXES * sizeof(struct mailbox), MAP_PRIVATE);
	for (unsigned i = 0; i < MAILBOXES; i++)
		pthread_mutex_init(&model.mailboxes[i].mutex, 0);
	for (unsigned i = 0; i < model.threads; i++) {
		model.workers[i] = map(sizeof(struct worker), MAP_PRIVATE);
		model.workers[i]->number = i;
		model.workers[i]->random = (model.seed * 1000 + i + 1) * 0x9e3779b97f4a7c15ull;
	}
	clock_gettime(CLOCK_MONOTONIC, &model.end);
	model.end.tv_sec += (time_t)model.seconds;
}

static void run_model(void)
{
	pthread_t leaders[THREADS_MAX];

	engine_start();
	set_up();
	for (unsigned i = 0; i < model.threads; i++)
		CHECK_EQ(pthread_create(&leaders[i], 0, lead_lives, model.workers[i]), 0);
	for (unsigned i = 0; i < model.threads; i++)
		pthread_join(leaders[i], 0);
	engine_stop();
	for (int i = 0; i < 5; i++)
		collect(model.workers[0]);
	verify_all();
	print_tally();
	CHECK_MSG(model.verdicts >= 3, "only %lu collections gave a verdict", model.verdicts);
	if (engine_reclaims_leaks())
		expect_death(false, "leaked");
	if (engine_keeps_freed())
		expect_death(true, "freed");
}

TEST(nothing_reachable_is_taken_back_and_the_rest_is, .limit_seconds = 3600)
{
	run_model();
}

#if CHECKS
/* The model would notice: with one kind of root switched off it must fail. Soon on an idle machine, later on a busy one. */
static void run_until_noticed(void)
{
	setenv("MODEL_SECONDS", "60", 1);
	run_model();
}

#if !defined(__SANITIZE_ADDRESS__) && \
	!defined(__SANITIZE_THREAD__) // instrumented code keeps pointers in memory, too
// threads that stand still throughout: beside the program most such blocks are marked before they are in registers only
TEST(notices_when_registers_are_not_read, .options = "scan_off=registers:collector=stw",
	.exit_code = TEST_FAILED, .limit_seconds = 120, .contains = "shadow.c:")
{
	run_until_noticed();
}
#endif

TEST(notices_when_data_segments_are_not_read, .options = "scan_off=data_segments",
	.exit_code = TEST_FAILED, .limit_seconds = 120, .contains = "shadow.c:")
{
	run_until_noticed();
}

TEST(notices_when_mappings_are_not_read, .options = "scan_off=mappings", .exit_code = TEST_FAILED,
	.limit_seconds = 120, .contains = "shadow.c:")
{
	run_until_noticed();
}
#endif
