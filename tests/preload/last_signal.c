/*
 * A process that dies of a signal reports its leaks first, dies of that signal all the same, and sees nothing of it before. Most cases are children: each
 * leaks a block, stands somewhere, and gets the signal from its parent, which looks at the status and at the child's report.
 */
#include "tests/gc/hidden.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define REPORTS "report=/tmp/gasket-last-signal.%p"

static int ready[2]; // the child says that it stands where it should

static void report_path(char *path, size_t capacity, pid_t child)
{
	snprintf(path, capacity, "/tmp/gasket-last-signal.%d", child);
}

/* The child's report is there, whole; it is removed. */
static bool take_report(pid_t child)
{
	static char text[65536];
	char path[64];
	ssize_t bytes;
	int fd;

	report_path(path, sizeof(path), child);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	unlink(path);
	CHECK_GT(bytes, (ssize_t)0);
	text[bytes] = 0;
	CHECK_MSG(strstr(text, "SUMMARY: Gasket: "), "%s", text);
	return true;
}

static void say_ready(void)
{
	CHECK_EQ(write(ready[1], "r", 1), (ssize_t)1);
}

static pid_t start_child(void (*body)(void))
{
	pid_t child;
	char byte;

	CHECK_EQ(pipe(ready), 0);
	child = fork();
	CHECK_GE(child, 0);
	if (child == 0) {
		hide_block(3000);
		collect();
		body();
		_exit(TEST_FAILED);
	}
	close(ready[1]);
	CHECK_EQ(read(ready[0], &byte, 1), (ssize_t)1);
	close(ready[0]);
	return child;
}

static int wait_for(pid_t child)
{
	int status = 0;

	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

static void check_dies_of(int number, void (*body)(void), bool reports)
{
	pid_t child;
	int status;

	signal(number, SIG_DFL); // nohup and shells' background leave some ignored
	child = start_child(body);
	usleep(2000); // it may be anywhere in its loop
	CHECK_EQ(kill(child, number), 0);
	status = wait_for(child);
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == number, "status %x", status);
	CHECK_EQ(take_report(child), reports);
}

/* ---- where it may stand ---- */

static void wait_in_a_call(void)
{
	say_ready();
	for (;;)
		pause();
}

static void wait_in_a_raw_call(void)
{
	say_ready();
	for (;;)
		syscall(SYS_pause);
}

static void compute(void)
{
	volatile unsigned long count = 0;

	say_ready();
	for (;;)
		count = count + 1;
}

static void allocate(void)
{
	say_ready();
	for (size_t i = 0;; i++) {
		void *small = malloc(i % 2000), *large = malloc(100000 + i % 100000);

		free(small);
		free(large);
	}
}

static void print(void)
{
	FILE *file = fopen("/dev/null", "w");

	setvbuf(file, NULL, _IONBF, 0);
	say_ready();
	for (;;)
		fprintf(file, "%d %s\n", 1, "a line");
}

static void *compute_in_thread(void *unused)
{
	(void)unused;
	for (volatile unsigned long count = 0;; count = count + 1)
		;
	return NULL;
}

static void *wait_in_thread(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static void be_many(void)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++) {
		CHECK_EQ(pthread_create(
				 &thread, NULL, i < 2 ? wait_in_thread : compute_in_thread, NULL),
			0);
	}
	allocate();
}

static void stand_on_an_alternate_stack(void)
{
	static char memory[16384];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	wait_in_a_call();
}

static void open_after_a_while(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	say_ready();
	usleep(20000);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

static void (*const places[])(void) = {wait_in_a_call, wait_in_a_raw_call, compute, allocate, print,
	be_many, stand_on_an_alternate_stack, open_after_a_while};

TEST(wherever_it_is_interrupted_it_reports_and_dies, .options = REPORTS)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		check_dies_of(SIGTERM, places[i], true);
}

TEST(every_signal_that_ends_by_default_is_one, .options = REPORTS)
{
	static const int numbers[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		check_dies_of(numbers[i], wait_in_a_call, true);
}

TEST(a_process_that_only_waits_has_a_collector_by_then, .signal = SIGTERM,
	.contains = "SUMMARY: Gasket: ")
{
	hide_block_dirty(3000);
	scrub();
	for (int i = 0; i < 20; i++)
		usleep(5000);
	kill(getpid(), SIGTERM);
}

TEST(the_same_without_a_report, .signal = SIGTERM, .options = "report=off", .error = "")
{
	hide_block(3000);
	collect();
	raise(SIGTERM);
}

/* Several at once, to all of a group: each reports for itself. */
TEST(a_signal_to_a_group_ends_all_of_it, .options = REPORTS)
{
	pid_t leader = start_child(wait_in_a_call), other;

	CHECK_EQ(setpgid(leader, leader), 0);
	other = start_child(be_many);
	CHECK_EQ(setpgid(other, leader), 0);
	CHECK_EQ(kill(-leader, SIGTERM), 0);
	kill(-leader, SIGINT);
	kill(-leader, SIGTERM);
	for (int i = 0; i < 2; i++) {
		pid_t child = i ? leader : other;
		int status = wait_for(child);

		CHECK_MSG(WIFSIGNALED(status) &&
				  (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT),
			"status %x", status);
		CHECK(take_report(child));
	}
}

/* ---- what the program sees and says ---- */

static void on_signal(int number)
{
	(void)number;
}

TEST(the_default_action_is_what_it_sees, .options = "report=/tmp/gasket-last-signal.%p")
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;

	CHECK_EQ(sigaction(SIGTERM, NULL, &old), 0);
	CHECK(old.sa_handler == SIG_DFL);
	CHECK_EQ(old.sa_flags, 0);
	CHECK_EQ(sigismember(&old.sa_mask, SIGINT), 0);
	CHECK(signal(SIGTERM, SIG_IGN) == SIG_DFL);
	CHECK(signal(SIGTERM, SIG_DFL) == SIG_IGN);
	CHECK(signal(SIGTERM, on_signal) == SIG_DFL);
	CHECK_EQ(raise(SIGTERM), 0);
	CHECK(signal(SIGTERM, SIG_DFL) == on_signal);
	CHECK_EQ(sigaction(SIGTERM, &action, &old), 0);
	CHECK(old.sa_handler == SIG_DFL);
	CHECK_EQ(sigaction(SIGTERM, NULL, &old), 0);
	CHECK(old.sa_handler == on_signal);
	CHECK((old.sa_flags & SA_RESTART) != 0 && (old.sa_flags & SA_SIGINFO) == 0);
	action.sa_handler = SIG_DFL;
	sigaddset(&action.sa_mask, SIGHUP);
	CHECK_EQ(sigaction(SIGTERM, &action, NULL), 0);
	CHECK_EQ(sigaction(SIGTERM, NULL, &old), 0);
	CHECK(old.sa_handler == SIG_DFL && (old.sa_flags & SA_RESTART) != 0);
	CHECK(sigismember(&old.sa_mask, SIGHUP) && !sigismember(&old.sa_mask, SIGINT));
}

static void have_a_handler_for_a_while(void)
{
	signal(SIGTERM, on_signal);
	raise(SIGTERM);
	signal(SIGTERM, SIG_DFL);
	wait_in_a_call();
}

TEST(the_default_action_can_come_back, .options = REPORTS)
{
	check_dies_of(SIGTERM, have_a_handler_for_a_while, true);
}

static void ignore_it(void)
{
	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
	wait_in_a_call();
}

TEST(an_ignored_signal_is_ignored, .options = REPORTS)
{
	check_dies_of(SIGKILL, ignore_it, false);
}

/* Without the library: the kernel says which signals are caught. */
static void become_another(void)
{
	unsetenv("LD_PRELOAD");
	dup2(ready[1], STDOUT_FILENO);
	execl("/bin/sh", "sh", "-c",
		"while read name value; do [ \"$name\" = SigCgt: ] && echo $value; done </proc/$$/status; echo; read line",
		(char *)NULL);
}

TEST(an_executed_program_has_the_default_action, .options = REPORTS)
{
	unsigned long long caught = ~0ull;
	char text[64] = "";
	pid_t child;

	CHECK_EQ(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		become_another();
		_exit(TEST_FAILED);
	}
	close(ready[1]);
	for (size_t used = 0; used < sizeof(text) - 1 && !strchr(text, '\n'); used++)
		CHECK_EQ(read(ready[0], text + used, 1), (ssize_t)1);
	CHECK_EQ(sscanf(text, "%llx", &caught), 1);
	CHECK_EQ(caught >> (SIGTERM - 1) & 1, 0ull);
	kill(child, SIGTERM);
	wait_for(child);
	take_report(child);
}

TEST(a_vfork_child_dies_at_once, .options = REPORTS)
{
	struct sigaction old = {.sa_handler = on_signal};
	int status = 0;
	pid_t child = vfork();

	if (child == 0) {
		if (sigaction(SIGTERM, NULL, &old) != 0 || old.sa_handler != SIG_DFL)
			_exit(TEST_FAILED);
		raise(SIGTERM);
		_exit(TEST_FAILED);
	}
	status = wait_for(child);
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %x", status);
	CHECK(!take_report(child));
	collect();
}

/* ---- abort ---- */

static jmp_buf back;
static volatile int aborts;

static void on_abort(int number)
{
	(void)number;
	aborts = aborts + 1;
}

static void on_abort_jump(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

TEST(abort_reports, .signal = SIGABRT, .contains = "SUMMARY: Gasket: ")
{
	hide_block(3000);
	collect();
	abort();
}

TEST(abort_reports_after_the_programs_handler, .signal = SIGABRT, .contains = "SUMMARY: Gasket: ")
{
	sigset_t set;

	hide_block(3000);
	collect();
	signal(SIGABRT, on_abort);
	sigemptyset(&set);
	sigaddset(&set, SIGABRT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	abort();
}

TEST(a_handler_may_leave_abort, .options = REPORTS)
{
	signal(SIGABRT, on_abort_jump);
	if (sigsetjmp(back, 1) == 0)
		abort();
	signal(SIGABRT, SIG_DFL);
	check_dies_of(SIGABRT, wait_in_a_call, true);
}

/* ---- output ---- */

static void write_without_a_newline(void)
{
	FILE *file = fdopen(dup(ready[1]), "w");

	say_ready();
	fputs("kept in the buffer", file);
	raise(SIGTERM);
}

TEST(buffered_output_is_lost_as_it_would_be, .options = REPORTS)
{
	int status, bytes = 0;
	pid_t child;
	char byte;

	CHECK_EQ(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		collect();
		hide_block(3000);
		write_without_a_newline();
		_exit(TEST_FAILED);
	}
	close(ready[1]);
	while (read(ready[0], &byte, 1) == 1)
		bytes++;
	CHECK_EQ(bytes, 1);
	status = wait_for(child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	CHECK(take_report(child));
}

/* ---- children ---- */

static void leave_by_exit(void)
{
	say_ready();
	_exit(5);
}

static void fail_to_execute(void)
{
	say_ready();
	_exit(127);
}

static void check_exits(void (*body)(void), int expected, bool reports)
{
	pid_t child = start_child(body);
	int status = wait_for(child);

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == expected, "status %x", status);
	CHECK_EQ(take_report(child), reports);
}

TEST(a_forked_child_reports_when_it_leaves, .options = REPORTS)
{
	check_exits(leave_by_exit, 5, true);
	check_exits(fail_to_execute, 127, false);
}

TEST(a_forked_child_does_not_if_so_asked, .options = REPORTS ":report_children=off")
{
	check_exits(leave_by_exit, 5, false);
	check_dies_of(SIGTERM, wait_in_a_call, false);
	check_dies_of(SIGTERM, be_many, false);
}
