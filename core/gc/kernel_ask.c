/*
 * /proc/self/fd names what is open, /proc/self/fdinfo prints every data word of an epoll descriptor, /proc/self/timers every sigval. Whether bytes wait in
 * a pipe whose two ends are both here (FIFOs too) is asked of a duplicate of the descriptor, made by pidfd_getfd into our own table (or, where a container
 * forbids that, by opening it again) and closed at once. Unix sockets are asked about by netlink (socket_ask.h); where that is not to be had, and those
 * of another network namespace, one by one in the way of pipes, and then the other end counts as here.
 *
 * /proc/self is the main thread; when that has exited its descriptors are gone from there, so the first task that still has some is asked.
 */
#include "core/gc/kernel_ask.h"

#include "core/base/format.h"
#include "core/base/sort.h"
#include "core/gc/socket_ask.h"
#include "core/os/maps.h"
#include "core/os/directory.h"
#include "core/os/memory.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
	BUFFER_BYTES = 16384,
	PATH_BYTES = 96,
	LINK_BYTES = 64,
	PIPES_MAX = 8192,
	SOCKETS_MAX = 8192
};

#ifndef AT_STATX_DONT_SYNC
#define AT_STATX_DONT_SYNC 0x4000
#endif

#define FLAGS_UNKNOWN UINT64_MAX

/* One end of a pipe, with a name (FIFO) or without. */
struct pipe_end {
	uint64_t device;
	uint64_t inode;
	int fd;
	bool reads, writes;
};

/* Guard: CYCLE. */
static struct {
	char directory[BUFFER_BYTES];
	char text[BUFFER_BYTES];
	struct pipe_end pipes[PIPES_MAX];
	unsigned pipe_count;
	struct asked_socket sockets[SOCKETS_MAX];
	unsigned socket_count;
	int table; // task whose descriptor table is looked at
} ask;

struct visitor {
	void (*visit)(uintptr_t word, void *argument);
	void *argument;
};

/* ---- text ---- */

static bool starts_with(const char *text, const char *start)
{
	while (*start && *start == *text) {
		start++;
		text++;
	}
	return *start == 0;
}

static bool parse_number(const char *text, unsigned base, uint64_t *ret_value)
{
	uint64_t value = 0;
	unsigned digits = 0;

	for (;; text++, digits++) {
		unsigned digit;

		if (*text >= '0' && *text <= '9')
			digit = (unsigned)(*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			digit = (unsigned)(*text - 'a') + 10;
		else
			break;
		if (digit >= base)
			break;
		value = value * base + digit;
	}
	*ret_value = value;
	return digits > 0;
}

/* ---- /proc ---- */

static long open_proc(const char *name, int fd, int flags)
{
	char path[PATH_BYTES];

	if (fd < 0)
		format_text(path, sizeof(path), "/proc/self/task/%d/%s", ask.table, name);
	else
		format_text(path, sizeof(path), "/proc/self/task/%d/%s/%d", ask.table, name, fd);
	return SYSCALL(openat, AT_FDCWD, path, flags | O_CLOEXEC);
}

/*
 * Calls line(text, argument) for each line of a file. Lines longer than the buffer are cut. False: the file could not be read to its end.
 */
static bool for_each_line(long fd, void (*line)(const char *text, void *argument), void *argument)
{
	size_t filled = 0;
	long got;

	if (syscall_failed(fd))
		return false;
	while ((got = SYSCALL(read, fd, ask.text + filled, BUFFER_BYTES - 1 - filled)) > 0) {
		size_t start = 0;

		filled += (size_t)got;
		for (size_t i = 0; i < filled; i++) {
			if (ask.text[i] != '\n' && !(start == 0 && i == BUFFER_BYTES - 2))
				continue;
			ask.text[i] = 0;
			line(ask.text + start, argument);
			start = i + 1;
		}
		for (size_t i = start; i < filled; i++)
			ask.text[i - start] = ask.text[i];
		filled -= start;
	}
	SYSCALL(close, fd);
	return got == 0;
}

/* " tfd:        5 events:       19 data:     7f0012345678  pos:0 ..." */
static void epoll_line(const char *text, void *argument)
{
	struct visitor *visitor = argument;
	uint64_t word;

	if (!starts_with(text, "tfd:"))
		return;
	for (; *text; text++) {
		if (!starts_with(text, " data:"))
			continue;
		text += 6;
		while (*text == ' ')
			text++;
		if (parse_number(text, 16, &word))
			visitor->visit(word, visitor->argument);
		return;
	}
}

/* "signal: 60/00007fff86e452a8" */
static void timer_line(const char *text, void *argument)
{
	struct visitor *visitor = argument;
	uint64_t word;

	if (!starts_with(text, "signal:"))
		return;
	while (*text && *text != '/')
		text++;
	if (*text && parse_number(text + 1, 16, &word))
		visitor->visit(word, visitor->argument);
}

/* "flags:	02" (octal) */
static void flags_line(const char *text, void *argument)
{
	uint64_t flags;

	if (!starts_with(text, "flags:"))
		return;
	text += 6;
	while (*text == ' ' || *text == '\t')
		text++;
	if (parse_number(text, 8, &flags))
		*(uint64_t *)argument = flags;
}

/* ---- descriptors ---- */

/* A duplicate of the program's descriptor in our table; negative: the kernel does not give it. */
static long duplicate(int fd)
{
	long process = SYSCALL(pidfd_open, ask.table, 0);
	long copy;

	if (syscall_failed(process))
		return process;
	copy = SYSCALL(pidfd_getfd, process, fd, 0);
	SYSCALL(close, process);
	return copy;
}

/* The same for the reading end of a pipe. Its reader is here, so one more for a moment changes nothing for anybody. */
static long duplicate_pipe(int fd)
{
	char path[PATH_BYTES];
	long copy = duplicate(fd);

	if (!syscall_failed(copy))
		return copy;
	format_text(path, sizeof(path), "/proc/self/task/%d/fd/%d", ask.table, fd);
	return SYSCALL(openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/* Bytes that wait to be read; -1: not known. */
static long unread_bytes(long fd)
{
	int bytes = 0;

	if (syscall_failed(fd) || syscall_failed(SYSCALL(ioctl, fd, FIONREAD, &bytes)))
		return -1;
	return bytes;
}

static enum kernel_answer ask_epoll(int fd, struct visitor *visitor)
{
	return for_each_line(open_proc("fdinfo", fd, O_RDONLY), epoll_line, visitor)
		       ? KERNEL_TOLD
		       : KERNEL_SILENT;
}

static enum kernel_answer note_pipe(int fd, const struct stat *status)
{
	uint64_t flags = FLAGS_UNKNOWN;
	long info = open_proc("fdinfo", fd, O_RDONLY);

	if (info == -ENOENT)
		return KERNEL_TOLD; // closed meanwhile
	if (!for_each_line(info, flags_line, &flags) || flags == FLAGS_UNKNOWN ||
		ask.pipe_count == PIPES_MAX)
		return KERNEL_SILENT;
	ask.pipes[ask.pipe_count++] = (struct pipe_end){
		.device = status->st_dev,
		.inode = status->st_ino,
		.fd = fd,
		.reads = (flags & O_ACCMODE) != O_WRONLY,
		.writes = (flags & O_ACCMODE) != O_RDONLY,
	};
	return KERNEL_TOLD;
}

static bool is_lower_pipe(const void *left, const void *right)
{
	const struct pipe_end *a = left, *b = right;

	return a->device != b->device ? a->device < b->device : a->inode < b->inode;
}

static bool is_same_pipe(const struct pipe_end *a, const struct pipe_end *b)
{
	return a->device == b->device && a->inode == b->inode;
}

/* The ends of one pipe that are here; unread bytes say something if both a reading and a writing one are. */
static enum kernel_answer ask_pipe(const struct pipe_end *ends, unsigned count)
{
	const struct pipe_end *reader = 0;
	bool writes = false;
	long copy, bytes;

	for (unsigned i = 0; i < count; i++) {
		reader = ends[i].reads ? &ends[i] : reader;
		writes |= ends[i].writes;
	}
	if (!reader || !writes)
		return KERNEL_TOLD;
	copy = duplicate_pipe(reader->fd);
	bytes = unread_bytes(copy);
	if (!syscall_failed(copy))
		SYSCALL(close, copy);
	return bytes == 0 ? KERNEL_TOLD : bytes < 0 ? KERNEL_SILENT : KERNEL_IN_FLIGHT;
}

static enum kernel_answer ask_pipes(void)
{
	enum kernel_answer answer = KERNEL_TOLD;

	sort_items(ask.pipes, ask.pipe_count, sizeof(ask.pipes[0]), is_lower_pipe);
	for (unsigned first = 0, end; first < ask.pipe_count && answer == KERNEL_TOLD;
		first = end) {
		for (end = first + 1;
			end < ask.pipe_count && is_same_pipe(&ask.pipes[end], &ask.pipes[first]);
			end++)
			;
		answer = ask_pipe(&ask.pipes[first], end - first);
	}
	return answer;
}

/* By the name of its protocol, which costs no duplicate. True also when the kernel does not say. */
static bool may_be_unix_socket(int fd)
{
	char path[PATH_BYTES], name[LINK_BYTES] = "";
	long length;

	format_text(path, sizeof(path), "/proc/self/task/%d/fd/%d", ask.table, fd);
	length = SYSCALL(getxattr, path, "system.sockprotoname", name, sizeof(name) - 1);
	return syscall_failed(length) ? length != -ENOENT : starts_with(name, "UNIX");
}

/* Without netlink nobody tells where the other end is: unread bytes are in flight. A socket that listens does not tell what waits in it. */
static enum kernel_answer ask_socket(int fd)
{
	int domain = 0;
	socklen_t bytes = sizeof(domain);
	long copy, unread = 0;

	if (!may_be_unix_socket(fd))
		return KERNEL_TOLD;
	copy = duplicate(fd);
	if (syscall_failed(copy))
		return copy == -EBADF ? KERNEL_TOLD : KERNEL_SILENT;
	if (!syscall_failed(SYSCALL(getsockopt, copy, SOL_SOCKET, SO_DOMAIN, &domain, &bytes)) &&
		domain == AF_UNIX)
		unread = unread_bytes(copy);
	SYSCALL(close, copy);
	return unread == 0 ? KERNEL_TOLD : unread < 0 ? KERNEL_SILENT : KERNEL_IN_FLIGHT;
}

static bool is_lower_socket(const void *a, const void *b)
{
	return ((const struct asked_socket *)a)->inode < ((const struct asked_socket *)b)->inode;
}

static enum kernel_answer ask_sockets(void)
{
	enum kernel_answer answer = KERNEL_TOLD;
	bool in_flight;

	if (ask.socket_count == 0)
		return KERNEL_TOLD;
	if (ask.socket_count == SOCKETS_MAX)
		return KERNEL_SILENT;
	sort_items(ask.sockets, ask.socket_count, sizeof(ask.sockets[0]), is_lower_socket);
	if (sockets_ask(ask.sockets, ask.socket_count, &in_flight) && in_flight)
		return KERNEL_IN_FLIGHT;
	for (unsigned i = 0; i < ask.socket_count && answer == KERNEL_TOLD; i++) {
		if (!ask.sockets[i].told)
			answer = ask_socket(ask.sockets[i].fd);
	}
	return answer;
}

/* A pipe that has a name is known by its type only. What the file system remembers of it is enough: a server that is away must not hold us up. */
static enum kernel_answer ask_file(int fd)
{
	char path[PATH_BYTES];
	struct stat status;
	long result;

	format_text(path, sizeof(path), "/proc/self/task/%d/fd/%d", ask.table, fd);
	result = SYSCALL(newfstatat, AT_FDCWD, path, &status, AT_STATX_DONT_SYNC);
	if (result == -EINVAL) // before Linux 4.11
		result = SYSCALL(newfstatat, AT_FDCWD, path, &status, 0);
	if (syscall_failed(result))
		return result == -ENOENT ? KERNEL_TOLD : KERNEL_SILENT;
	return S_ISFIFO(status.st_mode) ? note_pipe(fd, &status) : KERNEL_TOLD;
}

static enum kernel_answer ask_descriptor(int fd, struct visitor *visitor)
{
	char path[PATH_BYTES], link[LINK_BYTES];
	uint64_t inode;
	long length;

	format_text(path, sizeof(path), "/proc/self/task/%d/fd/%d", ask.table, fd);
	length = SYSCALL(readlinkat, AT_FDCWD, path, link, sizeof(link) - 1);
	if (syscall_failed(length))
		return KERNEL_TOLD; // closed meanwhile
	link[length] = 0;
	if (starts_with(link, "anon_inode:[eventpoll]"))
		return ask_epoll(fd, visitor);
	if (starts_with(link, "anon_inode:[io_uring]") || starts_with(link, "/dev/fuse"))
		return KERNEL_IN_FLIGHT;
	if (starts_with(link, "anon_inode:"))
		return KERNEL_TOLD;
	if (!starts_with(link, "socket:[") || !parse_number(link + 8, 10, &inode))
		return ask_file(fd);
	if (ask.socket_count < SOCKETS_MAX)
		ask.sockets[ask.socket_count++] = (struct asked_socket){.inode = inode, .fd = fd};
	return KERNEL_TOLD;
}

/* The first task with a descriptor table: the main thread, unless it has exited. Ours (of this thread) is not the program's. */
static long open_table(void)
{
	int self = (int)SYSCALL(gettid), process = (int)SYSCALL(getpid);
	long tasks, fd, got;

	ask.table = process;
	fd = open_proc("fd", -1, O_RDONLY | O_DIRECTORY);
	if (!syscall_failed(fd))
		return fd;
	tasks = SYSCALL(openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (syscall_failed(tasks))
		return tasks;
	while ((got = SYSCALL(getdents64, tasks, ask.directory, BUFFER_BYTES)) > 0) {
		for (long offset = 0; offset < got;) {
			const struct directory_entry *entry =
				(const struct directory_entry *)(ask.directory + offset);
			uint64_t task;

			offset += entry->bytes;
			if (!parse_number(entry->name, 10, &task) || (int)task == self)
				continue;
			ask.table = (int)task;
			fd = open_proc("fd", -1, O_RDONLY | O_DIRECTORY);
			if (syscall_failed(fd))
				continue;
			SYSCALL(close, tasks);
			return fd;
		}
	}
	SYSCALL(close, tasks);
	return -ENOENT;
}

static enum kernel_answer ask_descriptors(struct visitor *visitor)
{
	long table = open_table(), got;
	enum kernel_answer worst = KERNEL_TOLD;

	if (syscall_failed(table))
		return KERNEL_SILENT;
	ask.pipe_count = ask.socket_count = 0;
	while ((got = SYSCALL(getdents64, table, ask.directory, BUFFER_BYTES)) > 0) {
		for (long offset = 0; offset < got;) {
			const struct directory_entry *entry =
				(const struct directory_entry *)(ask.directory + offset);
			enum kernel_answer answer = KERNEL_TOLD;
			uint64_t fd;

			offset += entry->bytes;
			if (parse_number(entry->name, 10, &fd) && (int)fd != table)
				answer = ask_descriptor((int)fd, visitor);
			if (answer > worst)
				worst = answer;
		}
	}
	SYSCALL(close, table);
	if (got < 0)
		return KERNEL_SILENT;
	if (worst == KERNEL_TOLD)
		worst = ask_pipes();
	return worst == KERNEL_TOLD ? ask_sockets() : worst;
}

static bool rings_exist(void)
{
	static struct maps maps; // lock CYCLE

	if (!maps_reserve(&maps) || !maps_read(&maps))
		return true;
	for (size_t i = 0; i < maps.count; i++) {
		if (maps.list[i].kind == MAPPING_RING)
			return true;
	}
	return false;
}

enum kernel_answer kernel_ask(void (*visit)(uintptr_t word, void *argument), void *argument)
{
	struct visitor visitor = {visit, argument};
	long timers;

	if (!sandbox_allows(SANDBOX_ASK))
		return KERNEL_SILENT;
	timers = SYSCALL(openat, AT_FDCWD, "/proc/self/timers", O_RDONLY | O_CLOEXEC);
	// kernels without CONFIG_CHECKPOINT_RESTORE have no such file; timers made through libc are in the table of scanners/
	if (timers != -ENOENT && !for_each_line(timers, timer_line, &visitor))
		return KERNEL_SILENT;
	if (rings_exist())
		return KERNEL_IN_FLIGHT;
	return ask_descriptors(&visitor);
}
