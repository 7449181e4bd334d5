/*
 * The in-process side of the public page.
 *
 * Life: private page (in .bss, from the first instruction) -> file (once) -> private page again in
 * a fork child. The file is made under a compare-and-swap of `making`, with signals blocked, by raw
 * system calls: callers stand in the middle of the program's own calls.
 *
 * Moving: the figures are copied into the file's page, the pointer is switched, and what changed
 * meanwhile in the old page is added. A thread that loaded the old pointer and has not yet counted
 * loses that one count; figures are for people.
 *
 * What a page must never do to the program: raise SIGBUS (the bytes are written, not only the
 * length set, before it is mapped), raise SIGXFSZ (no file under a smaller RLIMIT_FSIZE), keep a
 * descriptor, be followed to somebody else's file (O_NOFOLLOW, O_EXCL, owner and mode of the
 * directory checked), or be shared with a child. A process that is killed leaves its file behind:
 * whoever next makes one in the directory removes a few whose process is gone.
 *
 * Locks: none. Calls nothing but the kernel and core/base.
 */
#include "core/profile/stats_page.h"

#include "core/base/attr.h"
#include "core/base/format.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum {
	FILE_BYTES = 3072,
	PATH_BYTES = 192,
	NAME_BYTES = 48,
	ENTRY_BYTES = 1024,
	STAT_BYTES = 512,
	START_TIME_FIELD = 22
};

enum making { MAKING_NOT_YET, MAKING_NOW, MAKING_DONE };

static union {
	struct stats_page page;
	char bytes[STATS_PAGE_BYTES];
} private ALIGNED(64);

struct stats_page *stats WRITTEN_BY_FORK = &private.page;

static struct {
	uint32_t making; // enum making; compare-and-swap decides who makes the file
	uint32_t
		handled; // sequence of the request taken last; compare-and-swap decides who does it
	bool forbidden;  // a sandbox may kill for opening or removing files; never unset
	int32_t pid;     // process that owns all this; written while there is one thread
	bool has_file;   // at own_path; written by who makes it
	uint64_t
		begin_ns; // when the process began, as far as we know; written while there is one thread
} own WRITTEN_BY_FORK;

static char runtime_directory[PATH_BYTES]; // XDG_RUNTIME_DIR or ""; written at start
static char own_path[PATH_BYTES];          // the file, if own.has_file; written by who makes it

/* The kernel's record of a directory entry. */
struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

static void copy_text(char *target, size_t capacity, const char *text)
{
	format_text(target, capacity, "%s", text ? text : "");
}

void stats_init(const char *directory)
{
	own.pid = (int32_t)SYSCALL(getpid);
	own.begin_ns = clock_now_ns();
	copy_text(runtime_directory, sizeof(runtime_directory), directory);
}

bool stats_belong_here(void)
{
	return (int32_t)SYSCALL(getpid) == own.pid;
}

static long open_at(long directory, const char *path, int flags)
{
	return SYSCALL(openat, directory, path, flags | O_CLOEXEC, 0600);
}

/* Digits at *text as a number; moves *text behind them. False if there are none. */
static bool parse_number(const char **text, uint64_t *ret_number)
{
	const char *start = *text;
	uint64_t number = 0;

	for (; **text >= '0' && **text <= '9'; (*text)++)
		number = number * 10 + (uint64_t)(**text - '0');
	if (*text == start)
		return false;
	*ret_number = number;
	return true;
}

/* Field 22 of the line of /proc/self/stat, counted behind the name, which may hold anything; 0 when
 * it is not there. */
static uint64_t parse_start_time(const char *line, size_t length)
{
	const char *cursor = line;
	uint64_t number = 0;
	int field = 2;

	for (size_t i = 0; i < length; i++) {
		if (line[i] == ')')
			cursor = line + i;
	}
	for (; *cursor && field < START_TIME_FIELD; cursor++) {
		if (*cursor == ' ')
			field++;
	}
	parse_number(&cursor, &number);
	return number;
}

static uint64_t read_start_time(void)
{
	char line[STAT_BYTES];
	long fd = open_at(AT_FDCWD, "/proc/self/stat", O_RDONLY);
	long length;

	if (syscall_failed(fd))
		return 0;
	length = SYSCALL(read, fd, line, sizeof(line) - 1);
	SYSCALL(close, fd);
	if (length <= 0)
		return 0;
	line[length] = 0;
	return parse_start_time(line, (size_t)length);
}

static uint64_t read_pid_namespace(void)
{
	struct stat status;

	return syscall_failed(SYSCALL(newfstatat, AT_FDCWD, "/proc/thread-self/ns/pid", &status, 0))
		       ? 0
		       : status.st_ino;
}

/* Opens (makes) `path`, a directory that belongs to this user alone; negative if it can not be. */
static long open_directory(const char *path, unsigned uid)
{
	struct stat status;
	long fd;

	SYSCALL(mkdirat, AT_FDCWD, path, 0700);
	fd = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (syscall_failed(fd))
		return fd;
	if (!syscall_failed(SYSCALL(fstat, fd, &status)) && status.st_uid == uid &&
		(status.st_mode & 0077) == 0)
		return fd;
	SYSCALL(close, fd);
	return -EPERM;
}

static bool page_belongs_here(long directory, const char *name, uint64_t pid_namespace)
{
	uint64_t header[5]; // up to pid_namespace
	long fd = open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	long bytes;

	static_assert(offsetof(struct stats_page, pid_namespace) == 4 * sizeof(uint64_t), "header");
	if (syscall_failed(fd))
		return false;
	bytes = SYSCALL(read, fd, header, sizeof(header));
	SYSCALL(close, fd);
	return bytes == sizeof(header) && header[0] == STATS_MAGIC && header[4] == pid_namespace;
}

/* Removes a page, and what may stand beside it; of files of findings and snapshots also what a writer that was killed left (its name as in whole_file.h). */
static void remove_files(long directory, const char *name, uint64_t pid)
{
	static const char *const suffixes[] = {
		STATS_REPORT_SUFFIX, STATS_FINDINGS_SUFFIX, STATS_SNAPSHOT_SUFFIX};
	char path[PATH_BYTES + NAME_BYTES];

	SYSCALL(unlinkat, directory, name, 0);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		format_text(path, sizeof(path), "%s%s", name, suffixes[i]);
		SYSCALL(unlinkat, directory, path, 0);
		format_text(path, sizeof(path), "%s%s.%lu.tmp", name, suffixes[i], pid);
		SYSCALL(unlinkat, directory, path, 0);
	}
}

/* Removes files of processes that are gone, among the first entries of the directory. Pids mean
 * something in one namespace only. */
static void remove_stale(long directory, uint64_t pid_namespace)
{
	char buffer[ENTRY_BYTES] ALIGNED(8);
	long bytes = SYSCALL(getdents64, directory, buffer, sizeof(buffer));

	for (long i = 0; pid_namespace != 0 && i < bytes;) {
		const struct directory_entry *entry = (const struct directory_entry *)(buffer + i);
		const char *cursor = entry->name;
		uint64_t pid, start_time;

		i += entry->bytes;
		if (!parse_number(&cursor, &pid) || *cursor++ != '-' ||
			!parse_number(&cursor, &start_time) || *cursor)
			continue;
		if (pid != 0 && pid <= INT32_MAX && SYSCALL(kill, pid, 0) == -ESRCH &&
			page_belongs_here(directory, entry->name, pid_namespace))
			remove_files(directory, entry->name, pid);
	}
}

/* A fresh file of one page whose memory exists, mapped; NULL when it can not be had. */
static struct stats_page *make_file(long directory, const char *name)
{
	long fd, result;

	// of the program that ran in this process before exec
	remove_files(directory, name, (uint64_t)own.pid);
	fd = open_at(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
	if (syscall_failed(fd))
		return 0;
	result = SYSCALL(write, fd, private.bytes, STATS_PAGE_BYTES);
	if (result == STATS_PAGE_BYTES)
		result = SYSCALL(
			mmap, 0, STATS_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	else
		result = -ENOSPC;
	SYSCALL(close, fd);
	if (!syscall_failed(result))
		return (struct stats_page *)result;
	SYSCALL(unlinkat, directory, name, 0);
	return 0;
}

static uint64_t *figures_of(struct stats_page *page)
{
	return (uint64_t *)((char *)page + STATS_FIGURES_OFFSET);
}

enum {
#define STATS_NUMBER(name, unit, writer, help) +1
#define STATS_OPTION(name, writer, help) +1
#define STATS_CHOICE(name, words, writer, help) +1
	FIGURE_COUNT = 0
#include "core/profile/stats_page.def"
#undef STATS_NUMBER
#undef STATS_OPTION
#undef STATS_CHOICE
};

/* Switches the figures to `page`, whose header is complete except for the magic number. */
static void move_to(struct stats_page *page)
{
	struct stats_page *old = load_acquire(&stats);
	uint64_t *from = figures_of(old), *to = figures_of(page);
	uint64_t copied[FIGURE_COUNT];

	for (int i = 0; i < FIGURE_COUNT; i++) {
		copied[i] = load_relaxed(&from[i]);
		store_relaxed(&to[i], copied[i]);
	}
	store_release(&page->magic, STATS_MAGIC);
	store_release(&stats, page); // pairs with load_acquire(&stats) everywhere
	for (int i = 0; i < FIGURE_COUNT; i++)
		add_relaxed(&to[i], load_relaxed(&from[i]) - copied[i]);
	// the collector may sleep on the old page's word
	add_seq(&old->command.wake, 1);
	futex_wake_shared(&old->command.wake, INT32_MAX);
}

/* Tries one place; true when the file is there and in use. */
static bool publish_in(const char *place, uint64_t start_time, uint64_t pid_namespace)
{
	unsigned uid = (unsigned)SYSCALL(geteuid);
	char name[NAME_BYTES];
	struct stats_page *page;
	long directory;
	size_t length;

	length = format_text(own_path, sizeof(own_path), "%s/gasket-%u", place, uid);
	if (place[0] != '/' || length + NAME_BYTES >= sizeof(own_path))
		return false;
	format_text(name, sizeof(name), "%d-%lu", own.pid, start_time);
	directory = open_directory(own_path, uid);
	if (syscall_failed(directory))
		return false;
	remove_stale(directory, pid_namespace);
	page = make_file(directory, name);
	SYSCALL(close, directory);
	if (!page)
		return false;
	format_text(own_path + length, sizeof(own_path) - length, "/%s", name);
	page->version = STATS_VERSION;
	page->figure_count = FIGURE_COUNT;
	page->pid = (uint64_t)own.pid;
	page->start_time = start_time;
	page->pid_namespace = pid_namespace;
	own.has_file = true;
	move_to(page);
	return true;
}

static bool files_may_have_a_page(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	SYSCALL(prlimit64, 0, RLIMIT_FSIZE, 0, &limit);
	return limit.rlim_cur >= STATS_PAGE_BYTES;
}

static bool publish(void)
{
	uint64_t start_time, pid_namespace;

	if (!files_may_have_a_page())
		return false;
	start_time = read_start_time();
	pid_namespace = read_pid_namespace();
	return publish_in(runtime_directory, start_time, pid_namespace) ||
	       publish_in("/run", start_time, pid_namespace) ||
	       publish_in("/dev/shm", start_time, pid_namespace) ||
	       publish_in("/tmp", start_time, pid_namespace);
}

bool stats_publish(void)
{
	struct signal_guard guard;

	if (load_acquire(&own.making) != MAKING_NOT_YET || own.pid == 0)
		return load_acquire(&stats) != &private.page;
	if (!stats_belong_here())
		return false;
	signals_block(&guard);
	if (cas_seq(&own.making, MAKING_NOT_YET, MAKING_NOW)) {
		publish();
		store_release(&own.making, MAKING_DONE);
	}
	signals_restore(&guard);
	return load_acquire(&stats) != &private.page;
}

bool stats_publish_was_tried(void)
{
	return load_relaxed(&own.making) != MAKING_NOT_YET;
}

void stats_forbid_files(void)
{
	store_release(&own.forbidden, true);
	cas_seq(&own.making, MAKING_NOT_YET, MAKING_DONE);
}

void stats_allow_files(void)
{
	store_release(&own.forbidden, false);
}

void stats_unpublish(void)
{
	// pairs with the store in stats_publish()
	if (load_acquire(&own.making) != MAKING_DONE || !own.has_file ||
		load_acquire(&own.forbidden) || !stats_belong_here())
		return;
	remove_files(AT_FDCWD, own_path, (uint64_t)own.pid);
	own.has_file = false;
}

bool stats_path_beside(const char *suffix, char *buffer, size_t capacity)
{
	// the path is complete before the page is in use
	if (load_acquire(&stats) == &private.page || !own.has_file)
		return false;
	return format_text(buffer, capacity, "%s%s", own_path, suffix) + 1 < capacity;
}

bool stats_report_path(char *buffer, size_t capacity)
{
	return stats_path_beside(STATS_REPORT_SUFFIX, buffer, capacity);
}

uint64_t stats_age_ns(void)
{
	return own.begin_ns == 0 ? 0 : clock_now_ns() - own.begin_ns;
}

/* Names of the figures, in their order. */
static const char *const figure_names[] = {
#define STATS_NUMBER(name, unit, writer, help) #name,
#define STATS_OPTION(name, writer, help) #name,
#define STATS_CHOICE(name, words, writer, help) #name,
#include "core/profile/stats_page.def"
#undef STATS_NUMBER
#undef STATS_OPTION
#undef STATS_CHOICE
};

/* `path` with each %p replaced; false when it does not fit. */
static bool expand_path(const char *path, char *buffer, size_t capacity)
{
	size_t length = 0;

	for (; *path && length + NAME_BYTES < capacity; path++) {
		if (path[0] == '%' && path[1] == 'p') {
			length += format_text(
				buffer + length, capacity - length, "%d", (int)SYSCALL(getpid));
			path++;
		} else {
			buffer[length++] = *path;
		}
	}
	buffer[length] = 0;
	return *path == 0 && length > 0;
}

bool stats_write_file(const char *path)
{
	char name[2 * PATH_BYTES], text[FILE_BYTES];
	const uint64_t *figures = figures_of(load_acquire(&stats));
	size_t length = 0;
	long fd, written;

	if (!files_may_have_a_page() || !expand_path(path, name, sizeof(name)))
		return false;
	for (int i = 0; i < FIGURE_COUNT; i++)
		length += format_text(text + length, sizeof(text) - length, "%s=%lu\n",
			figure_names[i], load_relaxed(&figures[i]));
	fd = SYSCALL(openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		0600);
	if (syscall_failed(fd))
		return false;
	written = SYSCALL(write, fd, text, length);
	SYSCALL(close, fd);
	return written == (long)length;
}

/* What is as it should be is not written: it would cost a copied page. */
static void set_private_page(const struct stats_page *wanted)
{
	const uint64_t *words = (const uint64_t *)&private,
		       *wanted_words = (const uint64_t *)wanted;
	bool is_same = true;

	for (size_t i = 0; i < sizeof(*wanted) / sizeof(*words); i++)
		is_same = is_same && words[i] == wanted_words[i];
	if (is_same)
		return;
	private.page = *wanted;
}

/* One thread: plain accesses are safe. */
void stats_after_fork_in_child(void)
{
	struct stats_page *parent = load_acquire(&stats);
	struct stats_page fresh = {
		.aside = parent->aside,
		.mode = parent->mode,
		.free = parent->free,
		.leaks = parent->leaks,
		.collector = parent->collector,
		.command.wake = private.page.command.wake, // whatever it is
	};

	set_private_page(&fresh);
	store_release(&stats, &private.page);
	if (parent != &private.page)
		SYSCALL(munmap, parent, STATS_PAGE_BYTES);
	own.has_file = false;
	own.handled = 0;
	own.begin_ns = clock_now_ns();
	own.pid = (int32_t)SYSCALL(getpid);
	store_release(&own.making, own.forbidden ? MAKING_DONE : MAKING_NOT_YET);
}

bool stats_command_is_pending(void)
{
	return load_relaxed(&load_acquire(&stats)->command.sequence) != load_relaxed(&own.handled);
}

bool stats_poll_command(struct stats_command *ret_command)
{
	struct stats_command_area *area = &load_acquire(&stats)->command;
	uint32_t handled = load_relaxed(&own.handled);
	struct stats_command command;

	command.sequence = load_acquire(&area->sequence); // pairs with the command's release
	if (command.sequence == handled || !cas_seq(&own.handled, handled, command.sequence))
		return false;
	command.request = load_relaxed(&area->request);
	if (command.request <= STATS_REQUEST_NONE || command.request >= STATS_REQUEST_COUNT) {
		stats_command_done(&command, STATS_REPLY_UNKNOWN, 0);
		return false;
	}
	*ret_command = command;
	return true;
}

bool stats_command_done(
	const struct stats_command *command, enum stats_reply reply, const char *text)
{
	struct stats_command_area *area = &load_acquire(&stats)->command;

	if (load_acquire(&area->sequence) != command->sequence)
		return false;
	copy_text(area->text, sizeof(area->text), text);
	store_relaxed(&area->reply, (uint32_t)reply);
	store_release(&area->done, command->sequence); // pairs with the load of `gasket set`
	futex_wake_shared(&area->done, INT32_MAX);
	return true;
}

uint32_t stats_wake_value(void)
{
	return load_acquire(&load_acquire(&stats)->command.wake);
}

void stats_wait(uint32_t value, uint64_t timeout_ns)
{
	futex_wait_shared(&load_acquire(&stats)->command.wake, value, timeout_ns);
}

void stats_wake(void)
{
	uint32_t *word = &load_acquire(&stats)->command.wake;

	add_seq(word, 1);
	futex_wake_shared(word, INT32_MAX);
}
