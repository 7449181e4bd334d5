/*
 * Calls that leave a pointer with the kernel. Each does what libc's does and notes the value in the table of scanners/kernel_held.h.
 *
 * The call and the change of the table happen with signals blocked, so a pause comes before both or after both: at no pause does the kernel hold a
 * value that the table lacks. That is right for short calls only. mq_notify with SIGEV_THREAD starts a thread inside libc; so its value is entered
 * under a key of the calling thread before the call, and under its own after it.
 *
 * Not here, for the pointer is in the program's memory all the same: timers with SIGEV_THREAD and POSIX AIO (lists inside libc). sigaltstack: each
 * thread's record has it. io_uring and native AIO: their rings are mappings, which say that requests may be in flight.
 *
 * An entry outlives the close of its descriptor until the number is used again: that costs a block's memory, never a block.
 */
#include "core/base/attr.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"
#include "preload/start.h"
#include "scanners/kernel_held.h"

#include <errno.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

/* libc's own function of that name. The look-up may take the loader's lock, so the first use comes before held_begin(). */
#define NEXT(name) \
	({ \
		static void *next_##name; \
		(__typeof__(&name))start_find_next(&next_##name, #name); \
	})

EXPORT int epoll_ctl(int epoll, int operation, int watched, struct epoll_event *event)
{
	struct held_key key = {HELD_EPOLL, (uint32_t)watched, (uint32_t)epoll};
	struct signal_guard guard;
	long result;

	held_begin(&guard);
	result = SYSCALL(epoll_ctl, epoll, operation, watched, event);
	if (!syscall_failed(result)) {
		if (operation == EPOLL_CTL_DEL)
			held_drop(key);
		else
			held_set(key, event->data.u64);
	}
	held_end(&guard);
	if (!syscall_failed(result))
		return (int)result;
	errno = (int)-result;
	return -1;
}

EXPORT int timer_create(clockid_t clock, struct sigevent *restrict event, timer_t *restrict timer)
{
	__typeof__(&timer_create) next = NEXT(timer_create);
	struct signal_guard guard;
	int result;

	if (!event || event->sigev_notify == SIGEV_THREAD)
		return next(clock, event, timer);
	held_begin(&guard);
	result = next(clock, event, timer);
	if (result == 0)
		held_set((struct held_key){HELD_TIMER, 0, (uintptr_t)*timer},
			(uintptr_t)event->sigev_value.sival_ptr);
	held_end(&guard);
	return result;
}

EXPORT int timer_delete(timer_t timer)
{
	__typeof__(&timer_delete) next = NEXT(timer_delete);
	struct signal_guard guard;
	int result;

	held_begin(&guard);
	result = next(timer);
	if (result == 0)
		held_drop((struct held_key){HELD_TIMER, 0, (uintptr_t)timer});
	held_end(&guard);
	return result;
}

EXPORT int mq_notify(mqd_t queue, const struct sigevent *event)
{
	struct held_key key = {HELD_QUEUE, 0, (uint32_t)queue};
	struct held_key pending = {HELD_QUEUE, (uint32_t)SYSCALL(gettid), (uint32_t)queue};
	struct signal_guard guard;
	int result;

	if (event) {
		held_begin(&guard);
		held_set(pending, (uintptr_t)event->sigev_value.sival_ptr);
		held_end(&guard);
	}
	result = NEXT(mq_notify)(queue, event);
	held_begin(&guard);
	held_drop(pending);
	if (result == 0 && event)
		held_set(key, (uintptr_t)event->sigev_value.sival_ptr);
	else if (result == 0)
		held_drop(key);
	held_end(&guard);
	return result;
}
