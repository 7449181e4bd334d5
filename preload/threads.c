/*
 * Threads of the program as libc makes and ends them.
 *
 * The start argument of a thread, and its result until somebody joins it, are known to libc alone for a while; our record of the thread holds them, and the
 * collector takes its records for roots. The new thread begins in thread_main(), which takes its record and calls the program's function.
 *
 * The end is noticed by the destructor of one thread-specific key. Other destructors may allocate, in any of the rounds POSIX gives them: ours asks for
 * another round until the last one. What libc frees after that is served without a cache. Without a key (all taken) records are reaped by looking.
 *
 * A join is not gated: libc frees the dead thread's storage inside it. It restarts by itself when a signal of ours comes. What libc frees there it frees under
 * the lock of its list of stacks, which making a thread needs, too: the collector thread is not started from inside (LIBC_THREADS).
 */
#include "core/alloc/alloc.h"
#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/leak_check.h"
#include "core/gc/thread.h"
#include "core/gc/world.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/syscall.h"
#include "core/profile/module.h"
#include "core/profile/stats_page.h"
#include "preload/collector.h"
#include "preload/fork.h"
#include "preload/real.h"
#include "preload/start.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>

/* Between the main thread's stack and the next mapping the kernel leaves at least 128 MiB. */
#define MAIN_STACK_BYTES_MAX ((size_t)120 << 20)

static struct {
	pthread_key_t key;
	uint32_t has_key;
} ends;

/* ---- bounds ---- */

static size_t default_stack_bytes(const pthread_attr_t *attributes)
{
	pthread_attr_t standard;
	size_t bytes = 0;

	if (attributes)
		REAL(pthread_attr_getstacksize)(attributes, &bytes);
	if (!attributes && pthread_attr_init(&standard) == 0) {
		REAL(pthread_attr_getstacksize)(&standard, &bytes);
		pthread_attr_destroy(&standard);
	}
	return bytes;
}

/* The creator's part: a stack of the program's own, or how large libc's will be. */
static void note_stack(struct thread *thread, const pthread_attr_t *attributes)
{
	void *low = 0;
	size_t bytes = 0;

	if (attributes && REAL(pthread_attr_getstack)(attributes, &low, &bytes) == 0 &&
		bytes != 0 && (uintptr_t)low + bytes != 0) {
		thread->stack_low = (uintptr_t)low;
		thread->stack_high = (uintptr_t)low + bytes;
		thread->is_own_stack = true;
		return;
	}
	thread->stack_low = default_stack_bytes(attributes);
}

/* [stack] ends with the name of the program and one null pointer. It grows down as far as the limit lets it. */
static bool main_stack_bounds(struct thread *thread)
{
	const char *name = (const char *)getauxval(AT_EXECFN);
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
	size_t bytes = MAIN_STACK_BYTES_MAX;

	if (!name)
		return false;
	SYSCALL(prlimit64, 0, RLIMIT_STACK, 0, &limit);
	if (limit.rlim_cur < bytes)
		bytes = limit.rlim_cur;
	thread->stack_high =
		align_up((uintptr_t)name + strlen(name) + 1 + sizeof(void *), OS_PAGE_BYTES);
	thread->stack_low = thread->stack_high - align_down(bytes, OS_PAGE_BYTES);
	return true;
}

/*
 * The thread's own part. On a stack of libc's making the thread's descriptor, to which the handle points, lies in the last page. pthread_getattr_np would
 * tell more, but allocates.
 */
static bool stack_bounds(struct thread *thread)
{
	uintptr_t self = (uintptr_t)pthread_self(), here = (uintptr_t)__builtin_frame_address(0);

	thread->storage = self;
	if (thread->is_main)
		return main_stack_bounds(thread);
	if (thread->is_own_stack)
		return true;
	if (thread->stack_low == 0)
		thread->stack_low = default_stack_bytes(0);
	thread->stack_high = align_up(self + 1, OS_PAGE_BYTES);
	thread->stack_low = thread->stack_high - thread->stack_low;
	if (here >= thread->stack_low && here < thread->stack_high)
		return true;
	thread->stack_low = thread->stack_high = 0;
	return false;
}

/* ---- the end ---- */

static void look_for_user(struct thread *thread, void *found)
{
	uint32_t life = load_relaxed(&thread->life);

	// a thread that has not begun has no id yet, and nor has a collector: that has a record later, if at all
	if (life == THREAD_STARTING || (life == THREAD_LIVE && !load_seq(&thread->is_ending) &&
					       load_relaxed(&thread->tid) != cycle_thread_id()))
		*(bool *)found = true;
}

/* No thread of the program goes on. Of several that end at the same time one at least is told so, for each has said that it ends before it asks. */
static bool no_thread_goes_on(void)
{
	bool found = false;

	threads_for_each(look_for_user, &found);
	return !found;
}

/*
 * libc ends the process with its last thread, which calls exit() after this; but it has no cache then, and can have no collector made. So leaks are looked for
 * now, as exit would.
 */
static void look_for_leaks_with_last_thread(void)
{
	struct thread *thread = thread_current;

	if (!thread || !leak_check_is_wanted())
		return;
	store_seq(&thread->is_ending, 1u);
	if (no_thread_goes_on())
		start_look_before_exit();
}

/*
 * The collector is one of the threads that libc counts, and nobody would ever end it (nor could a signal, for it blocks them). So the last thread of the
 * program ends it first. If another was about to begin, the collector comes back when it is wanted.
 */
static void end_collector_with_last_thread(void)
{
	if (cycle_thread_exists() && no_thread_goes_on())
		collector_end_with_last_thread();
}

static void on_end(void *value)
{
	uintptr_t round = (uintptr_t)value;

	if (round < PTHREAD_DESTRUCTOR_ITERATIONS &&
		REAL(pthread_setspecific)(ends.key, (void *)(round + 1)) == 0)
		return;
	look_for_leaks_with_last_thread();
	thread_detach();
	world_wait_out_abandonment(); // libc may unmap the stack
	end_collector_with_last_thread();
}

static bool hook_end(struct thread *thread)
{
	(void)thread;
	return ends.has_key && REAL(pthread_setspecific)(ends.key, (void *)1) == 0;
}

/*
 * A malloc of another library's constructor may have attached the main thread before the hooks were there. If none did, it gets its record now: a vfork child
 * that allocates would make one in its place, and its alternate stack has to be noted somewhere.
 */
__attribute__((constructor(102))) static void threads_constructor(void)
{
	ends.has_key = REAL(pthread_key_create)(&ends.key, on_end) == 0;
	thread_hooks.stack_bounds = stack_bounds;
	thread_hooks.attached = hook_end;
	if (alloc_init())
		thread_register();
}

/* ---- inside libc ---- */

static void leave_libc_threads(struct thread **inside)
{
	if (*inside)
		(*inside)->in_libc_threads--;
}

static struct thread *enter_libc_threads(void)
{
	struct thread *thread = thread_current;

	if (thread)
		thread->in_libc_threads++;
	return thread;
}

/* Up to the end of the scope, also when the thread is cancelled. */
#define LIBC_THREADS \
	struct thread *inside __attribute__((cleanup(leave_libc_threads), unused)) = \
		enter_libc_threads()

/* ---- the beginning ---- */

/* The argument is a root of the record until it is in a register here. */
static void *take_argument(struct thread *thread)
{
	void *argument = thread->start_argument;

	KEEP_ALIVE(argument);
	store_release(&thread->start_argument, 0);
	return argument;
}

static void *thread_main(void *announced)
{
	struct thread *thread = thread_begin(announced, (uintptr_t)pthread_self());
	void *(*start_routine)(void *) = thread->start_routine;
	void *result = start_routine(take_argument(thread));

	thread_finish(result);
	return result;
}

/* Before the first thread: what opens files does it now, with nobody there to see them. */
static void open_while_alone(void)
{
	if (LIKELY(stats_publish_was_tried()))
		return;
	start_be_seen();
	if (options.stacks != STACKS_OFF && modules_have_changed())
		modules_scan();
}

EXPORT int pthread_create(pthread_t *restrict handle, const pthread_attr_t *restrict attributes,
	void *(*start_routine)(void *), void *restrict argument)
{
	int state = PTHREAD_CREATE_JOINABLE, error;
	struct thread *thread;

	open_while_alone();
	LIBC_THREADS;
	if (attributes)
		pthread_attr_getdetachstate(attributes, &state);
	thread = thread_announce(start_routine, argument, state == PTHREAD_CREATE_DETACHED);
	if (!thread)
		return EAGAIN;
	note_stack(thread, attributes);
	error = REAL(pthread_create)(handle, attributes, thread_main, thread);
	if (error != 0)
		thread_withdraw(thread);
	else
		fork_note_thread();
	return error;
}

EXPORT int pthread_join(pthread_t handle, void **ret_result)
{
	LIBC_THREADS;
	int error = REAL(pthread_join)(handle, ret_result);

	if (error == 0)
		thread_joined((uintptr_t)handle);
	return error;
}

EXPORT int pthread_tryjoin_np(pthread_t handle, void **ret_result)
{
	LIBC_THREADS;
	int error = REAL(pthread_tryjoin_np)(handle, ret_result);

	if (error == 0)
		thread_joined((uintptr_t)handle);
	return error;
}

EXPORT int pthread_timedjoin_np(
	pthread_t handle, void **ret_result, const struct timespec *deadline)
{
	LIBC_THREADS;
	int error = REAL(pthread_timedjoin_np)(handle, ret_result, deadline);

	if (error == 0)
		thread_joined((uintptr_t)handle);
	return error;
}

EXPORT int pthread_clockjoin_np(
	pthread_t handle, void **ret_result, clockid_t clock, const struct timespec *deadline)
{
	LIBC_THREADS;
	int error = REAL(pthread_clockjoin_np)(handle, ret_result, clock, deadline);

	if (error == 0)
		thread_joined((uintptr_t)handle);
	return error;
}

EXPORT int pthread_detach(pthread_t handle)
{
	LIBC_THREADS;
	int error = REAL(pthread_detach)(handle);

	if (error == 0)
		thread_detached((uintptr_t)handle);
	return error;
}

/* libc's handler for it may then unwind the thread from anywhere: see signals.c. */
EXPORT int pthread_setcanceltype(int type, int *ret_old)
{
	if (type == PTHREAD_CANCEL_ASYNCHRONOUS)
		signals_defer_end();
	return REAL(pthread_setcanceltype)(type, ret_old);
}

EXPORT void pthread_exit(void *result)
{
	thread_finish(result);
	REAL(pthread_exit)(result);
	__builtin_unreachable();
}

/* ---- C11's names for the same ---- */

static int thrd_main(void *announced)
{
	struct thread *thread = thread_begin(announced, (uintptr_t)pthread_self());
	thrd_start_t start_routine = (thrd_start_t)(void *)thread->start_routine;
	int result = start_routine(take_argument(thread));

	thread_finish(0);
	return result;
}

EXPORT int thrd_create(thrd_t *handle, thrd_start_t start_routine, void *argument)
{
	struct thread *thread;
	int result;

	open_while_alone();
	LIBC_THREADS;
	thread = thread_announce((void *(*)(void *))(void *)start_routine, argument, false);
	if (!thread)
		return thrd_nomem;
	note_stack(thread, 0);
	result = REAL(thrd_create)(handle, thrd_main, thread);
	if (result != thrd_success)
		thread_withdraw(thread);
	else
		fork_note_thread();
	return result;
}

EXPORT int thrd_join(thrd_t handle, int *ret_result)
{
	LIBC_THREADS;
	int result = REAL(thrd_join)(handle, ret_result);

	if (result == thrd_success)
		thread_joined((uintptr_t)handle);
	return result;
}

EXPORT int thrd_detach(thrd_t handle)
{
	LIBC_THREADS;
	int result = REAL(thrd_detach)(handle);

	if (result == thrd_success)
		thread_detached((uintptr_t)handle);
	return result;
}

EXPORT void thrd_exit(int result)
{
	thread_finish(0);
	REAL(thrd_exit)(result);
	__builtin_unreachable();
}
