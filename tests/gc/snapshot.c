/*
 * The tier in which a copy of the process marks: what the program sees of that child, and what happens when something happens to it. The rest is in concurrent.c,
 * which is built for this tier, too.
 */
#include "tests/gc/hidden.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { NODES = 1000000, ROUNDS = 200 };

struct link {
	struct link *next;
	char payload[40];
};

static struct link *links;
static void *root;

/* So that the mark takes a while. */
static NOINLINE void make_links(void)
{
	for (int i = 0; i < NODES; i++) {
		struct link *link = malloc(sizeof(*link));

		link->next = links;
		links = link;
	}
}

static void start_cycles(void)
{
	make_links();
	collect();
}

static NOINLINE void check_inner(bool is_wanted)
{
	uintptr_t holder = hide_block(64), inner = hide_block(64);

	put_in_block(inner, holder, 8);
	put(holder, &root);
	collect();
	CHECK(is_kept(holder));
	CHECK_EQ(is_kept(inner), is_wanted);
}

TEST(what_the_child_reaches_is_kept)
{
	check_inner(true);
}

#if CHECKS
TEST(what_the_child_reaches_is_lost_if_its_marks_are_not_taken,
	.options = "scan_off=image:interval_ms=0")
{
	check_inner(false);
	_exit(0);
}
#endif

/* ---- the program's view ---- */

TEST(no_wait_sees_the_child)
{
	start_cycles();
	for (int i = 0; i < 20000; i++) {
		int status;

		errno = 0;
		CHECK_EQ(waitpid(-1, &status, i % 2 ? WNOHANG : 0), -1);
		CHECK_EQ(errno, ECHILD);
		CHECK_EQ(wait(&status), -1);
		CHECK_EQ(errno, ECHILD);
		if (i % 100 == 0)
			usleep(1000);
	}
}

/* Who asks for all kinds of children gets it, and there is a verdict all the same. */
TEST(a_wait_for_all_kinds_may_take_it)
{
	start_cycles();
	for (int i = 0; i < 2000; i++) {
		waitpid(-1, NULL, __WALL | WNOHANG);
		usleep(200);
	}
	collect();
}

static void ignore(int number)
{
	(void)number;
	CHECK(false);
}

TEST(no_signal_tells_of_its_end)
{
	signal(SIGCHLD, ignore);
	start_cycles();
	for (int i = 0; i < 5; i++)
		collect();
}

/* A descriptor that the program closes is closed. */
TEST(it_holds_nothing_open)
{
	start_cycles();
	for (int i = 0; i < ROUNDS; i++) {
		int ends[2];
		struct pollfd wanted;

		CHECK_EQ(pipe(ends), 0);
		usleep((useconds_t)i * 10);
		close(ends[1]);
		wanted = (struct pollfd){.fd = ends[0], .events = POLLIN};
		CHECK_EQ(poll(&wanted, 1, 0), 1);
		CHECK(wanted.revents & POLLHUP);
		close(ends[0]);
	}
}

/* ---- its end ---- */

static char read_stat(const char *name, int *ret_parent, int *ret_group)
{
	char path[64], text[512] = "", state = 0;
	FILE *file;
	const char *end;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", name);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = 0;
	fclose(file);
	end = strrchr(text, ')');
	return end && sscanf(end, ") %c %d %d", &state, ret_parent, ret_group) == 3 ? state : 0;
}

/* A process that has not ended, of this parent (or any: 0) and group; 0: there is none. */
static int find_process(int parent, int group)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	int found = 0;

	CHECK_NOT_NULL(folder);
	while (!found && (entry = readdir(folder))) {
		int its_parent, its_group, id = atoi(entry->d_name);
		char state = id > 0 ? read_stat(entry->d_name, &its_parent, &its_group) : 0;

		if (state && state != 'Z' && (parent == 0 || its_parent == parent) &&
			its_group == group)
			found = id;
	}
	closedir(folder);
	return found;
}

static int wait_for_marking_child(void)
{
	for (int i = 0; i < 5000; i++) {
		int child = find_process(getpid(), getpgrp());

		if (child)
			return child;
		usleep(200);
	}
	test_fail(__FILE__, __LINE__, "no child marks");
}

/* No verdict, one line that says so, and other ways to collect. */
TEST(it_may_be_killed, .contains = "the child that marks could not be made, or did not finish")
{
	uintptr_t hidden = hide_block(64);

	put(hidden, &root);
	start_cycles();
	for (int i = 0; i < 20; i++) {
		kill(wait_for_marking_child(), SIGKILL);
		usleep(100000);
		if (!find_process(getpid(), getpgrp()))
			break;
	}
	for (int i = 0; i < 5; i++)
		collect();
	CHECK(is_kept(hidden));
}

TEST(it_ends_with_the_process)
{
	start_cycles();
	for (int i = 0; i < 10; i++) {
		pid_t process = fork();
		int status;

		if (process == 0) {
			setpgid(0, 0);
			free(malloc(100));
			wait_for_marking_child();
			if (i % 2)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		CHECK_EQ(waitpid(process, &status, 0), process);
		CHECK(i % 2 ? WIFSIGNALED(status) : status == 0);
		for (int j = 0; j < 5000 && find_process(0, process); j++)
			usleep(1000);
		CHECK_EQ(find_process(0, process), 0);
	}
}
