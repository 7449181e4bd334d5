/*
 * The collector thread: made by libc's pthread_create, for setuid and friends must reach it, but on a stack of ours, which is no root (its addresses of
 * dead blocks would keep them alive). All signals are blocked in it but libc's own two. It is made only from a slow path of malloc or free or when a
 * blocking call begins, never inside a fork, a vfork child, a signal handler that interrupted malloc, or a thread that is being made.
 */
#include "preload/collector.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/gc/cycle.h"
#include "core/gc/thread.h"
#include "core/heap/thread_cache.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/memory.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/profile/stats_page.h"
#include "preload/real.h"
#include "preload/start.h"

#include <errno.h>
#include <sys/mman.h>

enum { STACK_BYTES = 512 * 1024, GUARD_BYTES = 4096 };

/* On a busy machine it may be long until the thread gets to run. If even this is over, the exit handlers run in the collector. */
#define LAST_WAIT_NS (600 * NS_PER_S)

/* libc's thread that was made last. It has ended a little after cycle_thread_exists() said so. */
enum made { MADE_NONE, MADE, MADE_ENDED, MADE_JOINING };

static struct {
	uint32_t made; // enum made; see join_last()
	int32_t task;  // id of the thread made last, 0: it is known to be gone
	bool forbidden;
	// of the one thread that starts the collector (core/gc/collector.c sees to that)
	char *stack;
	pthread_t thread; // read by who joins
} collector;

static void *collector_main(void *argument)
{
	char *frame = __builtin_frame_address(0);

	(void)argument;
	store_relaxed(&collector.task, thread_id_now());
	// what lies above belongs to libc: the thread's descriptor refers to blocks of the heap
	os_own_add((uintptr_t)collector.stack, (size_t)(frame - collector.stack));
	cycle_thread_main();
	os_own_remove((uintptr_t)collector.stack);
	store_release(&collector.made, MADE_ENDED);
	futex_wake(&collector.made, INT32_MAX);
	return 0;
}

static bool make_stack(void)
{
	long result;

	if (collector.stack)
		return true;
	result = SYSCALL(mmap, 0, STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (syscall_failed(result))
		return false;
	SYSCALL(mprotect, result, GUARD_BYTES, PROT_NONE);
	collector.stack = (char *)result;
	return true;
}

/*
 * Several threads may come here, and one joins. Only a thread that has ended: while one waits for the end of the last, another may start the next. True: there is
 * none to be joined any more.
 */
static bool join_last(void)
{
	uint32_t made = load_acquire(&collector.made);

	if (made == MADE_ENDED &&
		cas_seq(&collector.made, (uint32_t)MADE_ENDED, (uint32_t)MADE_JOINING)) {
		// it frees, and must not start the next thread in there
		if (thread_current)
			thread_current->in_libc_threads++;
		REAL(pthread_join)(collector.thread, 0);
		if (thread_current)
			thread_current->in_libc_threads--;
		store_release(&collector.made, MADE_NONE);
		futex_wake(&collector.made, INT32_MAX);
		return true;
	}
	if (made != MADE_NONE)
		futex_wait(&collector.made, made, NS_PER_MS);
	return made == MADE_NONE;
}

/* False: it is still there, or is started again and again. */
static bool stop_collector(uint64_t timeout_ns)
{
	uint64_t deadline = clock_now_ns() + timeout_ns;

	do {
		if (!cycle_stop_thread(timeout_ns))
			return false;
		if (join_last())
			return true;
	} while (clock_now_ns() < deadline);
	return false;
}

static bool start_collector(void)
{
	const uint64_t libc_signals = 3ull << (32 - 1);
	struct signal_guard guard;
	uint64_t mask = ~libc_signals, old_mask;
	pthread_attr_t attributes;
	int error;

	if (!sandbox_allows(SANDBOX_COLLECTOR)) {
		stats_set(aside, STATS_ASIDE_SANDBOX);
		return false;
	}
	if (collector.forbidden || !make_stack())
		return false;
	// a handler that interrupted malloc, or a dying thread: not from here
	if (thread_cache_current == THREAD_CACHE_NONE)
		return false;
	signals_block_really(&guard); // the thread inherits the mask
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &mask, &old_mask, sizeof(mask));
	while (!join_last())
		;
	store_relaxed(&collector.made, MADE);
	pthread_attr_init(&attributes);
	REAL(pthread_attr_setstack)
	(&attributes, collector.stack + GUARD_BYTES, STACK_BYTES - GUARD_BYTES);
	// a forked child has what libc allocates here, and not the thread: it is no leak of the program's
	alloc_ignore_begin();
	error = REAL(pthread_create)(&collector.thread, &attributes, collector_main, 0);
	alloc_ignore_end();
	pthread_attr_destroy(&attributes);
	if (error != 0)
		store_release(&collector.made, MADE_NONE);
	signals_restore(&guard);
	if (error == 0) {
		stats_set(aside, STATS_ASIDE_NO);
		stats_publish();
	}
	return error == 0;
}

/*
 * A join returns as soon as the thread has no use of the memory any more; the kernel counts it for some moments more. Not for ever: the id is used again. True:
 * there was one.
 */
static bool wait_until_gone(void)
{
	enum { WAITS = 5000, WAIT_NS = 100000 };
	int32_t task = load_relaxed(&collector.task);
	long process = SYSCALL(getpid);
	static uint32_t never;

	for (int i = 0; task != 0 && i < WAITS && SYSCALL(tgkill, process, task, 0) != -ESRCH; i++)
		futex_wait(&never, 0, WAIT_NS);
	store_relaxed(&collector.task, 0);
	return task != 0;
}

bool collector_pause_for_syscall(void)
{
	return stop_collector(NS_PER_S) && wait_until_gone();
}

void collector_end_with_last_thread(void)
{
	stop_collector(LAST_WAIT_NS);
}

bool collector_forbid(void)
{
	bool was_allowed = !collector.forbidden;

	collector_pause_for_syscall();
	collector.forbidden = true;
	return was_allowed;
}

void collector_allow(void)
{
	collector.forbidden = false;
}

void collector_fork_child(void)
{
	collector.made = MADE_NONE;
	collector.task = 0;
}

void collector_init(void)
{
	cycle_start_hook = start_collector;
}
