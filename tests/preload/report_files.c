/*
 * What a report may do to the file system: files are the owner's only, whole, and no link is followed; what cannot be written is told in one line. Each case is
 * a child whose report is /tmp/gasket-report-files/PID; before it ends, its parent has set the place up.
 */
#include "tests/gc/hidden.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PLACE "/tmp/gasket-report-files"
#define REPORTS "report=" PLACE "/%p"
#define VICTIM PLACE "/victim"
#define SECRET "what the block holds"

enum { BLOCK_BYTES = 3000 };

static int go[2];

static void make_place(void)
{
	CHECK(mkdir(PLACE, 0700) == 0 || errno == EEXIST);
	umask(0);
}

/* A child with a leak, which ends when its parent says so. */
static pid_t start_child(void (*end)(void))
{
	pid_t child;

	make_place();
	CHECK_EQ(pipe(go), 0);
	child = fork();
	CHECK_GE(child, 0);
	if (child == 0) {
		uintptr_t hidden = hide_block(BLOCK_BYTES);
		char byte;

		strcpy((char *)reveal(hidden), SECRET);
		scrub();
		close(go[1]);
		CHECK_EQ(read(go[0], &byte, 1), (ssize_t)0);
		end();
	}
	close(go[0]);
	return child;
}

static void leave(void)
{
	_exit(0);
}

static int let_go(pid_t child)
{
	int status = 0;

	close(go[1]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

static void path_of(char *path, size_t capacity, pid_t child, bool beside)
{
	snprintf(path, capacity, beside ? PLACE "/%d.%d.tmp" : PLACE "/%d", child, child);
}

static ssize_t read_file(const char *path, char *text, size_t capacity)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW);
	ssize_t bytes = fd < 0 ? -1 : read(fd, text, capacity - 1);

	if (bytes >= 0)
		text[bytes] = 0;
	close(fd);
	return bytes;
}

/* Removes it, too. */
static void check_report(pid_t child)
{
	static char text[65536];
	struct stat status;
	char path[64];

	path_of(path, sizeof(path), child, true);
	CHECK(lstat(path, &status) == -1 && errno == ENOENT);
	path_of(path, sizeof(path), child, false);
	CHECK_EQ(lstat(path, &status), 0);
	CHECK(S_ISREG(status.st_mode));
	CHECK_EQ(status.st_mode & 07777, 0600u);
	CHECK_EQ(status.st_nlink, (nlink_t)1);
	CHECK_GT(read_file(path, text, sizeof(text)), (ssize_t)0);
	CHECK(strstr(text, "SUMMARY: Gasket: "));
	CHECK(!strstr(text, SECRET));
	CHECK_EQ(unlink(path), 0);
}

static void make_victim(void)
{
	int fd = open(VICTIM, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK_EQ(write(fd, "untouched", 9), (ssize_t)9);
	close(fd);
}

static void check_victim(void)
{
	char text[64];

	CHECK_EQ(read_file(VICTIM, text, sizeof(text)), (ssize_t)9);
	CHECK_STR_EQ(text, "untouched");
}

TEST(a_file_is_whole_its_owners_and_without_contents_of_blocks, .options = REPORTS)
{
	pid_t child = start_child(leave);

	CHECK_EQ(let_go(child), 0);
	check_report(child);
}

static void check_link(bool beside, bool is_hard)
{
	pid_t child = start_child(leave);
	char path[64];

	make_victim();
	path_of(path, sizeof(path), child, beside);
	CHECK_EQ(is_hard ? link(VICTIM, path) : symlink(VICTIM, path), 0);
	CHECK_EQ(let_go(child), 0);
	check_victim();
	check_report(child);
}

TEST(no_link_is_followed, .options = REPORTS, .error = "")
{
	check_link(false, false);
	check_link(true, false);
	check_link(false, true);
	check_link(true, true);
}

static void die_by_signal(void)
{
	raise(SIGTERM);
}

TEST(nor_when_a_signal_ends_it, .options = REPORTS, .error = "")
{
	pid_t child;
	char path[64];

	make_place();
	make_victim();
	child = start_child(die_by_signal);
	path_of(path, sizeof(path), child, true);
	CHECK_EQ(symlink(VICTIM, path), 0);
	usleep(50000); // it waits, and gets its collector
	CHECK_EQ(let_go(child), SIGTERM);
	check_victim();
	check_report(child);
}

/* A folder under the name. */
TEST(what_cannot_be_replaced_is_told, .options = REPORTS,
	.contains = "gasket: the report could not be written to " PLACE "/")
{
	pid_t child = start_child(leave);
	char path[64];
	struct stat status;

	path_of(path, sizeof(path), child, false);
	CHECK_EQ(mkdir(path, 0700), 0);
	CHECK_EQ(let_go(child), 0);
	CHECK_EQ(rmdir(path), 0);
	path_of(path, sizeof(path), child, true);
	CHECK(lstat(path, &status) == -1 && errno == ENOENT);
}

TEST(a_folder_that_is_not_there_is_told, .options = "report=/tmp/gasket-no-such-folder/file",
	.error = "gasket: the report could not be written to /tmp/gasket-no-such-folder/file\n")
{
	hide_block(BLOCK_BYTES);
	exit(0);
}

static void leave_with_a_full_disk(void)
{
	struct rlimit limit = {100, 100};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	_exit(0);
}

/* Nothing is left of what did not fit. */
TEST(a_full_disk_is_told, .options = REPORTS,
	.contains = "gasket: the report could not be written to " PLACE "/")
{
	pid_t child = start_child(leave_with_a_full_disk);
	struct stat status;
	char path[64];

	CHECK_EQ(let_go(child), 0);
	for (int beside = 0; beside < 2; beside++) {
		path_of(path, sizeof(path), child, beside);
		CHECK(lstat(path, &status) == -1 && errno == ENOENT);
	}
}

TEST(a_full_device_is_told, .options = "report=/dev/full",
	.error = "gasket: the report could not be written to /dev/full\n")
{
	hide_block(BLOCK_BYTES);
	exit(0);
}

TEST(a_device_stays_what_it_is, .options = "report=/dev/null", .error = "")
{
	struct stat status;
	pid_t child = start_child(leave);

	CHECK_EQ(let_go(child), 0);
	CHECK_EQ(lstat("/dev/null", &status), 0);
	CHECK(S_ISCHR(status.st_mode));
}

/* ---- standard error ---- */

static void put_a_file_in_its_place(void)
{
	int fd = open(VICTIM, O_WRONLY | O_APPEND);

	CHECK_EQ(dup2(fd, STDERR_FILENO), STDERR_FILENO);
}

static void leave_with_another(void)
{
	put_a_file_in_its_place();
	_exit(0);
}

static void die_with_another(void)
{
	usleep(50000); // it gets its collector, which has a duplicate of the first one
	put_a_file_in_its_place();
	raise(SIGTERM);
}

static void die_without(void)
{
	usleep(50000);
	close(STDERR_FILENO);
	raise(SIGTERM);
}

TEST(a_report_goes_to_standard_error_only_while_it_is_the_first_one, .options = "report=stderr",
	.error = "", .signal = SIGKILL)
{
	static void (*const ends[])(void) = {leave_with_another, die_with_another, die_without};

	make_place();
	make_victim();
	for (int i = 0; i < 3; i++) {
		pid_t child = start_child(ends[i]);
		int status = let_go(child);

		CHECK_MSG(WIFEXITED(status) || WTERMSIG(status) == SIGTERM, "status %x", status);
		check_victim();
	}
	kill(getpid(), SIGKILL); // it would report, too
}
