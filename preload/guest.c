/*
 * Calls that assume a process of one thread, or that would leave our thread outside a sandbox: the collector thread is ended around them. It comes back when
 * it is wanted, and then inherits what the thread that starts it has. After seccomp filters none comes back: a filter may kill for a call not yet made. A filter
 * that the kernel refused changes nothing.
 */
#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/option.h"
#include "core/gc/thread.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/peek.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"
#include "preload/collector.h"
#include "preload/jump.h"
#include "preload/real.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#ifndef SECCOMP_SET_MODE_STRICT
#define SECCOMP_SET_MODE_STRICT 0
#endif
#ifndef SECCOMP_SET_MODE_FILTER
#define SECCOMP_SET_MODE_FILTER 1
#endif

/* A vfork child must not wait for its parent's threads. */
static bool is_own_process(void)
{
	struct thread *thread = thread_current;

	return !thread || !load_relaxed(&thread->is_in_vfork) || thread_id_now() == thread->tid;
}

/* True: a collector thread was ended. */
static bool pause_collector(void)
{
	return is_own_process() && collector_pause_for_syscall();
}

static bool has_one_task(void)
{
	enum { LINKS_WITH_ONE_TASK = 3 };
	struct stat status;

	return !syscall_failed(SYSCALL(newfstatat, AT_FDCWD, "/proc/self/task", &status, 0)) &&
	       status.st_nlink == LINKS_WITH_ONE_TASK;
}

/*
 * The kernel lets go of what a thread shared (its table of signal handlers) a few instructions after it denies that there is such a thread: it may be preempted
 * there, and a call that wants a process of one thread is refused meanwhile. To be asked after each refusal; false at once where there are other threads.
 */
static bool was_refused_too_early(bool has_paused, long error, unsigned *attempt)
{
	enum { ATTEMPTS = 50, ATTEMPT_NS = 200000 };
	static uint32_t never;

	if (!has_paused || error != EINVAL || (*attempt)++ == ATTEMPTS || !has_one_task())
		return false;
	futex_wait(&never, 0, ATTEMPT_NS);
	return true;
}

/* ---- sandboxes ---- */

/* What it was before the program tried to enter one. */
struct former {
	bool was_allowed;
	uint32_t sandbox;
	enum option_stacks stacks;
};

/*
 * What is made lazily is made while it can be: this thread's cache, the public page. No more stacks, for reading the modules' tables of frames takes
 * system calls of its own.
 */
static struct former forbid_collector(void)
{
	struct former former = {.was_allowed = false};

	if (!is_own_process())
		return former;
	free(malloc(1));
	former.was_allowed = collector_forbid();
	former.stacks = options.stacks;
	stats_publish();
	stats_forbid_files();
	stats_set(aside, STATS_ASIDE_SANDBOX);
	options.stacks = STACKS_OFF;
	alloc_apply_options();
	former.sandbox = sandbox_close();
	return former;
}

static void look_for_others(struct thread *thread, void *found)
{
	uint32_t life = load_relaxed(&thread->life);

	if ((life == THREAD_LIVE || life == THREAD_STARTING) && thread != thread_current)
		*(bool *)found = true;
}

/* The program is in no sandbox after all. With other threads, which may have entered one meanwhile, it stays as it is. */
static void allow_collector(const struct former *former)
{
	bool has_others = false;

	if (!former->was_allowed)
		return;
	threads_for_each(look_for_others, &has_others);
	if (has_others)
		return;
	sandbox_reopen(former->sandbox);
	if (sandbox_allows(SANDBOX_COLLECTOR)) {
		stats_allow_files();
		stats_set(aside, STATS_ASIDE_NO);
	}
	options.stacks = former->stacks;
	alloc_apply_options();
	collector_allow();
}

/* ---- the calls ---- */

enum guard { GUARD_NONE, GUARD_PAUSE, GUARD_FORBID };

/* A filter that is no address is how programs ask whether the kernel knows filters. */
static enum guard seccomp_guard(unsigned long operation, unsigned long filter)
{
	if (operation == SECCOMP_SET_MODE_FILTER)
		return filter ? GUARD_FORBID : GUARD_NONE;
	return operation == SECCOMP_SET_MODE_STRICT ? GUARD_FORBID : GUARD_NONE;
}

/* What is the thread's own affair must be the same in the collector: it begins again with what the thread has that starts it. */
static enum guard prctl_guard(unsigned long option, unsigned long a, unsigned long b)
{
	switch (option) {
	case PR_SET_SECCOMP:
		return a == SECCOMP_MODE_FILTER && b == 0 ? GUARD_NONE : GUARD_FORBID;
	case PR_SET_NO_NEW_PRIVS:
	case PR_CAPBSET_DROP:
	case PR_SET_SECUREBITS:
		return GUARD_PAUSE;
	case PR_CAP_AMBIENT:
		return a == PR_CAP_AMBIENT_IS_SET ? GUARD_NONE : GUARD_PAUSE;
	default:
		return GUARD_NONE;
	}
}

static struct former guard_begin(enum guard guard, bool *ret_has_paused)
{
	struct former none = {.was_allowed = false};

	*ret_has_paused = false;
	if (guard == GUARD_FORBID)
		return forbid_collector();
	if (guard == GUARD_PAUSE)
		*ret_has_paused = pause_collector();
	return none;
}

EXPORT int unshare(int flags)
{
	bool has_paused = pause_collector();
	unsigned attempt = 0;
	int result;

	do
		result = REAL(unshare)(flags);
	while (result == -1 && was_refused_too_early(has_paused, errno, &attempt));
	return result;
}

EXPORT int setns(int fd, int type)
{
	bool has_paused = pause_collector();
	unsigned attempt = 0;
	int result;

	do
		result = REAL(setns)(fd, type);
	while (result == -1 && was_refused_too_early(has_paused, errno, &attempt));
	return result;
}

EXPORT int capset(void *header, const void *data)
{
	pause_collector();
	return REAL(capset)(header, data);
}

EXPORT int prctl(int option, ...)
{
	struct former former;
	bool has_paused;
	va_list list;
	unsigned long a, b, c, d;
	int result;

	va_start(list, option);
	a = va_arg(list, unsigned long);
	b = va_arg(list, unsigned long);
	c = va_arg(list, unsigned long);
	d = va_arg(list, unsigned long);
	va_end(list);
	former = guard_begin(prctl_guard((unsigned long)option, a, b), &has_paused);
	result = REAL(prctl)(option, a, b, c, d);
	if (result == -1) {
		int error = errno;

		allow_collector(&former);
		errno = error;
	}
	return result;
}

/* A handler that no trampoline holds off while this library's locks are held (see signals.c). */
static void note_raw_action(const uintptr_t *action)
{
	if (action && peek_is_readable(action, sizeof(*action)) && *action != (uintptr_t)SIG_DFL &&
		*action != (uintptr_t)SIG_IGN)
		signals_defer_end();
}

static enum guard syscall_guard(long number, long a, long b, long c)
{
	if (number == SYS_rt_sigaction) {
		note_raw_action((const uintptr_t *)b);
		return GUARD_NONE;
	}
	if (number == SYS_seccomp)
		return seccomp_guard((unsigned long)a, (unsigned long)c);
	if (number == SYS_prctl)
		return prctl_guard((unsigned int)a, (unsigned long)b, (unsigned long)c);
	return GUARD_PAUSE;
}

long syscall_guarded(long number, long a, long b, long c, long d, long e, long f)
{
	struct former former;
	unsigned attempt = 0;
	bool has_paused;
	long result;

	if (number == SYS_execve || number == SYS_execveat)
		return syscall_exec(number, a, b, c, d, e);
	former = guard_begin(syscall_guard(number, a, b, c), &has_paused);
	do
		result = syscall6(number, a, b, c, d, e, f);
	while ((number == SYS_unshare || number == SYS_setns) &&
		was_refused_too_early(has_paused, -result, &attempt));
	if (!syscall_failed(result))
		return result;
	allow_collector(&former);
	return syscall_failed_with((int)-result);
}
