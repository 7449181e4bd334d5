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
#include "core/gc/leak_check.h"
#include "core/gc/roots.h"
#include "core/heap/heap_stats.h"
#include "core/os/log.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"
#include "preload/collector.h"
#include "scanners/scanners.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { ENVIRONMENT_BYTES = 65536, COMPLAINTS_BYTES = 1024 };

/* The image of this library: its data is ours and no root. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* Written before main, but for `looked` and `left`. */
static struct {
	uint32_t looked; // look_for_leaks() ran; compare-and-swap decides who does it
	uint32_t left;   // start_leave() ran; the same
	int32_t pid;     // of the process the program was started in; a fork child has another
	char runtime_directory[OPTION_TEXT_BYTES];
	char complaints
		[COMPLAINTS_BYTES]; // lines about bad options, kept until fd 2 is known to be what it is
	size_t complaints_length;
} start;

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
	start.complaints_length += format_text(start.complaints + start.complaints_length,
		sizeof(start.complaints) - start.complaints_length, "gasket: %s\n", message);
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
	if (!CHECKS && options.scan_off[0])
		complain("GASKET_OPTIONS: scan_off needs a build with -Dchecks=true; ignored");
	log_set_path(options.log);
	text = environment("XDG_RUNTIME_DIR");
	if (text)
		format_text(start.runtime_directory, sizeof(start.runtime_directory), "%s", text);
}

static void publish_settings(void)
{
	stats_init(start.runtime_directory[0] ? start.runtime_directory : 0);
	stats_set(mode, options.mode);
	stats_set(free, options.free);
	stats_set(leaks, options.leaks);
	stats_set(collector, options.collector);
}

/* ---- end ---- */

void start_publish_counters(void)
{
	stats_set(double_frees, load_relaxed(&heap_stats.double_free_count));
	stats_set(foreign_frees, load_relaxed(&heap_stats.foreign_free_count));
	stats_set(interior_frees, load_relaxed(&heap_stats.interior_free_count) +
					  load_relaxed(&heap_stats.unused_free_count));
}

void start_leave(void)
{
	if (!cas_seq(&start.left, (uint32_t)0, (uint32_t)1))
		return;
	start_publish_counters();
	if (options.stats_file[0] && !stats_write_file(options.stats_file))
		log_line("cannot write statistics to %s", options.stats_file);
	stats_unpublish();
}

/* Looks for leaks, once, and returns the status to end with. */
static int look_for_leaks(int status)
{
	bool complete;
	uint64_t leaks;

	if (!cas_seq(&start.looked, (uint32_t)0, (uint32_t)1))
		return status;
	leaks = leak_check_at_exit(&complete);
	if (strcmp(options.report, "off") != 0)
		stats_set(exit_check, leaks > 0  ? STATS_EXIT_CHECK_LEAKS
				      : complete ? STATS_EXIT_CHECK_CLEAN
						 : STATS_EXIT_CHECK_NO_VERDICT);
	return leak_check_exit_status(status, leaks);
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
 * Shells end like this. Leaks are looked for only if a report was asked for, and not in a fork child, which mostly ends so because something went
 * wrong before exec. A vfork child leaves its parent's page alone, too.
 */
static int leave_at_once(int status)
{
	if (!stats_belong_here())
		return status;
	if (strcmp(options.report, "off") != 0 && (int32_t)SYSCALL(getpid) == start.pid)
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
	if (start.complaints_length > 0)
		log_write(start.complaints, start.complaints_length);
	publish_settings();
	roots_register(scanners, SCANNER_COUNT);
	roots_exclude_image(__ehdr_start);
	collector_init();
	start.pid = (int32_t)SYSCALL(getpid);
	on_exit(at_exit, 0);
	at_quick_exit(on_quick_exit);
}
