/*
 * Messages. One write(2) per line, so that lines of several processes on one pipe do not mix. Identity of fd 2 is device and inode.
 */
#include "core/os/log.h"

#include "core/base/atomic.h"
#include "core/base/check.h"
#include "core/base/format.h"
#include "core/os/syscall.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>

enum { STDERR = 2, LINE_BYTES = 1024, PENDING_BYTES = 2048 };
enum pending_state { PENDING_NONE, PENDING_WAITS, PENDING_BUSY };

/* Written at start and by the collector thread when it begins; read anywhere. */
static struct {
	bool known; // fd 2 was open at start
	dev_t device;
	ino_t inode;
	const char *path;  // log=PATH
	int thread_id;     // thread with a table of its own
	int thread_fd;     // its duplicate of fd 2, or -1
	bool is_forbidden; // atomic
	uint64_t dropped;
	uint32_t pending_state; // enum pending_state: who may touch `pending`
	size_t pending_bytes;
	char pending[PENDING_BYTES];
} sink = {.thread_fd = -1};

static bool identify(int fd, struct stat *ret_status)
{
	return !syscall_failed(SYSCALL(fstat, fd, ret_status));
}

void log_init(void)
{
	struct stat status;

	sink.known = identify(STDERR, &status);
	if (sink.known) {
		sink.device = status.st_dev;
		sink.inode = status.st_ino;
	}
}

void log_set_path(const char *path)
{
	sink.path = path && *path ? path : 0;
}

void log_set_thread_descriptor(int thread_id, int descriptor)
{
	sink.thread_fd = descriptor;
	store_release(&sink.thread_id, thread_id);
}

uint64_t log_dropped_count(void)
{
	return load_relaxed(&sink.dropped);
}

static int stderr_descriptor(void)
{
	struct stat status;
	int fd = STDERR;

	if (sink.thread_id != 0 && (int)SYSCALL(gettid) == load_acquire(&sink.thread_id))
		fd = sink.thread_fd;
	if (fd < 0 || !sink.known || load_relaxed(&sink.is_forbidden) || !identify(fd, &status))
		return -1;
	return status.st_dev == sink.device && status.st_ino == sink.inode ? fd : -1;
}

bool log_has_place(void)
{
	return sink.path || stderr_descriptor() >= 0;
}

void log_forbid_stderr(void)
{
	store_relaxed(&sink.is_forbidden, true);
}

/* Keeps text of the collector thread for a program thread to write; false: no room. */
static bool keep_pending(const char *text, size_t bytes)
{
	uint32_t state = exchange_seq(&sink.pending_state, (uint32_t)PENDING_BUSY);
	bool kept = state != PENDING_BUSY && sink.pending_bytes + bytes <= PENDING_BYTES;

	if (state == PENDING_BUSY)
		return false;
	for (size_t i = 0; kept && i < bytes; i++)
		sink.pending[sink.pending_bytes++] = text[i];
	store_release(&sink.pending_state, sink.pending_bytes > 0 ? PENDING_WAITS : PENDING_NONE);
	return kept;
}

void log_flush_pending(void)
{
	if (load_relaxed(&sink.pending_state) != PENDING_WAITS ||
		!cas_seq(&sink.pending_state, (uint32_t)PENDING_WAITS, (uint32_t)PENDING_BUSY))
		return;
	log_write(sink.pending, sink.pending_bytes);
	sink.pending_bytes = 0;
	store_release(&sink.pending_state, PENDING_NONE);
}

static bool is_without_descriptor(void)
{
	return sink.thread_id != 0 && sink.thread_fd < 0 &&
	       (int)SYSCALL_0(SYS_gettid) == load_acquire(&sink.thread_id);
}

static bool write_all(int fd, const char *text, size_t bytes)
{
	while (bytes > 0) {
		long written = SYSCALL(write, fd, text, bytes);

		if (written <= 0)
			return false;
		text += written;
		bytes -= (size_t)written;
	}
	return true;
}

bool log_write(const char *text, size_t bytes)
{
	bool done = false;

	if (sink.path) {
		long fd = SYSCALL(openat, AT_FDCWD, sink.path,
			O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (!syscall_failed(fd)) {
			done = write_all((int)fd, text, bytes);
			SYSCALL(close, fd);
		}
	} else if (is_without_descriptor()) {
		done = keep_pending(text, bytes);
	} else {
		int fd = stderr_descriptor();

		done = fd >= 0 && write_all(fd, text, bytes);
	}
	if (!done)
		add_relaxed(&sink.dropped, 1);
	return done;
}

void log_line(const char *format, ...)
{
	char line[LINE_BYTES];
	size_t length = format_text(line, sizeof(line), "gasket: ");
	va_list list;

	va_start(list, format);
	length += format_text_list(line + length, sizeof(line) - length - 1, format, list);
	va_end(list);
	line[length++] = '\n';
	log_write(line, length);
}

void fatal(const char *message)
{
	uint64_t mask = 1ull << (SIGABRT - 1);
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action = {0};
	long process, thread;

	log_line("fatal: %s", message);
	SYSCALL(rt_sigaction, SIGABRT, &action, 0, sizeof(mask));
	SYSCALL(rt_sigprocmask, SIG_UNBLOCK, &mask, 0, sizeof(mask));
	process = SYSCALL(getpid);
	thread = SYSCALL(gettid);
	SYSCALL(tgkill, process, thread, SIGABRT);
	for (;;)
		SYSCALL(exit_group, 134);
}
