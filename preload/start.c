/*
 * Start: the first allocation (which may come before any constructor) reads the options and makes the heap; the constructor joins the parts that need
 * libc. End: the handler that on_exit() calls after the program's own handlers checks for leaks; nothing is ever taken down, for destructors of the
 * program may still run.
 */
#include "preload/start.h"
#include "preload/libc_versions.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/check.h"
#include "core/base/format.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/last_words.h"
#include "core/gc/leak_check.h"
#include "core/gc/roots.h"
#include "core/gc/thread.h"
#include "core/gc/world.h"
#include "core/heap/heap_stats.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/log.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"
#include "preload/collector.h"
#include "preload/last_signal.h"
#include "preload/lsan.h"
#include "preload/signals.h"
#include "scanners/scanners.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { ENVIRONMENT_BYTES = 65536, COMPLAINTS_BYTES = 1024 };

/* What is done once at the end of a process, by whichever thread ends it first. */
struct last_task {
	uint64_t
		owner; // process and thread that does it, see caller(); 0: nobody yet. Compare-and-swap decides
	uint32_t done; // 1 when it has; futex of others that end the process
};

enum {
	END_WAIT_MS =
		10000, // longest wait of one thread that ends the process for another that does
	EXEC_FAILED_MIN = 126, // by habit: not executable, not found
};

/* The image of this library: its data is ours and no root. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* Written before main, but for the last tasks. */
static struct {
	struct last_task look;  // look_for_leaks()
	uint64_t leaks;         // what that found
	struct last_task leave; // start_leave()
	int32_t pid; // of the process the program was started in; a fork child has another
} start WRITTEN_BY_FORK;

static struct {
	char runtime_directory[OPTION_TEXT_BYTES];
	char complaints
		[COMPLAINTS_BYTES]; // lines about bad options, kept until fd 2 is known to be what it is
	size_t complaints_length;
} start_texts;

bool start_is_secure(void)
{
	return getauxval(AT_SECURE) != 0;
}

void *start_find_next(void **slot, const char *name)
{
	void *function = load_relaxed(slot);

	if (function)
		return function;
	function = dlsym(RTLD_NEXT, name);
	if (!function)
		fatal("a function of libc was not found");
	store_relaxed(slot, function);
	return function;
}

/* ---- options ---- */

static void complain(const char *message)
{
	start_texts.complaints_length +=
		format_text(start_texts.complaints + start_texts.complaints_length,
			sizeof(start_texts.complaints) - start_texts.complaints_length,
			"gasket: %s\n", message);
}

/* The value of NAME= in a list of strings each ending in 0, or NULL. */
static const char *find_in(const char *strings, size_t bytes, const char *name)
{
	size_t length = strlen(name);

	for (size_t at = 0; at < bytes; at += strlen(strings + at) + 1) {
		if (strncmp(strings + at, name, length) == 0 && strings[at + length] == '=')
			return strings + at + length + 1;
	}
	return 0;
}

/* Before libc has set its own variable the environment is read from the kernel. */
static const char *environment_early(const char *name)
{
	static char text[ENVIRONMENT_BYTES];
	static size_t length;

	if (length == 0) {
		long fd = SYSCALL(openat, AT_FDCWD, "/proc/self/environ", O_RDONLY | O_CLOEXEC),
		     got = 0;

		while (!syscall_failed(fd) && length < sizeof(text) - 1 &&
			(got = SYSCALL(read, fd, text + length, sizeof(text) - 1 - length)) > 0)
			length += (size_t)got;
		if (!syscall_failed(fd))
			SYSCALL(close, fd);
	}
	return find_in(text, length, name);
}

static const char *environment(const char *name)
{
	size_t length = strlen(name);

	if (start_is_secure())
		return 0;
	if (!environ)
		return environment_early(name);
	for (char **entry = environ; *entry; entry++) {
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return *entry + length + 1;
	}
	return 0;
}

void alloc_start_hook(void)
{
	const char *text;

	log_init();
	options_reset();
	text = environment("GASKET_OPTIONS");
	if (text)
		options_parse(text, strlen(text), complain);
	if (!CHECKS && (options.scan_off[0] || options.fault[0]))
		complain(
			"GASKET_OPTIONS: scan_off and fault need a build with -Dchecks=true; ignored");
	log_set_path(options.log);
	text = environment("XDG_RUNTIME_DIR");
	if (text)
		format_text(start_texts.runtime_directory, sizeof(start_texts.runtime_directory),
			"%s", text);
	signals_init();
	if (options.collector == COLLECTOR_OFF)
		signals_defer_begin();
}

static void publish_settings(void)
{
	stats_init(start_texts.runtime_directory[0] ? start_texts.runtime_directory : 0);
	stats_set(mode, options.mode);
	stats_set(free, options.free);
	stats_set(leaks, options.leaks);
	stats_set(collector, options.collector);
}

void start_be_seen(void)
{
	bool is_allowed;
	int error = errno;

	// constructors of other libraries come first and read files: not yet
	if (!cycle_start_hook)
		return;
	is_allowed = sandbox_allows(SANDBOX_COLLECTOR);
	if (!is_allowed) {
		if (sandbox_may_open())
			return;
		stats_forbid_files();
	}
	stats_publish();
	// a handler may have interrupted libc where it makes threads
	if (stats_command_is_pending() ||
		(is_allowed && cycle_is_missed() && !thread_is_in_handler()))
		cycle_request(CYCLE_FOR_COMMAND);
	errno = error;
}

/* ---- end ---- */

void start_publish_counters(void)
{
	stats_set(double_frees, load_relaxed(&heap_stats.double_free_count));
	stats_set(foreign_frees, load_relaxed(&heap_stats.foreign_free_count));
	stats_set(interior_frees, load_relaxed(&heap_stats.interior_free_count) +
					  load_relaxed(&heap_stats.unused_free_count));
}

static uint64_t caller(void)
{
	return (uint64_t)SYSCALL(getpid) << 32 | (uint32_t)thread_id_now();
}

/*
 * False: it was done, or is none of the caller's business: its own thread is at it (in a signal handler, or an exit handler that exits), or another process was
 * when it forked. While another thread is at it the caller waits: if it ended the process now, the report would be lost.
 */
static bool last_task_begin(struct last_task *task)
{
	uint64_t self = caller(), owner, deadline;
	struct gate_frame frame = {0};

	if (cas_seq(&task->owner, (uint64_t)0, self))
		return true;
	owner = load_relaxed(&task->owner);
	if (owner == self || owner >> 32 != self >> 32)
		return false;
	gate_publish(&frame);
	gate_enter(&frame); // the leak check stops all others
	deadline = clock_now_ns() + END_WAIT_MS * NS_PER_MS;
	while (load_acquire(&task->done) == 0) {
		uint64_t now = clock_now_ns();

		if (now >= deadline)
			break;
		futex_wait(&task->done, 0, deadline - now);
	}
	gate_leave(&frame);
	return false;
}

static void last_task_end(struct last_task *task)
{
	store_release(&task->done, 1);
	futex_wake(&task->done, INT32_MAX);
}

void start_leave(void)
{
	if (!last_task_begin(&start.leave))
		return;
	start_publish_counters();
	if (options.stats_file[0] && !stats_write_file(options.stats_file))
		log_line("cannot write statistics to %s", options.stats_file);
	stats_unpublish();
	last_task_end(&start.leave);
}

static bool report_is_off(void)
{
	return strcmp(options.report, "off") == 0 || options.report[0] == 0;
}

static bool leaks_matter(void)
{
	return !report_is_off() || options.exitcode != 0;
}

static bool is_forked_child(void)
{
	return (int32_t)SYSCALL(getpid) != load_relaxed(&start.pid);
}

bool start_reports(void)
{
	return !report_is_off() && (options.report_children == SWITCH_ON || !is_forked_child());
}

static void check_leaks(void)
{
	bool complete = false;

	if (!lsan_check_is_wanted())
		return;
	start.leaks = leak_check_at_exit(&complete);
	if (!report_is_off())
		stats_set(exit_check, start.leaks > 0 ? STATS_EXIT_CHECK_LEAKS
				      : complete      ? STATS_EXIT_CHECK_CLEAN
						      : STATS_EXIT_CHECK_NO_VERDICT);
}

/* Looks for leaks, once, and returns the status to end with. */
static int look_for_leaks(int status)
{
	if (!leaks_matter() || (options.report_children == SWITCH_OFF && is_forked_child()))
		return status;
	if (last_task_begin(&start.look)) {
		check_leaks();
		last_task_end(&start.look);
		last_signal_settle();
	}
	return leak_check_exit_status(status, load_acquire(&start.look.done) ? start.leaks : 0);
}

/* This thread has begun to look for leaks, and is interrupted. */
static bool is_looking(void)
{
	return load_relaxed(&start.look.owner) == caller() && load_acquire(&start.look.done) == 0;
}

bool start_speak_last(uint64_t limit_ns, enum findings_reason reason)
{
	if (!stats_belong_here() || !start_reports())
		return true;
	if (is_looking())
		return false;
	if (last_task_begin(&start.look)) {
		if (!log_has_place())
			log_forbid_stderr();
		if (lsan_check_is_wanted())
			last_words_have(limit_ns, reason);
		log_flush_pending();
		last_task_end(&start.look);
	}
	return true;
}

/* In mode=watch somebody may ask at any time, also while every thread waits for good; a report after a signal cannot wait for the thread to be made either. */
static bool wants_collector_early(void)
{
	return options.interval_ms > 0 ||
	       (options.mode == MODE_WATCH && options.collector != COLLECTOR_OFF) ||
	       (start_reports() && leak_check_is_wanted());
}

void start_fork_child(void)
{
	if (options.report_children == SWITCH_OFF)
		cycle_is_wanted_early = wants_collector_early();
}

void start_check_leaks(void)
{
	int status = leak_check_is_wanted() ? look_for_leaks(0) : 0;

	log_flush_pending();
	if (status != 0)
		exit(status);
}

void start_look_before_exit(void)
{
	look_for_leaks(0);
}

/* After the program's own exit handlers: the leak check, and perhaps another exit status. */
static void at_exit(int status, void *argument)
{
	int wanted = look_for_leaks(status);

	(void)argument;
	cycle_shut_down();
	log_flush_pending();
	start_leave();
	// the handlers and buffers that are left are dealt with by the inner call
	if (wanted != status)
		exit(wanted);
}

/*
 * Shells end like this. Leaks are looked for only if a report was asked for, and not in a fork child that ends so because something went wrong before
 * exec. A vfork child leaves its parent's page alone, too.
 */
static int leave_at_once(int status)
{
	if (!stats_belong_here())
		return status;
	if (start_reports() && !(is_forked_child() && status >= EXEC_FAILED_MIN))
		status = look_for_leaks(status);
	start_leave();
	return status;
}

EXPORT void _exit(int status)
{
	status = leave_at_once(status);
	for (;;)
		SYSCALL(exit_group, status);
}

/* quick_exit() goes on to libc's own _exit, with a status that we do not learn. */
static void on_quick_exit(void)
{
	leave_at_once(0);
}

EXPORT void _Exit(int status)
{
	_exit(status);
}

__attribute__((constructor(101))) static void start_constructor(void)
{
	alloc_init();
	if (start_texts.complaints_length > 0)
		log_write(start_texts.complaints, start_texts.complaints_length);
	publish_settings();
	roots_register(scanners, SCANNER_COUNT);
	roots_exclude_image(__ehdr_start);
	collector_init();
	if (leaks_matter())
		lsan_init();
	start.pid = (int32_t)SYSCALL(getpid);
	last_signal_init();
	cycle_is_wanted_early = wants_collector_early();
	on_exit(at_exit, 0);
	at_quick_exit(on_quick_exit);
}
