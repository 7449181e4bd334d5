/*
 * The child is told from others by its end alone, for it may be killed at any moment.
 */
#include "core/gc/copy.h"

#include "core/base/check.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/roots.h"
#include "core/gc/world.h"
#include "core/heap/page_heap.h"
#include "core/os/clock.h"
#include "core/os/proc.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/os/tracking.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum {
	STOP_TIMEOUT_MS = 50,
	STOP_TRIES = 5,
	PATIENCE_MS = 50, // for threads that move pages
	RESIDENT_MAX =
		3, // GiB: making the child takes about 50 ms for each, and threads that stand still wait for 200
};

/* ---- the child ---- */

/* A dump of it would be as large as the program's and about nobody; with 1 neither a file is written nor a handler called. */
static void forbid_dumps(void)
{
	struct rlimit limit = {1, 1};

	SYSCALL(prlimit64, 0, RLIMIT_CORE, &limit, 0);
}

/* When memory is short this process goes first. */
static void volunteer_for_oom(void)
{
	long file =
		SYSCALL(openat, AT_FDCWD, "/proc/thread-self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (syscall_failed(file))
		return;
	SYSCALL(write, file, "1000", 4);
	SYSCALL(close, file);
}

__attribute__((noreturn)) static void child_main(
	const char *name, long parent, int (*body)(void *argument), void *argument)
{
	int status = COPY_NO_START;

	SYSCALL(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	SYSCALL(prctl, PR_SET_NAME, name, 0, 0, 0);
	forbid_dumps();
	// the parent's files tell of the parent
	proc_close();
	if (SYSCALL(getppid) == parent) {
		volunteer_for_oom();
		proc_open();
		status = body(argument);
	}
	for (;;)
		SYSCALL(exit_group, status);
}

/* ---- the parent ---- */

long copy_make(const char *name, int (*body)(void *argument), void *argument)
{
	uint64_t all = UINT64_MAX, mask = 0;
	long parent = SYSCALL(getpid), child;

	SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof(mask));
	child = SYSCALL(clone, CLONE_UNTRACED, 0, 0, 0, 0);
	if (child == 0)
		child_main(name, parent, body, argument);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof(mask));
	return syscall_failed(child) ? 0 : child;
}

static bool has_ended(long child, int flags, struct copy_end *ret_end)
{
	struct rusage usage = {0};
	int status = 0;
	long waited = SYSCALL(wait4, child, &status, __WCLONE | flags, &usage);

	if (waited == 0 || waited == -EINTR)
		return false;
	ret_end->status = waited < 0          ? COPY_UNSEEN
			  : WIFEXITED(status) ? WEXITSTATUS(status)
					      : COPY_KILLED;
	ret_end->cpu_ns =
		((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
		((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
	// a check of its own must not look like a bad day
	check(!(CHECKS && waited > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
	return true;
}

bool copy_has_ended(long child, struct copy_end *ret_end)
{
	return has_ended(child, WNOHANG, ret_end);
}

void copy_kill(long child)
{
	struct copy_end end;

	SYSCALL(kill, child, SIGKILL);
	while (!has_ended(child, 0, &end))
		;
}

/* ---- of one moment ---- */

const char *copy_refusal(void)
{
	if (options.collector == COLLECTOR_OFF)
		return "there is no collector here (mode=fast or collector=off), so threads cannot be stopped";
	if (!sandbox_allows(SANDBOX_SNAPSHOT))
		return "a filter of system calls may not let a copy of the process be made";
	if (!proc_is_open() && !proc_open())
		return "/proc cannot be read";
	if (proc_resident_bytes() >> 30 >= RESIDENT_MAX)
		return "the process has more than 3 GiB in memory: copying its page tables would be too long a pause";
	return 0;
}

/* Nonzero: the child is a copy of one moment. */
static long try_pause(const char *name, int (*body)(void *argument), void *argument)
{
	long child;

	if (!world_prepare() || !roots_prepare() || !world_stop(STOP_TIMEOUT_MS * NS_PER_MS, false))
		return 0;
	child = copy_make(name, body, argument);
	if (!world_commit() && child != 0) {
		copy_kill(child);
		child = 0;
	}
	world_start();
	return child;
}

long copy_make_still(const char *name, int (*body)(void *argument), void *argument)
{
	long child = 0;

	lock_assert_held(cycle_lock());
	if (page_heap_end_moves(PATIENCE_MS * NS_PER_MS)) {
		for (int i = 0; i < STOP_TRIES && child == 0 && cycle_may_go_on(); i++)
			child = try_pause(name, body, argument);
	}
	if (!tracking_is_open())
		page_heap_allow_moves();
	return child;
}
