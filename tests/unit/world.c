/*
 * Stopping the world without a preload: threads register themselves, handlers are ours alone. Each thread bumps a counter as fast as it can; in a pause no
 * counter may move.
 */
#include "tests/harness/test.h"

#include "core/base/atomic.h"
#include "core/gc/world.h"
#include "core/heap/heap.h"
#include "core/heap/thread_cache.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/proc.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <unistd.h>

enum { THREADS = 12, STOP_MS = 2000 };

struct worker {
	pthread_t handle;
	uint64_t count;
	int tid;
	unsigned number;
};

static struct worker workers[THREADS];
static uint32_t is_over;
static uint32_t is_open;
static uint64_t interrupted;
static uint64_t births;

static void begin(void)
{
	CHECK(heap_init(0));
	CHECK(proc_open());
	thread_attach();
}

static void *spin(void *argument)
{
	struct worker *worker = argument;

	thread_attach();
	worker->tid = thread_id_now();
	while (!load_relaxed(&is_over))
		add_relaxed(&worker->count, 1);
	thread_detach();
	return 0;
}

/* Blocks for moments in gated system calls that a signal would interrupt. */
static void *block(void *argument)
{
	struct worker *worker = argument;
	uint32_t word = 0;

	thread_attach();
	worker->tid = thread_id_now();
	while (!load_relaxed(&is_over)) {
		struct timespec moment = {0, (worker->number % 4) * 20000};
		struct gate_frame frame;

		gate_publish(&frame);
		gate_enter(&frame);
		if (SYSCALL(nanosleep, &moment, 0) == -EINTR)
			add_relaxed(&interrupted, 1);
		gate_leave(&frame);
		add_relaxed(&worker->count, 1);
	}
	(void)word;
	thread_detach();
	return 0;
}

static void *live_briefly(void *argument)
{
	struct worker *worker = argument;

	thread_attach();
	add_relaxed(&worker->count, 1);
	add_relaxed(&births, 1);
	if (load_relaxed(&worker->count) % 2)
		thread_detach();
	return 0;
}

static void *churn(void *argument)
{
	thread_attach();
	while (!load_relaxed(&is_over)) {
		pthread_t handle;
		struct thread *announced = thread_announce(live_briefly, argument, false);
		struct gate_frame frame;

		CHECK_NOT_NULL(announced);
		thread_withdraw(announced);
		if (pthread_create(&handle, 0, live_briefly, argument) != 0)
			continue;
		gate_publish(&frame);
		gate_enter(&frame);
		pthread_join(handle, 0);
		gate_leave(&frame);
	}
	thread_detach();
	return 0;
}

static void start(void *(*body)(void *), unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		workers[i].number = i;
		CHECK_EQ(pthread_create(&workers[i].handle, 0, body, &workers[i]), 0);
	}
}

static void join(unsigned count)
{
	store_relaxed(&is_over, 1);
	for (unsigned i = 0; i < count; i++)
		pthread_join(workers[i].handle, 0);
}

static uint64_t sum(void)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < THREADS; i++)
		total += load_seq(&workers[i].count);
	return total;
}

static void pause_for(uint64_t ns)
{
	uint64_t end = clock_now_ns() + ns;

	while (clock_now_ns() < end)
		world_beat();
}

/* Returns how many of `stops` pauses came about; in each nothing moves. */
static int stop_and_look(int stops)
{
	int done = 0;

	for (int i = 0; i < stops; i++) {
		uint64_t before, after;

		if (!world_stop(STOP_MS * NS_PER_MS, true)) {
			CHECK_NE((int)world_last_failure(), (int)WORLD_NO_PROC);
			continue;
		}
		before = sum();
		pause_for(200000);
		after = sum();
		CHECK_EQ(before, after);
		CHECK(world_commit());
		world_start();
		CHECK(world_stood_still());
		usleep(i % 3 * 100);
		done++;
	}
	return done;
}

TEST(running_threads_stand_still)
{
	begin();
	start(spin, 0, THREADS);
	CHECK_EQ(stop_and_look(300), 300);
	join(THREADS);
}

TEST(blocked_threads_are_held_without_a_signal)
{
	begin();
	start(block, 0, THREADS);
	CHECK_GT(stop_and_look(1000), 990);
	join(THREADS);
	CHECK_GT(world_stats.counted, 900u);
	CHECK_GT(world_stats.held, 1000u);
	CHECK_EQ(interrupted, 0u);
}

/* Ends by force at its gate, while it is held. */
static void *die_at_the_gate(void *argument)
{
	struct gate_frame frame;

	thread_attach();
	gate_publish(&frame);
	gate_enter(&frame);
	((struct worker *)argument)->tid = thread_id_now();
	while (!load_relaxed(&is_open))
		SYSCALL(sched_yield);
	SYSCALL(exit, 0);
	return 0;
}

/* Stops, and returns with the thread gone whose gate is HELD. */
static void stop_and_lose_one(void)
{
	store_relaxed(&is_open, 0);
	workers[0].tid = 0;
	start(die_at_the_gate, 0, 1);
	while (load_relaxed(&workers[0].tid) == 0)
		usleep(100);
	CHECK(world_stop(STOP_MS * NS_PER_MS, true));
	store_relaxed(&is_open, 1);
	while (SYSCALL(tgkill, getpid(), workers[0].tid, 0) == 0)
		world_beat();
	CHECK(world_commit());
	world_start();
}

TEST(one_that_ends_at_its_gate_may_have_been_another)
{
	uint64_t counted;

	begin();
	stop_and_lose_one();
	CHECK_EQ(world_stats.counted, 1u);
	CHECK(!world_stood_still());
	CHECK_EQ((int)world_last_failure(), (int)WORLD_LOST_TASK);
	counted = world_stats.counted;
	CHECK_EQ(stop_and_look(10), 10);
	CHECK_EQ(world_stats.counted, counted);
}

TEST(the_same_if_it_was_buried_since)
{
	begin();
	stop_and_lose_one();
	threads_reap_all();
	CHECK_EQ(threads_count(), 1u);
	CHECK(!world_stood_still());
}

TEST(mixed_and_newborn_threads_stand_still, .limit_seconds = 60)
{
	begin();
	start(spin, 0, 2);
	start(block, 2, 8);
	start(churn, 8, THREADS);
	CHECK_GT(stop_and_look(500), 450);
	join(THREADS);
	CHECK_GT(births, 100u);
	CHECK_LT(threads_count(), 1000u);
}

TEST(a_dead_collector_stops_nobody_for_long)
{
	uint64_t before;

	begin();
	start(spin, 0, 2);
	start(block, 2, THREADS);
	usleep(10000);
	CHECK(world_stop(STOP_MS * NS_PER_MS, true));
	before = sum();
	usleep(1000000); // no beat
	CHECK_GT(sum(), before + 1000);
	CHECK(!world_commit());
	CHECK_EQ((int)world_last_failure(), (int)WORLD_WAS_ABANDONED);
	world_start();
	CHECK_EQ(stop_and_look(100), 100);
	join(THREADS);
}

static void *refuse(void *argument)
{
	uint64_t all = UINT64_MAX;

	thread_attach();
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	((struct worker *)argument)->tid = thread_id_now();
	while (!load_relaxed(&is_over))
		add_relaxed(&((struct worker *)argument)->count, 1);
	return 0;
}

TEST(a_thread_that_blocks_all_signals_spoils_the_stop_only)
{
	uint64_t began, signals;

	begin();
	start(refuse, 0, 1);
	start(block, 1, THREADS);
	while (load_relaxed(&workers[0].tid) == 0)
		usleep(100);
	began = clock_now_ns();
	CHECK(!world_stop(50 * NS_PER_MS, true));
	CHECK_LT(clock_now_ns() - began, 1000 * NS_PER_MS);
	CHECK_EQ((int)world_last_failure(), (int)WORLD_NO_ANSWER);
	CHECK_EQ(world_stats.last_silent_tid, workers[0].tid);
	signals = world_stats.signals;
	for (int i = 0; i < 20; i++)
		CHECK(!world_stop(10 * NS_PER_MS, true));
	CHECK_LE(world_stats.signals, signals + 20u * THREADS);
	join(THREADS);
	CHECK(world_stop(STOP_MS * NS_PER_MS, true));
	world_start();
	CHECK_EQ(interrupted, 0u);
}

TEST(a_parked_threads_registers_are_in_its_context)
{
	begin();
	start(spin, 0, 1);
	while (load_relaxed(&workers[0].count) == 0)
		usleep(100);
	CHECK(world_stop(STOP_MS * NS_PER_MS, true));
	struct thread *thread = thread_find(workers[0].tid);
	CHECK_NOT_NULL(thread);
	CHECK_EQ((int)thread_gate_state(thread), (int)GATE_PARKED);
	CHECK_NOT_NULL(thread->stop_context);
	CHECK_LT(thread->stop_handler_sp, (uintptr_t)thread->stop_context);
	CHECK_LT((uintptr_t)thread->stop_context, thread->stop_pointer);
	world_start();
	join(1);
}

static void on_signal(int number)
{
	(void)number;
}

TEST(gates_do_not_count_where_a_handler_is_unknown)
{
	begin();
	signal(SIGUSR1, on_signal);
	start(block, 0, 4);
	CHECK_EQ(stop_and_look(50), 50);
	CHECK_EQ(world_stats.held, 0u);
	join(4);
}

/* Answers no stop until another thread is held for it, and sets a handler first. */
static void *set_a_handler_while_stopping(void *argument)
{
	struct worker *worker = argument;
	uint64_t all = UINT64_MAX, none = 0;
	struct thread *blocked;

	thread_attach();
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	worker->tid = thread_id_now();
	while (!(blocked = thread_find(load_relaxed(&workers[0].tid))) ||
		thread_gate_state(blocked) != GATE_HELD)
		usleep(100);
	signal(SIGUSR1, on_signal);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	while (!load_relaxed(&is_over))
		usleep(100);
	thread_detach();
	return 0;
}

/* It could be running on a thread that is held. */
TEST(a_handler_that_is_set_while_stopping_spoils_the_stop)
{
	begin();
	start(block, 0, 1);
	start(set_a_handler_while_stopping, 1, 2);
	while (load_relaxed(&workers[0].tid) == 0 || load_relaxed(&workers[1].tid) == 0)
		usleep(100);
	CHECK(!world_stop(STOP_MS * NS_PER_MS, true));
	CHECK_EQ((int)world_last_failure(), (int)WORLD_NO_ANSWER);
	CHECK_EQ(stop_and_look(10), 10);
	join(2);
}

/* As a thread that takes over the id of one that ended by a raw exit, before anybody looked. */
static void *come_after_a_silent_end(void *argument)
{
	thread_attach();
	thread_current->owes = (uint32_t)world_signal(); // a signal that was never handled
	thread_current = 0;
	thread_cache_current = THREAD_CACHE_NONE;
	return spin(argument);
}

TEST(the_successor_of_a_silent_thread_is_stopped)
{
	begin();
	start(come_after_a_silent_end, 0, 1);
	while (load_relaxed(&workers[0].count) == 0)
		usleep(100);
	CHECK_EQ(threads_count(), 2u);
	CHECK_EQ(stop_and_look(10), 10);
	join(1);
}

enum { HANDLE = 12345 };

/* Ends unjoined, as far as the library is told. */
static void *end_with_result(void *announced)
{
	thread_begin(announced, HANDLE);
	thread_finish(&births);
	thread_detach();
	return 0;
}

static void note_result(struct thread *thread, void *ret_found)
{
	if (load_relaxed(&thread->result))
		++*(unsigned *)ret_found;
}

/* ---- records ---- */

static void *announce_and_withdraw(void *argument)
{
	while (!load_relaxed(&is_over))
		thread_withdraw(thread_announce(NULL, NULL, true));
	return argument;
}

static void look_for_main(struct thread *thread, void *found)
{
	*(bool *)found |= load_relaxed(&thread->tid) == (int)getpid();
}

/* A thread that missed some would take itself for the last one. */
TEST(who_walks_the_records_misses_none)
{
	pthread_t other;

	begin();
	CHECK_EQ(pthread_create(&other, NULL, announce_and_withdraw, NULL), 0);
	for (int i = 0; i < 2000000; i++) {
		bool found = false;

		threads_for_each(look_for_main, &found);
		CHECK_MSG(found, "walk %d", i);
	}
	store_relaxed(&is_over, 1);
	CHECK_EQ(pthread_join(other, NULL), 0);
}

TEST(a_handle_that_is_used_again_is_its_new_threads)
{
	begin();
	for (int i = 0; i < 3; i++) {
		struct thread *announced = thread_announce(end_with_result, 0, false);
		unsigned found = 0;
		pthread_t handle;

		CHECK_EQ(pthread_create(&handle, 0, end_with_result, announced), 0);
		CHECK_EQ(pthread_join(handle, 0), 0);
		threads_reap_all();
		threads_for_each(note_result, &found);
		CHECK_EQ(found, 1u);
	}
	thread_joined(HANDLE);
	CHECK_EQ(threads_count(), 1u);
}

TEST(yields_its_signal)
{
	int number;

	begin();
	start(spin, 0, 2);
	CHECK_EQ(stop_and_look(10), 10);
	number = world_signal();
	CHECK(world_yield_signal(number));
	CHECK_NE(world_signal(), number);
	struct sigaction action;
	CHECK_EQ(sigaction(number, 0, &action), 0);
	CHECK(action.sa_handler == SIG_DFL);
	CHECK_EQ(stop_and_look(10), 10);
	join(2);
}

/* Numbers at which the kernel has our handler. */
static int count_our_numbers(void)
{
	struct sigaction action;
	int count = 0;

	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		CHECK_EQ(sigaction(number, 0, &action), 0);
		count += world_is_stop_handler((uintptr_t)action.sa_sigaction);
	}
	return count;
}

/* While one thread looks for a free number another one moves the signal. */
static bool move_meanwhile(int number)
{
	(void)number;
	world_hooks.signal_is_claimed = 0;
	CHECK(world_move_signal(world_signal()));
	return false;
}

TEST(a_number_that_came_too_late_is_given_back)
{
	begin();
	CHECK(world_prepare());
	for (int moves = 1; moves <= 5; moves++) {
		int number = world_signal();

		world_hooks.signal_is_claimed = move_meanwhile;
		CHECK(world_move_signal(number));
		CHECK_NE(world_signal(), number);
		CHECK_EQ(count_our_numbers(), 1 + moves); // former ones may still arrive
	}
}

/* Blocks all signals until `is_over`, then answers what is pending. */
static void *answer_late(void *argument)
{
	uint64_t none = 0;

	refuse(argument);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	thread_detach();
	return 0;
}

/* A thread owes an answer to a signal that it has blocked. */
static void let_one_owe(void *(*body)(void *))
{
	start(body, 0, 1);
	while (load_relaxed(&workers[0].count) == 0)
		usleep(100);
	CHECK(!world_stop(20 * NS_PER_MS, true));
}

static void set_raw(int number, void (*handler)(int))
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void *restorer;
		unsigned long mask;
	} action = {.handler = handler};
	struct sigaction libcs = {.sa_handler = on_signal};

	CHECK_EQ(sigaction(SIGUSR2, &libcs, 0), 0);
	SYSCALL(rt_sigaction, SIGUSR2, 0, &action, sizeof(action.mask)); // for its restorer
	action.handler = handler;
	CHECK_EQ(SYSCALL(rt_sigaction, number, &action, 0, sizeof(action.mask)), 0l);
	signal(SIGUSR2, SIG_DFL);
}

/* Blocks all signals until `is_open`. */
static void *refuse_for_a_while(void *argument)
{
	struct worker *worker = argument;
	uint64_t all = UINT64_MAX, none = 0;

	thread_attach();
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	worker->tid = thread_id_now();
	store_relaxed(&worker->count, 1);
	while (!load_relaxed(&is_open))
		usleep(100);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	return spin(argument);
}

TEST(a_signal_that_was_discarded_is_sent_again)
{
	begin();
	let_one_owe(refuse_for_a_while);
	set_raw(world_signal(), SIG_IGN);
	store_relaxed(&is_open, 1);
	while (load_relaxed(&workers[0].count) < 1000)
		usleep(100);
	CHECK_EQ(stop_and_look(10), 10);
	join(1);
}

TEST(a_signal_that_somebody_else_took_is_sent_again)
{
	int number;

	begin();
	let_one_owe(refuse_for_a_while);
	number = world_signal();
	set_raw(number, on_signal);
	store_relaxed(&is_open, 1);
	while (load_relaxed(&workers[0].count) < 1000)
		usleep(100);
	CHECK_EQ(stop_and_look(10), 10);
	CHECK_NE(world_signal(), number);
	join(1);
}

TEST(a_signal_that_is_lost_is_not_waited_for_at_exec, .limit_seconds = 10)
{
	begin();
	CHECK(world_prepare());
	thread_current->owes = (uint32_t)world_signal();
	gate_forbid_signals();
	CHECK_EQ(thread_current->owes, 0u);
}

static int count_pending(int number)
{
	struct timespec at_once = {0, 0};
	sigset_t set;
	int count = 0;

	sigemptyset(&set);
	sigaddset(&set, number);
	while (sigtimedwait(&set, 0, &at_once) == number)
		count++;
	return count;
}

/* Ours, between two of the program's. */
TEST(nothing_of_ours_is_pending_at_exec_under_a_former_number, .limit_seconds = 10)
{
	uint64_t all = UINT64_MAX;
	int number;

	begin();
	CHECK(world_prepare());
	number = world_signal();
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	CHECK_EQ(sigqueue(getpid(), number, (union sigval){.sival_int = 1}), 0);
	thread_current->owes = (uint32_t)number;
	CHECK_EQ(SYSCALL(tgkill, getpid(), thread_id_now(), number), 0l);
	CHECK_EQ(sigqueue(getpid(), number, (union sigval){.sival_int = 2}), 0);
	CHECK(world_move_signal(number));
	gate_forbid_signals();
	CHECK_EQ(thread_current->owes, 0u);
	CHECK_EQ(count_pending(number), 2);
}

TEST(a_number_with_signals_under_way_is_not_the_programs)
{
	struct sigaction action;
	int number;

	begin();
	let_one_owe(answer_late);
	number = world_signal();
	for (int i = 0; i < 2; i++) {
		CHECK(!world_yield_signal(number));
		CHECK_NE(world_signal(), number);
		CHECK(world_has_signal(number));
		CHECK_EQ(sigaction(number, 0, &action), 0);
		CHECK(world_is_stop_handler((uintptr_t)action.sa_sigaction));
	}
	join(1);
	CHECK(world_yield_signal(number));
	CHECK(!world_has_signal(number));
	CHECK_EQ(sigaction(number, 0, &action), 0);
	CHECK(action.sa_handler == SIG_DFL);
}

/* ---- many ---- */

enum { IDLE_THREADS = 5000, ZOMBIES = 1500, MANY_MAX = 5000, SMALL_STACK_BYTES = 64 << 10 };

static pthread_t many[MANY_MAX];
static int many_tids[MANY_MAX];

/* Known to nobody. */
static void *idle(void *ret_tid)
{
	store_release((int *)ret_tid, thread_id_now());
	while (!load_relaxed(&is_over))
		futex_wait(&is_over, 0, NS_PER_S);
	return 0;
}

/* Its task ends, and nothing of libc's is done. */
static void *idle_and_end(void *ret_tid)
{
	idle(ret_tid);
	SYSCALL(exit, 0);
	return 0;
}

static void start_many(void *(*body)(void *), int count)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, SMALL_STACK_BYTES);
	for (int i = 0; i < count; i++) {
		if (pthread_create(&many[i], &attributes, body, &many_tids[i]) != 0)
			test_skip("no so many threads allowed here");
	}
	for (int i = 0; i < count; i++) {
		while (load_acquire(&many_tids[i]) == 0)
			usleep(1000);
	}
}

static void join_many(int count)
{
	store_relaxed(&is_over, 1);
	futex_wake(&is_over, INT32_MAX);
	for (int i = 0; i < count; i++)
		pthread_join(many[i], 0);
}

TEST(thousands_of_idle_threads_stand_still, .limit_seconds = 120)
{
	int stops = 0;

	begin();
	start_many(idle, IDLE_THREADS);
	// one that gets no processor for 200 ms among so many is rightly abandoned
	for (int i = 0; i < 10 && stops < 3; i++) {
		if (world_stop(STOP_MS * NS_PER_MS, true)) {
			stops += world_commit();
			world_start();
		} else {
			CHECK_EQ((int)world_last_failure(), (int)WORLD_WAS_ABANDONED);
		}
	}
	CHECK_EQ(stops, 3);
	join_many(IDLE_THREADS);
}

/* Traces each of these tasks of its parent, which stay in the list when they have ended. */
static void keep_zombies(int from, int to)
{
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); // or a test that fails would not end
	for (int i = 0; i < ZOMBIES; i++) {
		int tid;

		if (read(from, &tid, sizeof(tid)) != sizeof(tid))
			_exit(0);
		byte |= ptrace(PTRACE_SEIZE, tid, 0, 0) != 0;
	}
	CHECK_EQ(write(to, &byte, 1), 1l);
	for (;;)
		pause();
}

TEST(thousands_of_tasks_without_user_state_need_not_stop, .limit_seconds = 120)
{
	int down[2], up[2];
	pid_t tracer;
	char byte = 1;

	CHECK_EQ(pipe(down), 0);
	CHECK_EQ(pipe(up), 0);
	tracer = fork();
	if (tracer == 0)
		keep_zombies(down[0], up[1]);
	prctl(PR_SET_PTRACER, tracer, 0, 0, 0);
	begin();
	start_many(idle_and_end, ZOMBIES);
	for (int i = 0; i < ZOMBIES; i++)
		CHECK_EQ(write(down[1], &many_tids[i], sizeof(int)), (long)sizeof(int));
	CHECK_EQ(read(up[0], &byte, 1), 1l);
	join_many(ZOMBIES);
	if (byte == 0) {
		CHECK_MSG(
			world_stop(STOP_MS * NS_PER_MS, true), "failure %d", world_last_failure());
		CHECK(world_commit());
		world_start();
	}
	kill(tracer, SIGKILL);
	if (byte != 0)
		test_skip("tracing is not allowed here");
}
