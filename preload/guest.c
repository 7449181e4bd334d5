/*
 * Calls that assume a process of one thread, or that would leave our thread outside a sandbox: the collector thread is ended around them. It comes back when
 * it is wanted, and then inherits what the thread that starts it has. After seccomp filters none comes back: a filter may kill for a call not yet made.
 */
#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/option.h"
#include "core/gc/thread.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"
#include "preload/collector.h"
#include "preload/jump.h"
#include "preload/real.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>

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

static void pause_collector(void)
{
	if (is_own_process())
		collector_pause_for_syscall();
}

/*
 * What is made lazily is made while it can be: this thread's cache, the public page. No more stacks, for reading the modules' tables of frames takes
 * system calls of its own.
 */
static void forbid_collector(void)
{
	if (!is_own_process())
		return;
	free(malloc(1));
	collector_forbid();
	stats_publish();
	stats_forbid_files();
	stats_set(aside, STATS_ASIDE_SANDBOX);
	options.stacks = STACKS_OFF;
	alloc_apply_options();
	sandbox_close();
}

EXPORT int unshare(int flags)
{
	pause_collector();
	return REAL(unshare)(flags);
}

EXPORT int setns(int fd, int type)
{
	pause_collector();
	return REAL(setns)(fd, type);
}

EXPORT int capset(void *header, const void *data)
{
	pause_collector();
	return REAL(capset)(header, data);
}

EXPORT int prctl(int option, ...)
{
	va_list list;
	unsigned long a, b, c, d;

	va_start(list, option);
	a = va_arg(list, unsigned long);
	b = va_arg(list, unsigned long);
	c = va_arg(list, unsigned long);
	d = va_arg(list, unsigned long);
	va_end(list);
	if (option == PR_SET_SECCOMP)
		forbid_collector();
	return REAL(prctl)(option, a, b, c, d);
}

long syscall_guarded(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	if (number == SYS_seccomp && (a == SECCOMP_SET_MODE_STRICT || a == SECCOMP_SET_MODE_FILTER))
		forbid_collector();
	else if (number != SYS_seccomp)
		pause_collector();
	result = syscall6(number, a, b, c, d, e, f);
	return syscall_failed(result) ? syscall_failed_with((int)-result) : result;
}
