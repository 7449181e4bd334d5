/*
 * The program's own use of signals goes on as if nobody else used any: its handlers, masks, storms of them over malloc, jumps out of them.
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int is_over, is_collecting;
static volatile unsigned long handled;
static volatile int may_jump; /* 1: now, 0: not now, -1: in no handler of this test */

static void *collect_back_to_back(void *argument)
{
	unsigned long *ret_verdicts = argument;
	sigset_t set;

	if (may_jump >= 0) { /* a jump belongs on the main thread's stack */
		sigemptyset(&set);
		sigaddset(&set, SIGALRM);
		pthread_sigmask(SIG_BLOCK, &set, NULL);
	}
	is_collecting = 1;
	while (!is_over)
		*ret_verdicts += gasket_collect() == 1;
	return NULL;
}

static pthread_t collecting;
static unsigned long verdicts;

static void start_collecting(void)
{
	CHECK_EQ(pthread_create(&collecting, NULL, collect_back_to_back, &verdicts), 0);
	while (!is_collecting)
		usleep(1000);
}

/* On a busy machine so many verdicts take longer. */
static void stop_collecting(unsigned long least)
{
	for (int i = 0; i < 1500 && verdicts < least; i++)
		usleep(10000);
	is_over = 1;
	CHECK_EQ(pthread_join(collecting, NULL), 0);
	CHECK_MSG(verdicts >= least, "only %lu collections gave a verdict", verdicts);
}

/* Until then, or on a busy machine until there were enough of them. */
static bool is_time_for_more(time_t end, unsigned long done)
{
	time_t now = time(NULL);

	return now < end || (done <= 1000 && now < end + 15);
}

static void count_signal(int number)
{
	(void)number;
	handled++;
}

static void *wait_blocked(void *argument)
{
	while (!is_over) {
		struct timespec moment = {0, 5000000};

		nanosleep(&moment, NULL);
	}
	return argument;
}

/* ---- dispositions ---- */

static void check_same_action(int number, const struct sigaction *wanted)
{
	struct sigaction seen;

	CHECK_EQ(sigaction(number, NULL, &seen), 0);
	CHECK_EQ((void *)seen.sa_handler, (void *)wanted->sa_handler);
	CHECK_EQ(seen.sa_flags & ~0x04000000, wanted->sa_flags);
	CHECK_EQ(sigismember(&seen.sa_mask, SIGUSR2), sigismember(&wanted->sa_mask, SIGUSR2));
}

TEST(a_handler_for_every_signal)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_NODEFER};
	unsigned long expected = 0;

	start_collecting();
	usleep(50000);
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	for (int number = 1; number <= 64; number++) {
		int result = sigaction(number, &action, NULL);

		CHECK_EQ(result == 0,
			number != SIGKILL && number != SIGSTOP && number != 32 && number != 33);
	}
	usleep(200000);
	CHECK_EQ(handled, 0ul); /* nothing of ours reaches them */
	for (int number = 1; number <= 64; number++) {
		if (number == SIGKILL || number == SIGSTOP || number == 32 || number == 33)
			continue;
		check_same_action(number, &action);
		CHECK_EQ(pthread_kill(pthread_self(), number), 0);
		expected++;
		for (int i = 0; i < 1000 && handled < expected; i++)
			usleep(100);
		CHECK_MSG(handled == expected, "signal %d: %lu of %lu arrived", number, handled,
			expected);
	}
	stop_collecting(10);
}

TEST(dispositions_are_told_as_they_were_set)
{
	struct sigaction action = {
		.sa_handler = count_signal, .sa_flags = SA_RESETHAND | SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	check_same_action(SIGUSR1, &action);
	raise(SIGUSR1);
	CHECK_EQ(handled, 1ul);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &action), 0);
	CHECK_EQ((void *)action.sa_handler, (void *)SIG_DFL);
	CHECK_EQ((void *)signal(SIGUSR1, count_signal), (void *)SIG_DFL);
	CHECK_EQ((void *)signal(SIGUSR1, SIG_IGN), (void *)count_signal);
	raise(SIGUSR1);
	CHECK_EQ(handled, 1ul);
	CHECK_EQ((void *)signal(SIGUSR1, SIG_DFL), (void *)SIG_IGN);
	CHECK_EQ((void *)sigset(SIGUSR1, count_signal), (void *)SIG_DFL);
	CHECK_EQ((void *)sigset(SIGUSR1, SIG_HOLD), (void *)count_signal);
	raise(SIGUSR1);
	CHECK_EQ(handled, 1ul);
	CHECK_EQ((void *)sigset(SIGUSR1, count_signal), (void *)SIG_HOLD);
	CHECK_EQ(handled, 2ul);
	errno = 0;
	CHECK_EQ((void *)signal(65, count_signal), (void *)SIG_ERR);
	CHECK_EQ(errno, EINVAL);
	errno = 0;
	CHECK_EQ((void *)signal(SIGKILL, count_signal), (void *)SIG_ERR);
	CHECK_EQ(errno, EINVAL);
}

/* libc has a function of its own return from every handler; the kernel blocks neither SIGKILL nor SIGSTOP. */
TEST(dispositions_are_told_as_libc_tells_them)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART}, seen;

	sigfillset(&action.sa_mask);
	for (int number = 1; number <= 64; number++) {
		if (sigaction(number, &action, NULL) != 0)
			continue;
		CHECK_EQ(sigaction(number, NULL, &seen), 0);
		CHECK_EQ((void *)seen.sa_handler, (void *)count_signal);
		CHECK_EQ((unsigned)seen.sa_flags, (unsigned)SA_RESTART | 0x04000000u);
		CHECK_EQ(sigismember(&seen.sa_mask, SIGKILL), 0);
		CHECK_EQ(sigismember(&seen.sa_mask, SIGSTOP), 0);
		for (int other = 34; other <= 64; other++)
			CHECK_EQ(sigismember(&seen.sa_mask, other), 1);
	}
}

static volatile int seen_code, seen_value;

static void note_info(int number, siginfo_t *info, void *context)
{
	CHECK_EQ(info->si_signo, number);
	CHECK_NOT_NULL(context);
	seen_code = info->si_code;
	seen_value = info->si_value.sival_int;
	handled++;
}

TEST(siginfo_reaches_the_handler)
{
	struct sigaction action = {.sa_sigaction = note_info, .sa_flags = SA_SIGINFO};

	CHECK_EQ(sigaction(SIGRTMIN, &action, NULL), 0);
	CHECK_EQ(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}), 0);
	CHECK_EQ(handled, 1ul);
	CHECK_EQ(seen_code, SI_QUEUE);
	CHECK_EQ(seen_value, 42);
}

/* ---- masks ---- */

TEST(masks_are_told_as_they_were_set)
{
	sigset_t all, seen;

	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &seen), 0);
	for (int number = 1; number <= 64; number++) {
		if (number != SIGKILL && number != SIGSTOP && number != 32 && number != 33)
			CHECK_MSG(sigismember(&seen, number) == 1, "signal %d is not blocked",
				number);
	}
	sigemptyset(&all);
	CHECK_EQ(sigprocmask(SIG_SETMASK, &all, &seen), 0);
	CHECK_EQ(sigismember(&seen, 62), 1);
	CHECK_EQ(sigprocmask(SIG_SETMASK, NULL, &seen), 0);
	CHECK_EQ(sigismember(&seen, 62), 0);
}

static void *sleep_with_all_blocked(void *argument)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!is_over)
		handled++;
	return argument;
}

TEST(a_thread_that_blocks_all_by_libc_is_stopped_all_the_same)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, sleep_with_all_blocked, NULL), 0);
	start_collecting();
	usleep(300000);
	stop_collecting(20);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void *spin_with_all_blocked(void *argument)
{
	unsigned long all = ~0ul;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	handled = 1;
	while (!is_over)
		handled++;
	return argument;
}

TEST(a_thread_that_blocks_all_by_the_kernel_costs_the_verdict_only)
{
	struct timespec start, end;
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, spin_with_all_blocked, NULL), 0);
	while (!handled)
		usleep(1000);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gasket_collect(), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	CHECK_LT(end.tv_sec - start.tv_sec, 8);
	is_over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(gasket_collect(), 1);
}

TEST(a_program_may_wait_for_the_number_we_use)
{
	for (int number = 34; number <= 64; number++) {
		struct timespec second = {1, 0};
		sigset_t set;

		gasket_collect();
		sigemptyset(&set);
		sigaddset(&set, number);
		CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
		CHECK_EQ(kill(getpid(), number), 0);
		CHECK_MSG(
			sigtimedwait(&set, NULL, &second) == number, "signal %d was lost", number);
		CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
	}
	CHECK_EQ(gasket_collect(), 1);
}

static void queue_to_process(int number, int value)
{
	CHECK_EQ(sigqueue(getpid(), number, (union sigval){.sival_int = value}), 0);
}

/* Whatever number stops threads: it is one of these. */
TEST(a_program_may_block_all_and_wait_for_any_number)
{
	struct timespec second = {1, 0};
	sigset_t all, pending;
	siginfo_t info;

	sigfillset(&all);
	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
	for (int number = 34; number <= 64; number++) {
		queue_to_process(number, number * 10);
		queue_to_process(number, number * 10 + 1);
		CHECK_EQ(sigpending(&pending), 0);
		CHECK_EQ(sigismember(&pending, number), 1);
		for (int i = 0; i < 2; i++) {
			CHECK_MSG(sigtimedwait(&all, &info, &second) == number,
				"signal %d was lost", number);
			CHECK_EQ(info.si_code, SI_QUEUE);
			CHECK_EQ(info.si_value.sival_int, number * 10 + i);
		}
		CHECK_EQ(gasket_collect(), 1);
	}
}

static volatile int waited_for;

static void *wait_for_any(void *argument)
{
	sigset_t all;
	int number;

	sigfillset(&all);
	while (sigwait(&all, &number) == 0 && number != SIGTERM)
		waited_for = number;
	return argument;
}

/* The usual way: one thread waits for the signals of all; it inherits its mask, as do the others, to any of which a signal may come first. */
TEST(a_thread_may_wait_for_any_number, .limit_seconds = 30)
{
	pthread_t waiter, sleepers[4];
	sigset_t all;

	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	CHECK_EQ(pthread_create(&waiter, NULL, wait_for_any, NULL), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&sleepers[i], NULL, wait_blocked, NULL), 0);
	start_collecting();
	for (int number = 34; number <= 64; number++) {
		queue_to_process(number, 0);
		for (int i = 0; i < 2000 && waited_for != number; i++)
			usleep(1000);
		CHECK_MSG(waited_for == number, "signal %d was lost", number);
	}
	/* all of them may have come within one collection */
	for (int i = 0; i < 10000 && *(volatile unsigned long *)&verdicts < 10; i++)
		usleep(1000);
	stop_collecting(10);
	CHECK_EQ(pthread_kill(waiter, SIGTERM), 0);
	CHECK_EQ(pthread_join(waiter, NULL), 0);
}

/* The number that is ours is chosen when the program first blocks it; no collection has run yet. */
TEST(a_number_that_is_blocked_waits_before_the_first_collection)
{
	sigset_t all;
	int number;

	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	for (int sent = 34; sent <= 64; sent++) {
		queue_to_process(sent, 0);
		CHECK_EQ(sigwait(&all, &number), 0);
		CHECK_EQ(number, sent);
	}
}

static pthread_t debtor;
static volatile int debtor_task;

static void *answer_late(void *argument)
{
	unsigned long none = 0;

	debtor_task = (int)syscall(SYS_gettid);
	spin_with_all_blocked(argument);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
	return argument;
}

/* Another thread has a stop signal pending, and keeps it. Returns its number. */
static int let_one_owe(void)
{
	unsigned long pending = 0;
	char path[64], line[256];
	FILE *file;

	CHECK_EQ(pthread_create(&debtor, NULL, answer_late, NULL), 0);
	while (!handled)
		usleep(1000);
	CHECK_EQ(gasket_collect(), 0);
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", debtor_task);
	file = fopen(path, "r");
	while (fgets(line, sizeof(line), file))
		sscanf(line, "SigPnd: %lx", &pending);
	fclose(file);
	CHECK_NE(pending, 0ul);
	return __builtin_ctzl(pending) + 1;
}

static void let_it_pay(void)
{
	is_over = 1;
	CHECK_EQ(pthread_join(debtor, NULL), 0);
}

TEST(a_mask_names_the_number_whose_signals_are_under_way)
{
	int number = let_one_owe();
	sigset_t set, seen;

	sigemptyset(&set);
	sigaddset(&set, number);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &seen), 0);
	for (int other = 34; other <= 64; other++)
		CHECK_MSG(sigismember(&seen, other) == (other == number), "signal %d", other);
	let_it_pay();
	CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
	CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &seen), 0);
	CHECK_EQ(sigismember(&seen, number), 0);
	CHECK_EQ(gasket_collect(), 1);
}

static volatile unsigned long signals_seen;

static void note_signal(int number)
{
	(void)number;
	signals_seen++;
}

TEST(a_late_stop_signal_does_not_reach_the_handler_that_took_its_number)
{
	struct sigaction action = {.sa_handler = note_signal};
	int number = let_one_owe();

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(sigaction(number, &action, NULL), 0);
		check_same_action(number, &action);
	}
	let_it_pay();
	CHECK_EQ(signals_seen, 0ul);
	CHECK_EQ(sigaction(number, &action, NULL), 0);
	check_same_action(number, &action);
	CHECK_EQ(gasket_collect(), 1);
	CHECK_EQ(pthread_kill(pthread_self(), number), 0);
	CHECK_EQ(signals_seen, 1ul);
}

TEST(a_late_stop_signal_does_not_kill_where_its_number_is_reset)
{
	struct sigaction action = {.sa_handler = note_signal};
	int number = let_one_owe();

	CHECK_EQ(sigaction(number, &action, NULL), 0);
	action.sa_handler = SIG_DFL;
	CHECK_EQ(sigaction(number, &action, NULL), 0);
	let_it_pay();
	CHECK_EQ(gasket_collect(), 1);
}

TEST(resetting_every_disposition_behind_our_back_does_no_harm)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		unsigned long mask;
	} standard = {0};

	CHECK_EQ(gasket_collect(), 1);
	for (int number = 1; number <= 64; number++)
		syscall(SYS_rt_sigaction, number, &standard, NULL, 8);
	CHECK_EQ(gasket_collect(), 1);
}

/* ---- storms ---- */

static void *volatile kept[64];

static void allocate_in_handler(int number)
{
	void *block = malloc(24 + handled % 200);

	(void)number;
	memset(block, 0x5a, 24);
	free(kept[handled % 64]);
	kept[handled % 64] = block;
	handled++;
}

/* A timer of 10 kHz in this thread. */
static void start_storm(void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
	struct itimerspec period = {{0, 100000}, {0, 100000}};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	timer_t timer;

	CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	CHECK_EQ(timer_settime(timer, 0, &period, NULL), 0);
}

/* Blocks know who they are: a slot handed out twice shows. */
struct block {
	struct block *self;
	unsigned long size;
	char rest[];
};

static struct block *make_block(unsigned random)
{
	unsigned long size = sizeof(struct block) + random % 500;
	struct block *block = malloc(size);

	memset(block, (int)(size & 0xff), size);
	block->self = block;
	block->size = size;
	return block;
}

static void check_block(const struct block *block)
{
	CHECK_EQ((void *)block->self, (void *)block);
	for (unsigned long i = 0; i < block->size - sizeof(*block); i++)
		CHECK_EQ(block->rest[i], (char)(block->size & 0xff));
}

static void churn_blocks(struct block **blocks, unsigned count, unsigned steps, unsigned *random)
{
	for (unsigned i = 0; i < steps; i++) {
		unsigned at;

		*random = *random * 1103515245 + 12345;
		at = (*random >> 8) % count;
		if (blocks[at]) {
			check_block(blocks[at]);
			struct block *old = blocks[at];
			blocks[at] = NULL;
			free(old);
		}
		struct block *made = make_block(*random >> 16);
		__atomic_signal_fence(__ATOMIC_SEQ_CST); /* a jump may come at any instruction */
		blocks[at] = made;
	}
}

enum { STORM_SECONDS = CHECKS ? 2 : 4 };

static void storm(void)
{
	static struct block *blocks[2000];
	unsigned random = 1;
	time_t end = time(NULL) + STORM_SECONDS;

	start_collecting();
	start_storm(allocate_in_handler, SA_RESTART);
	while (is_time_for_more(end, handled))
		churn_blocks(blocks, 2000, 1000, &random);
	stop_collecting(20);
	CHECK_GT(handled, 1000ul);
}

TEST(handlers_may_allocate_at_any_instruction, .limit_seconds = 30)
{
	may_jump = -1;
	storm();
}

/* Much that is freed and still named: all slots are cleared before they are used again, from then on. */
TEST(handlers_may_allocate_while_all_slots_are_cleared, .limit_seconds = 60)
{
	enum { NAMED = 140000, NAMED_BYTES = 512 };
	static void *named[NAMED];

	may_jump = -1;
	for (int i = 0; i < NAMED; i++)
		named[i] = malloc(NAMED_BYTES);
	for (int i = 0; i < NAMED; i++)
		free(named[i]);
	gasket_collect();
	memset(named, 0, sizeof(named));
	storm();
}

/*
 * Slots of 1 KiB and more whose end is cleared when they are handed out: one that a handler has taken meanwhile is its own. The handler's blocks are the longer ones of
 * the same class.
 */
enum { LONG_BLOCKS = 512, LONG_BYTES = 1040, LONG_BYTES_OF_HANDLER = 1100 };

/* Frees the block at the place and puts one of `size` there, all bytes of which tell whose it is; of the old one the first `checked` must still say so. */
static void replace(unsigned char **at, size_t checked, size_t size, int owner)
{
	unsigned char *old = *at;

	for (size_t i = 0; old && i < checked; i++)
		CHECK_EQ(old[i], (unsigned char)owner);
	*at = NULL;
	free(old);
	old = malloc(size);
	memset(old, owner, size);
	*at = old;
}

static void allocate_long_in_handler(int number)
{
	static unsigned char *blocks[64];

	(void)number;
	for (unsigned i = 0; i < 4; i++)
		replace(&blocks[(handled * 4 + i) % 64], LONG_BYTES_OF_HANDLER,
			LONG_BYTES_OF_HANDLER, 0xee);
	handled++;
}

TEST(handlers_may_allocate_over_slots_that_are_cleared, .limit_seconds = 60)
{
	static unsigned char *blocks[LONG_BLOCKS];
	unsigned random = 1;
	time_t end = time(NULL) + STORM_SECONDS;

	may_jump = -1;
	CHECK_EQ(malloc_usable_size(malloc(LONG_BYTES)),
		malloc_usable_size(malloc(LONG_BYTES_OF_HANDLER)));
	start_collecting();
	start_storm(allocate_long_in_handler, SA_RESTART);
	while (is_time_for_more(end, handled)) {
		for (int i = 0; i < 1000; i++) {
			random = random * 1103515245 + 12345;
			replace(&blocks[(random >> 8) % LONG_BLOCKS], LONG_BYTES, LONG_BYTES, 0x11);
		}
	}
	stop_collecting(20);
	CHECK_GT(handled, 1000ul);
}

/* Blocks of few sizes, so that a handler takes the slot that the code below it was about to take; each byte tells whose the block is. */
enum { SMALL_BLOCKS = 512, SMALL_OF_HANDLER = 0xee, SMALL_CHECKED = 16 };

static void allocate_small_in_handler(int number)
{
	static unsigned char *blocks[64];

	(void)number;
	for (unsigned i = 0; i < 8; i++)
		replace(&blocks[(handled * 8 + i) % 64], SMALL_CHECKED, 16 + 16 * i,
			SMALL_OF_HANDLER);
	handled++;
}

TEST(handlers_may_allocate_over_malloc_of_mode_fast, .options = "mode=fast", .limit_seconds = 30)
{
	static unsigned char *blocks[SMALL_BLOCKS];
	unsigned random = 1;
	time_t end = time(NULL) + STORM_SECONDS;

	start_storm(allocate_small_in_handler, SA_RESTART);
	while (is_time_for_more(end, handled)) {
		for (int i = 0; i < 1000; i++) {
			unsigned at =
				(random = random * 1103515245 + 12345) >> 8 & (SMALL_BLOCKS - 1);

			replace(&blocks[at], SMALL_CHECKED, 16 + 16 * (at % 8), (int)(at % 200));
		}
	}
	CHECK_GT(handled, 1000ul);
}

static sigjmp_buf back;

/*
 * One jump at a time: siglongjmp opens the mask while it still stands on the handler's stack, where the next signal may wait already. If that one's handler jumped, too,
 * and so on, handlers that take longer than the timer's period would fill the stack.
 */
static void allocate_and_jump(int number)
{
	allocate_in_handler(number);
	if (may_jump) {
		may_jump = 0;
		siglongjmp(back, 1);
	}
}

static struct block *jump_blocks[2000];

/* What was being made or freed when the jump came is lost, as with any malloc; what was finished stays whole. */
TEST(handlers_may_jump_out_of_malloc, .limit_seconds = 30)
{
	static volatile unsigned long jumps;
	static unsigned random = 1;
	static time_t end;

	end = time(NULL) + STORM_SECONDS;
	start_collecting();
	start_storm(allocate_and_jump, SA_RESTART);
	if (sigsetjmp(back, 1) != 0)
		jumps++;
	while (is_time_for_more(end, jumps)) {
		may_jump = 1;
		churn_blocks(jump_blocks, 2000, 20, &random);
		may_jump = 0;
	}
	may_jump = 0;
	stop_collecting(20);
	CHECK_GT(jumps, 1000ul);
}

TEST(handlers_on_an_alternate_stack_may_jump, .limit_seconds = 30)
{
	static volatile unsigned long jumps;
	static unsigned random = 1;
	static time_t end;
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	stack.ss_sp = NULL; /* only the kernel knows it now */
	end = time(NULL) + STORM_SECONDS;
	start_collecting();
	start_storm(allocate_and_jump, SA_RESTART | SA_ONSTACK);
	if (sigsetjmp(back, 1) != 0)
		jumps++;
	while (is_time_for_more(end, jumps)) {
		may_jump = 1;
		churn_blocks(jump_blocks, 2000, 20, &random);
		may_jump = 0;
	}
	may_jump = 0;
	stop_collecting(20);
	CHECK_GT(jumps, 1000ul);
}

/* A handler that interrupts a blocked call runs the program's code: the thread must not count as stopped meanwhile. */
static void work_in_handler(int number)
{
	char *block = malloc(100);

	(void)number;
	strcpy(block, "made in a handler");
	for (int i = 0; i < 20; i++) {
		char *copy = strdup(block);

		CHECK_STR_EQ(copy, "made in a handler");
		free(block);
		block = copy;
	}
	free(block);
	handled++;
}

TEST(handlers_run_over_blocked_calls, .limit_seconds = 30)
{
	struct sigaction action = {.sa_handler = work_in_handler};
	pthread_t threads[4];
	unsigned long sent = 0;

	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	start_collecting();
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, wait_blocked, NULL), 0);
	for (time_t end = time(NULL) + 3; is_time_for_more(end, handled); sent++) {
		pthread_kill(threads[sent % 4], SIGUSR1);
		usleep(200);
	}
	stop_collecting(20);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_GT(handled, 1000ul);
}

static volatile int alarm_count;

static void on_alarm(int number)
{
	(void)number;
	alarm_count++;
}

TEST(a_handler_without_restart_interrupts_as_ever)
{
	struct sigaction action = {.sa_handler = on_alarm};
	int ends[2];
	char byte;

	start_collecting();
	CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQ(pipe(ends), 0);
	for (int i = 0; i < 5; i++) {
		struct itimerval once = {{0, 0}, {0, 50000}};

		setitimer(ITIMER_REAL, &once, NULL);
		errno = 0;
		CHECK_EQ(read(ends[0], &byte, 1), -1);
		CHECK_EQ(errno, EINTR);
		setitimer(ITIMER_REAL, &once, NULL);
		CHECK_EQ(usleep(1000000), -1);
		CHECK_EQ(errno, EINTR);
		setitimer(ITIMER_REAL, &once, NULL);
		errno = 0;
		CHECK_EQ(sleep(3), 2u);
		CHECK_EQ(errno, EINTR);
	}
	CHECK_EQ(alarm_count, 15);
	stop_collecting(10);
}
