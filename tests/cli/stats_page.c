/*
 * The public page of this process: made once, in the first place that takes it, private, moved with
 * its counts, left by a fork child, removed at the end; and a request through it.
 */
#include "core/profile/stats_page.h"

#include "tests/harness/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Compares with plain integers without a warning. */
#define figure(name) ((long)stats_get(name))

static char directory[64];

/* A place of the test's own, so that nothing else is found there. */
static void init_in_fresh_directory(void)
{
	strcpy(directory, "/tmp/gasket-test-XXXXXX");
	CHECK_NOT_NULL(mkdtemp(directory));
	stats_init(directory);
}

static const char *own_directory(void)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/gasket-%u", directory, geteuid());
	return path;
}

/* The single file of the directory, or "" (removes nothing). */
static const char *own_file(void)
{
	static char path[256];
	char command[200];
	FILE *list;

	path[0] = 0;
	snprintf(command, sizeof(command), "ls -d %s/* 2>/dev/null", own_directory());
	list = popen(command, "r");
	if (fgets(path, sizeof(path), list))
		path[strcspn(path, "\n")] = 0;
	pclose(list);
	return path;
}

static void remove_directory(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	CHECK_EQ(system(command), 0);
}

TEST(page_is_made_once_private_and_removed)
{
	struct stat status;
	char name[64];

	init_in_fresh_directory();
	stats_set(mode, 1);
	stats_add(double_frees, 3);
	CHECK(!stats_publish_was_tried());
	errno = 1234;
	CHECK(stats_publish());
	CHECK(stats_publish());
	CHECK_EQ(errno, 1234);
	CHECK(stats_publish_was_tried());
	stats_add(double_frees, 2);
	CHECK_EQ(figure(mode), 1);
	CHECK_EQ(figure(double_frees), 5);
	CHECK_EQ(stats->magic, STATS_MAGIC);
	CHECK_EQ(stats->pid, (uint64_t)getpid());
	CHECK_EQ(stat(own_directory(), &status), 0);
	CHECK_EQ((int)(status.st_mode & 07777), 0700);
	CHECK_EQ(stat(own_file(), &status), 0);
	CHECK_EQ((int)(status.st_mode & 07777), 0600);
	CHECK_EQ(status.st_size, STATS_PAGE_BYTES);
	snprintf(name, sizeof(name), "/%d-%lu", getpid(), (unsigned long)stats->start_time);
	CHECK_STR_EQ(strrchr(own_file(), '/'), name);
	stats_unpublish();
	CHECK_STR_EQ(own_file(), "");
	stats_add(double_frees, 1);
	CHECK_EQ(figure(double_frees), 6);
	remove_directory();
}

TEST(no_descriptor_is_kept)
{
	int before, after;

	init_in_fresh_directory();
	before = dup(0);
	CHECK(stats_publish());
	after = dup(0);
	CHECK_EQ(after, before + 1);
	stats_unpublish();
	remove_directory();
}

TEST(directory_of_others_is_not_used)
{
	init_in_fresh_directory();
	CHECK_EQ(mkdir(own_directory(), 0700), 0);
	CHECK_EQ(chmod(own_directory(), 0770), 0);
	CHECK(stats_publish()); // in the next place
	CHECK_STR_EQ(own_file(), "");
	stats_unpublish();
	remove_directory();
}

TEST(directory_that_is_a_link_is_not_used)
{
	char target[96];

	init_in_fresh_directory();
	snprintf(target, sizeof(target), "%s/target", directory);
	CHECK_EQ(mkdir(target, 0700), 0);
	CHECK_EQ(symlink(target, own_directory()), 0);
	CHECK(stats_publish());
	CHECK_STR_EQ(own_file(), "");
	stats_unpublish();
	remove_directory();
}

TEST(file_of_the_program_before_exec_is_replaced)
{
	char path[256];
	int fd;

	init_in_fresh_directory();
	CHECK(stats_publish());
	strcpy(path, own_file());
	stats_unpublish();
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, "old", 3), 3);
	close(fd);
	stats_after_fork_in_child();
	CHECK(stats_publish());
	CHECK_STR_EQ(own_file(), path);
	CHECK_EQ(stats->magic, STATS_MAGIC);
	stats_unpublish();
	remove_directory();
}

TEST(small_file_size_limit_makes_no_file_and_no_signal)
{
	struct rlimit limit = {100, 100};

	init_in_fresh_directory();
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	CHECK(!stats_publish());
	stats_add(cycles, 1);
	CHECK_EQ(figure(cycles), 1);
	remove_directory();
}

TEST(forbidden_page_is_not_made)
{
	init_in_fresh_directory();
	stats_forbid_files();
	CHECK(!stats_publish());
	CHECK_STR_EQ(own_file(), "");
	remove_directory();
}

TEST(forbidden_page_stays_as_it_is)
{
	pid_t child;

	init_in_fresh_directory();
	CHECK(stats_publish());
	stats_forbid_files();
	child = fork();
	if (child == 0) {
		stats_after_fork_in_child();
		CHECK(!stats_publish());
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	stats_add(cycles, 1);
	stats_unpublish();
	CHECK_NE(own_file()[0], 0);
	remove_directory();
}

TEST(fork_child_leaves_the_page_of_its_parent)
{
	struct stats_page *page;
	pid_t child;

	init_in_fresh_directory();
	stats_set(mode, 1);
	CHECK(stats_publish());
	stats_add(cycles, 7);
	page = stats;
	child = fork();
	if (child == 0) {
		stats_after_fork_in_child();
		CHECK_EQ(figure(cycles), 0);
		CHECK_EQ(figure(mode), 1);
		stats_add(cycles, 100);
		CHECK(msync(page, STATS_PAGE_BYTES, MS_ASYNC) != 0 && errno == ENOMEM);
		stats_unpublish(); // has none
		CHECK(stats_publish());
		CHECK_EQ(stats->pid, (uint64_t)getpid());
		stats_unpublish();
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	CHECK_EQ(stats, page);
	CHECK_EQ(figure(cycles), 7);
	CHECK_NE(own_file()[0], 0);
	stats_unpublish();
	CHECK_EQ(own_file()[0], 0);
	remove_directory();
}

TEST(vfork_child_neither_makes_nor_removes_a_page)
{
	pid_t child;

	init_in_fresh_directory();
	child = vfork();
	if (child == 0) {
		stats_publish();
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	CHECK(!stats_publish_was_tried());
	CHECK(stats_publish());
	child = vfork();
	if (child == 0) {
		stats_unpublish();
		_exit(0);
	}
	CHECK_CHILD_PASSES(child);
	CHECK_NE(own_file()[0], 0);
	stats_unpublish();
	remove_directory();
}

TEST(report_is_beside_the_page_and_removed_with_it)
{
	char path[256], expected[300];
	int fd;

	init_in_fresh_directory();
	CHECK(!stats_report_path(path, sizeof(path)));
	CHECK(stats_publish());
	snprintf(expected, sizeof(expected), "%s.report", own_file());
	CHECK(!stats_report_path(path, 20));
	CHECK(stats_report_path(path, sizeof(path)));
	CHECK_STR_EQ(path, expected);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK_GE(fd, 0);
	close(fd);
	stats_unpublish();
	CHECK_EQ(own_file()[0], 0);
	remove_directory();
}

TEST(files_of_killed_processes_are_removed_by_the_next)
{
	pid_t child;

	init_in_fresh_directory();
	child = fork();
	if (child == 0) {
		stats_after_fork_in_child();
		stats_publish();
		_exit(0); // without a word
	}
	CHECK_CHILD_PASSES(child);
	CHECK_NE(own_file()[0], 0);
	CHECK(stats_publish());
	stats_unpublish();
	CHECK_EQ(own_file()[0], 0);
	remove_directory();
}

static void *count(void *argument)
{
	(void)argument;
	for (int i = 0; i < 1000000; i++)
		stats_add(foreign_frees, 1);
	return NULL;
}

TEST(counts_survive_the_move)
{
	pthread_t thread;

	init_in_fresh_directory();
	CHECK_EQ(pthread_create(&thread, NULL, count, NULL), 0);
	usleep(1000);
	CHECK(stats_publish());
	CHECK_EQ(pthread_join(thread, NULL), 0);
	// one count may fall between the two pages
	CHECK_GE(figure(foreign_frees), 1000000 - 1);
	CHECK_LE(figure(foreign_frees), 1000000);
	stats_unpublish();
	remove_directory();
}

static void *answer(void *argument)
{
	struct stats_command command;
	uint32_t value;

	(void)argument;
	for (;;) {
		value = stats_wake_value();
		if (stats_poll_command(&command))
			break;
		stats_wait(value, 10000000000ull);
	}
	CHECK_EQ((int)command.request, (int)STATS_REQUEST_LEAKS_OFF);
	stats_command_done(&command, STATS_REPLY_DONE, "so be it");
	return NULL;
}

static void request(uint32_t what)
{
	struct stats_command_area *area = &stats->command;

	store_relaxed(&area->request, what);
	add_seq(&area->sequence, 1);
	stats_wake();
}

TEST(request_is_answered_once)
{
	struct stats_command command;
	pthread_t thread;

	init_in_fresh_directory();
	CHECK(stats_publish());
	CHECK(!stats_command_is_pending());
	CHECK_EQ(pthread_create(&thread, NULL, answer, NULL), 0);
	usleep(20000);
	request(STATS_REQUEST_LEAKS_OFF);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(stats->command.done, stats->command.sequence);
	CHECK_EQ((int)stats->command.reply, (int)STATS_REPLY_DONE);
	CHECK_STR_EQ(stats->command.text, "so be it");
	CHECK(!stats_poll_command(&command));
	request(4711);
	CHECK(stats_command_is_pending());
	CHECK(!stats_poll_command(&command));
	CHECK_EQ((int)stats->command.reply, (int)STATS_REPLY_UNKNOWN);
	CHECK(!stats_command_is_pending());
	stats_unpublish();
	remove_directory();
}

TEST(figures_are_written_to_a_file)
{
	char name[96], line[128], expected[128];
	bool found = false;
	FILE *file;

	init_in_fresh_directory();
	stats_add(cycles_with_verdict, 21);
	stats_set(max_wait_ns, UINT64_MAX); // the longest number
	snprintf(name, sizeof(name), "%s/%%p-%%p.txt", directory);
	CHECK(stats_write_file(name));
	snprintf(name, sizeof(name), "%s/%d-%d.txt", directory, getpid(), getpid());
	file = fopen(name, "r");
	CHECK_NOT_NULL(file);
	while (fgets(line, sizeof(line), file))
		found |= !strcmp(line, "cycles_with_verdict=21\n");
	CHECK(found);
	snprintf(expected, sizeof(expected), "max_wait_ns=%lu\n", UINT64_MAX);
	CHECK_STR_EQ(line, expected); // the last
	CHECK(!stats_write_file("/nowhere/at/all"));
	remove_directory();
}
