/*
 * Signals over malloc and free of large blocks, which take locks and go to the kernel. Without a collector their handlers are held off until the locks are open
 * (preload/deferred.c), with one the kernel blocks them: the program sees no difference. Number, value and order, masks, stacks and one-shot handlers
 * are as if there were no malloc at all.
 */
#include "tests/harness/test.h"
#include "tests/preload/raw_action.h"

#include "preload/gasket.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { BLOCKS = 64, SECONDS = CHECKS ? 1 : 2, KIB = 1024, MIB = 1024 * KIB };

static volatile int is_over;
static volatile unsigned long handled, steps;
static pthread_t main_thread;

/* Own to the thread, or two that are handed over. */
struct churn {
	char *blocks[BLOCKS];
	unsigned random;
};

static unsigned next_random(unsigned *random)
{
	return (*random = *random * 1103515245 + 12345) >> 8;
}

/* 16 KiB to 1 MiB, most of them above the classes. */
static void churn_step(struct churn *churn)
{
	unsigned at = next_random(&churn->random) % BLOCKS;
	size_t size = 16 * KIB + next_random(&churn->random) % (1008 * KIB);
	char *block = churn->blocks[at];

	churn->blocks[at] = NULL;
	if (block)
		CHECK_EQ(*block, (char)at);
	free(block);
	block = malloc(size);
	*block = (char)at;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	churn->blocks[at] = block;
}

static struct churn main_churn;

static time_t end_of_test(void)
{
	return time(NULL) + SECONDS;
}

/* A busy machine may have got little done by then. */
static bool is_time_for_more(time_t end)
{
	return time(NULL) < end || (handled <= 100 && time(NULL) < end + 15);
}

/* The lock that the main thread takes is never free for long. */
static void *churn_beside(void *argument)
{
	struct churn churn = {.random = 77};
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!is_over)
		churn_step(&churn);
	return argument;
}

static void set_action(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK_EQ(sigaction(number, &action, NULL), 0);
}

static void allocate_and_free(void)
{
	static struct churn churn = {.random = 5};

	churn_step(&churn);
	free(malloc(100));
}

/* ---- values and their order ---- */

static volatile int next_value[65];

static void check_value(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK_EQ(info->si_signo, number);
	CHECK_EQ(info->si_code, SI_QUEUE);
	CHECK_EQ(info->si_errno, 0);
	CHECK_EQ(info->si_pid, getpid());
	CHECK_EQ(info->si_value.sival_int, next_value[number]);
	next_value[number]++;
	if (next_value[number] % 16 == 0)
		allocate_and_free();
	handled++;
}

static volatile int sent_value[65];

/* What is sent must not be all that the main thread has to do. */
static void wait_for_a_step(void)
{
	for (unsigned long before = steps; steps == before && !is_over;)
		sched_yield();
}

/* To the thread and to the process; in bursts, so that some wait for others. */
static void *send_values(void *argument)
{
	unsigned random = 3;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!is_over) {
		int number = SIGRTMIN + (int)(next_random(&random) % 4);
		union sigval value = {.sival_int = sent_value[number]};
		int error = number < SIGRTMIN + 2
				    ? pthread_sigqueue(main_thread, number, value)
				    : (sigqueue(getpid(), number, value) == 0 ? 0 : errno);

		if (error == 0)
			sent_value[number]++;
		else
			CHECK_EQ(error, EAGAIN);
		if (next_random(&random) % 8 == 0)
			wait_for_a_step();
		for (unsigned i = next_random(&random) % 1000; i > 0; i--)
			__asm__ volatile("");
	}
	return argument;
}

/* Four signals to the caller, every second one with `flags`. */
static pthread_t start_sending(void (*handler)(int, siginfo_t *, void *), int flags)
{
	pthread_t sender;

	main_thread = pthread_self();
	for (int i = 0; i < 4; i++)
		set_action(SIGRTMIN + i, handler, i % 2 ? SA_RESTART : flags);
	CHECK_EQ(pthread_create(&sender, NULL, send_values, NULL), 0);
	return sender;
}

/* All that was sent has come. */
static void stop_sending(pthread_t sender)
{
	is_over = 1;
	CHECK_EQ(pthread_join(sender, NULL), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(next_value[SIGRTMIN + i], sent_value[SIGRTMIN + i]);
}

TEST(no_value_is_lost_doubled_or_out_of_turn)
{
	time_t end = end_of_test();
	pthread_t sender = start_sending(check_value, 0);

	while (is_time_for_more(end)) {
		churn_step(&main_churn);
		steps++;
	}
	stop_sending(sender);
	CHECK_GT(handled, 100ul);
}

TEST(children_of_fork_get_no_signal_of_their_parent)
{
	time_t end = end_of_test();
	pthread_t sender = start_sending(check_value, SA_RESTART);

	while (time(NULL) < end) {
		unsigned long before;
		pid_t child;

		for (int i = 0; i < 10; i++, steps++)
			churn_step(&main_churn);
		child = fork();
		if (child == 0) {
			before = handled;
			for (int i = 0; i < 10; i++)
				churn_step(&main_churn);
			CHECK_EQ(handled, before);
			raise(SIGRTMIN + 4); /* ends it: is it blocked? */
			_exit(1);
		}
		int status;
		while (waitpid(child, &status, 0) != child)
			CHECK_EQ(errno, EINTR);
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGRTMIN + 4,
			"child ended with %#x", status);
	}
	stop_sending(sender);
}

static void fork_now_and_then(int number, siginfo_t *info, void *context)
{
	enum { CHILDS_VALUE = 1000000000 };
	sigset_t set;
	pid_t child;

	check_value(number, info, context);
	if (next_value[number] % 32 != 0)
		return;
	child = fork();
	if (child != 0) {
		CHECK_CHILD_PASSES(child);
		return;
	}
	next_value[number] = CHILDS_VALUE;
	sigemptyset(&set);
	sigaddset(&set, number);
	CHECK_EQ(sigqueue(getpid(), number, (union sigval){.sival_int = CHILDS_VALUE}), 0);
	CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
	CHECK_EQ(next_value[number], CHILDS_VALUE + 1);
	_exit(0);
}

/* Others may wait for their turn behind the one whose handler forks. */
TEST(nor_do_those_that_a_handler_makes)
{
	time_t end = end_of_test();
	pthread_t sender = start_sending(fork_now_and_then, SA_RESTART);

	while (is_time_for_more(end)) {
		churn_step(&main_churn);
		steps++;
	}
	is_over = 1;
	CHECK_EQ(pthread_join(sender, NULL), 0);
	CHECK_GT(handled, 100ul);
}

/* ---- timers ---- */

static volatile unsigned long ticks;

static void count_ticks(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	CHECK_EQ(info->si_code, SI_TIMER);
	CHECK_EQ(info->si_value.sival_int, 4711);
	ticks += 1 + (unsigned long)info->si_overrun;
	handled++;
}

static timer_t make_timer(int number)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = number,
		.sigev_value.sival_int = 4711};
	timer_t timer;

	event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	return timer;
}

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Every expiry is told, as a signal or as an overrun. */
static void check_ticks(timer_t timer, unsigned period_us)
{
	struct itimerspec period = {{0, period_us * 1000}, {0, period_us * 1000}};
	time_t end = end_of_test();
	double start = now_us(), least, most; // microseconds it ran at least and at most

	CHECK_EQ(timer_settime(timer, 0, &period, NULL), 0);
	while (is_time_for_more(end))
		churn_step(&main_churn);
	least = now_us() - start;
	CHECK_EQ(timer_delete(timer), 0);
	most = now_us() - start;
	CHECK_MSG((double)ticks > least / period_us * 0.99 - 50 &&
			  (double)ticks < most / period_us + 2,
		"%lu ticks in %.0f to %.0f us", ticks, least, most);
	CHECK_GT(handled, 100ul);
}

TEST(no_expiry_of_a_timer_is_lost)
{
	set_action(SIGALRM, count_ticks, SA_RESTART);
	check_ticks(make_timer(SIGALRM), 50);
}

TEST(nor_of_one_with_a_real_time_signal)
{
	set_action(SIGRTMIN, count_ticks, SA_RESTART);
	check_ticks(make_timer(SIGRTMIN), 50);
}

/* The timer has its one place in the queue; a signal can be queued to nobody else. */
static void leave_no_room(void)
{
	struct rlimit none = {0, 0};

	CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	CHECK_EQ(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 0}), -1);
	CHECK_EQ(errno, EAGAIN);
}

static void check_mask_and_count(int number, siginfo_t *info, void *context)
{
	sigset_t now;

	CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &now), 0);
	CHECK_EQ(sigismember(&now, number), 1);
	CHECK_EQ(sigismember(&now, SIGUSR2), 1);
	CHECK_EQ(sigismember(&now, SIGTERM), 0);
	CHECK_EQ(sigismember(&((ucontext_t *)context)->uc_sigmask, number), 0);
	count_ticks(number, info, context);
}

TEST(nor_when_nothing_can_be_queued)
{
	timer_t timer = make_timer(SIGRTMIN);

	set_action(SIGRTMIN, check_mask_and_count, SA_RESTART);
	leave_no_room();
	check_ticks(timer, 50);
}

/* Signals are sent all the same, but their siginfo is lost. */
TEST(nor_when_no_siginfo_can_be_kept)
{
	timer_t timer = make_timer(SIGALRM);

	set_action(SIGALRM, check_mask_and_count, SA_RESTART);
	leave_no_room();
	check_ticks(timer, 50);
}

static void count_plain(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	handled++;
}

static volatile unsigned long sent;

static void *send_plain(void *argument)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!is_over) {
		unsigned long before = handled;

		sent++;
		CHECK_EQ(pthread_kill(main_thread, *(int *)argument), 0);
		while (handled == before && !is_over)
			sched_yield();
	}
	return NULL;
}

/* Each is waited for: none is lost, or the test hangs. */
static void take_plain(int number)
{
	pthread_t sender, other;
	time_t end = end_of_test();

	main_thread = pthread_self();
	CHECK_EQ(pthread_create(&other, NULL, churn_beside, NULL), 0);
	CHECK_EQ(pthread_create(&sender, NULL, send_plain, &number), 0);
	while (is_time_for_more(end))
		churn_step(&main_churn);
	for (unsigned long before = handled; handled == before;)
		churn_step(&main_churn);
	is_over = 1;
	CHECK_EQ(pthread_join(sender, NULL), 0);
	CHECK_EQ(pthread_join(other, NULL), 0);
	CHECK_EQ(handled, sent);
	CHECK_GT(handled, 50ul);
}

TEST(every_signal_comes_though_siginfo_is_lost)
{
	set_action(SIGUSR1, count_plain, SA_RESTART);
	leave_no_room();
	take_plain(SIGUSR1);
}

/* ---- what a handler finds ---- */

static void check_masks(int number, siginfo_t *info, void *context)
{
	unsigned long now, expected = 1ul << (number - 1) | 1ul << (SIGUSR2 - 1);

	(void)info;
	CHECK_EQ(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, sizeof(now)), 0);
	CHECK_EQ(now, expected | 1ul << (SIGHUP - 1));
	CHECK_EQ(*(unsigned long *)&((ucontext_t *)context)->uc_sigmask, 1ul << (SIGHUP - 1));
	errno = 1000;
	handled++;
}

TEST(masks_are_those_of_the_program)
{
	unsigned long mask = 1ul << (SIGHUP - 1), now;
	pthread_t sender;
	int number = SIGUSR1;
	time_t end = end_of_test();

	main_thread = pthread_self();
	set_action(SIGUSR1, check_masks, 0);
	CHECK_EQ(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask)), 0);
	CHECK_EQ(pthread_create(&sender, NULL, send_plain, &number), 0);
	while (is_time_for_more(end)) {
		churn_step(&main_churn);
		CHECK_EQ(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, sizeof(now)), 0);
		CHECK_EQ(now, mask);
	}
	is_over = 1;
	CHECK_EQ(pthread_join(sender, NULL), 0);
	CHECK_GT(handled, 50ul);
}

static char *alternate;

static void check_stack(int number, siginfo_t *info, void *context)
{
	char here;

	(void)number;
	(void)info;
	CHECK(&here >= alternate && &here < alternate + 65536);
	CHECK_EQ(((ucontext_t *)context)->uc_stack.ss_sp, (void *)alternate);
	handled++;
}

TEST(handlers_run_on_the_alternate_stack)
{
	stack_t stack = {.ss_size = 65536};

	stack.ss_sp = alternate = malloc(65536);
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	set_action(SIGUSR1, check_stack, SA_ONSTACK | SA_RESTART);
	take_plain(SIGUSR1);
}

static sigjmp_buf back;
static volatile int may_jump;

static void allocate_and_jump(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	handled++;
	if (!may_jump)
		return;
	allocate_and_free();
	siglongjmp(back, 1);
}

/* One alarm after the other: a block that was being made or freed is lost, all else goes on. */
TEST(handlers_may_jump_out_of_malloc_of_large_blocks)
{
	static volatile unsigned long jumps;
	static time_t end;
	struct itimerspec period = {{0, 100000}, {0, 100000}};

	end = end_of_test();
	set_action(SIGALRM, allocate_and_jump, 0);
	CHECK_EQ(timer_settime(make_timer(SIGALRM), 0, &period, NULL), 0);
	if (sigsetjmp(back, 1) != 0)
		jumps++;
	while (time(NULL) < end) {
		may_jump = 1;
		for (int i = 0; i < 20; i++)
			churn_step(&main_churn);
		may_jump = 0;
	}
	may_jump = 0;
	CHECK_GT(jumps, 50ul);
}

/* ---- one-shot handlers ---- */

static volatile unsigned long armed; /* times; the handler has run as often when it is not */

static void disarm(int number, siginfo_t *info, void *context)
{
	struct sigaction now;

	(void)info;
	(void)context;
	CHECK_EQ(sigaction(number, NULL, &now), 0);
	CHECK_EQ((void *)now.sa_handler, (void *)SIG_DFL);
	handled++;
}

static void *send_when_armed(void *argument)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!is_over) {
		unsigned long now = armed;

		if (now == handled) {
			sched_yield();
			continue;
		}
		for (unsigned i = (unsigned)now * 7 % 3000; i > 0; i--)
			__asm__ volatile("");
		CHECK_EQ(pthread_kill(main_thread, SIGUSR1), 0);
		while (handled < now)
			sched_yield();
	}
	return argument;
}

/* The kernel takes the handler away when it means to run it. It runs once for each time it was installed. */
TEST(one_shot_handlers_run_once)
{
	pthread_t sender;
	time_t end = end_of_test();

	main_thread = pthread_self();
	CHECK_EQ(pthread_create(&sender, NULL, send_when_armed, NULL), 0);
	while (is_time_for_more(end)) {
		set_action(SIGUSR1, disarm, armed % 2 ? SA_RESETHAND | SA_NODEFER : SA_RESETHAND);
		armed++;
		while (handled < armed)
			churn_step(&main_churn);
		CHECK_EQ(handled, armed);
	}
	is_over = 1;
	CHECK_EQ(pthread_join(sender, NULL), 0);
	CHECK_GT(handled, 50ul);
}

/* ---- threads that are stopped ---- */

static void *collect(void *argument)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!is_over)
		gasket_collect();
	for (int i = 0; i < 100 && *(int *)argument != 1; i++)
		*(int *)argument = gasket_collect();
	return NULL;
}

/* A collection that was asked for takes the locks that the stopped threads may not hold. All of them answer, if late. */
TEST(threads_stop_without_a_lock)
{
	pthread_t collecting, other;
	int verdict = 0;
	time_t end = end_of_test();

	CHECK_EQ(pthread_create(&other, NULL, churn_beside, NULL), 0);
	CHECK_EQ(pthread_create(&collecting, NULL, collect, &verdict), 0);
	while (time(NULL) < end)
		churn_step(&main_churn);
	is_over = 1;
	CHECK_EQ(pthread_join(collecting, NULL), 0);
	CHECK_EQ(pthread_join(other, NULL), 0);
	CHECK_EQ(verdict, 1);
}

/* ---- who is told nothing of held off handlers ---- */

/* Blocks that no thread's cache keeps: the lock alone, for the cache of the interrupted malloc is nobody's to use. */
static void take_lock_raw(int number)
{
	char *block = malloc(MIB);

	(void)number;
	*block = 1;
	free(block);
	handled++;
}

TEST(handlers_set_by_system_calls_meet_no_lock)
{
	struct raw_action action = {
		.handler = take_lock_raw, .flags = 0x04000000 | SA_RESTART, .restorer = raw_return};

	CHECK_EQ(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8), 0);
	take_plain(SIGUSR1);
}

static struct churn churns[2];

static void *churn_to_be_cancelled(void *argument)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	while (!is_over)
		churn_step(argument);
	return argument;
}

/* No program may do this; those that do it leave no lock behind. */
TEST(threads_cancelled_in_malloc_hold_no_lock)
{
	time_t end = end_of_test();

	for (unsigned i = 0; time(NULL) < end; i++) {
		struct timespec moment = {0, 10000 + i % 100 * 1000};
		pthread_t thread;

		memset(churns, 0, sizeof(churns));
		CHECK_EQ(pthread_create(&thread, NULL, churn_to_be_cancelled, &churns[i % 2]), 0);
		nanosleep(&moment, NULL);
		CHECK_EQ(pthread_cancel(thread), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		for (int at = 0; at < BLOCKS; at++)
			free(churns[i % 2].blocks[at]);
		churn_step(&main_churn);
	}
}

static volatile pid_t in_vfork;

static void *end_children(void *argument)
{
	while (!is_over) {
		struct timespec moment = {0, 200000};
		pid_t child = in_vfork;

		if (child == 0)
			continue;
		nanosleep(&moment, NULL);
		kill(child, SIGTERM);
		while (in_vfork == child && !is_over)
			sched_yield();
	}
	return argument;
}

/* A child that shares the memory may be ended by a signal wherever it stands, but not with a lock. */
TEST(children_of_vfork_end_without_a_lock)
{
	time_t end = end_of_test();
	static struct churn churn;
	pthread_t killer;
	int status;

	CHECK_EQ(pthread_create(&killer, NULL, end_children, NULL), 0);
	while (time(NULL) < end) {
		pid_t child = vfork();

		if (child == 0) {
			in_vfork = getpid();
			for (;;)
				churn_step(&churn);
		}
		in_vfork = 0;
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
		memset(&churn.blocks, 0, sizeof(churn.blocks)); /* one may be half freed */
		for (int i = 0; i < 10; i++)
			churn_step(&main_churn);
	}
	is_over = 1;
	CHECK_EQ(pthread_join(killer, NULL), 0);
}
