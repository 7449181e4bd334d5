/*
 * syscall(): programs that wait through it (futexes above all, io_uring, epoll of run-time systems) pass the gate like those that call libc's wrappers.
 * jump.S sends only the numbers of this table here. As in libc, it is no cancellation point.
 */
#include "core/base/attr.h"
#include "core/gc/gate.h"
#include "core/os/clock.h"
#include "core/os/peek.h"
#include "core/os/syscall.h"
#include "preload/jump.h"
#include "preload/mappings.h"
#include "preload/signals.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

/* Newer than the oldest headers; the same on every machine. */
enum {
	SYSCALL_NEW_io_pgetevents = 333,
	SYSCALL_NEW_io_uring_enter = 426,
	SYSCALL_NEW_epoll_pwait2 = 441,
	SYSCALL_NEW_landlock_restrict_self = 446,
	SYSCALL_NEW_futex_waitv = 449,
	SYSCALL_NEW_futex_wait = 455,
};

const uint8_t syscall_way[512] = {
	[SYS_read] = SYSCALL_GATED,
	[SYS_write] = SYSCALL_GATED,
	[SYS_readv] = SYSCALL_GATED,
	[SYS_writev] = SYSCALL_GATED,
	[SYS_pread64] = SYSCALL_GATED,
	[SYS_pwrite64] = SYSCALL_GATED,
	[SYS_preadv] = SYSCALL_GATED,
	[SYS_pwritev] = SYSCALL_GATED,
	[SYS_poll] = SYSCALL_GATED,
	[SYS_ppoll] = SYSCALL_GATED,
	[SYS_select] = SYSCALL_GATED,
	[SYS_pselect6] = SYSCALL_GATED,
	[SYS_epoll_wait] = SYSCALL_GATED,
	[SYS_epoll_pwait] = SYSCALL_GATED,
	[SYSCALL_NEW_epoll_pwait2] = SYSCALL_GATED,
	[SYS_futex] = SYSCALL_GATED,
	[SYSCALL_NEW_futex_wait] = SYSCALL_GATED,
	[SYSCALL_NEW_futex_waitv] = SYSCALL_GATED,
	[SYS_nanosleep] = SYSCALL_GATED,
	[SYS_clock_nanosleep] = SYSCALL_GATED,
	[SYS_pause] = SYSCALL_GATED,
	[SYS_rt_sigtimedwait] = SYSCALL_GATED,
	[SYS_rt_sigsuspend] = SYSCALL_GATED,
	[SYS_wait4] = SYSCALL_GATED,
	[SYS_waitid] = SYSCALL_GATED,
	[SYS_recvfrom] = SYSCALL_GATED,
	[SYS_recvmsg] = SYSCALL_GATED,
	[SYS_recvmmsg] = SYSCALL_GATED,
	[SYS_sendto] = SYSCALL_GATED,
	[SYS_sendmsg] = SYSCALL_GATED,
	[SYS_sendmmsg] = SYSCALL_GATED,
	[SYS_accept] = SYSCALL_GATED,
	[SYS_accept4] = SYSCALL_GATED,
	[SYS_msgrcv] = SYSCALL_GATED,
	[SYS_msgsnd] = SYSCALL_GATED,
	[SYS_semop] = SYSCALL_GATED,
	[SYS_semtimedop] = SYSCALL_GATED,
	[SYS_mq_timedsend] = SYSCALL_GATED,
	[SYS_mq_timedreceive] = SYSCALL_GATED,
	[SYS_io_getevents] = SYSCALL_GATED,
	[SYSCALL_NEW_io_pgetevents] = SYSCALL_GATED,
	[SYSCALL_NEW_io_uring_enter] = SYSCALL_GATED,
	[SYS_openat] = SYSCALL_GATED,
	[SYS_open] = SYSCALL_GATED,
	[SYS_flock] = SYSCALL_GATED,
	[SYS_fsync] = SYSCALL_GATED,
	[SYS_fdatasync] = SYSCALL_GATED,
	[SYS_fallocate] = SYSCALL_GATED,
	[SYS_ioctl] = SYSCALL_GATED,
	[SYS_getrandom] = SYSCALL_GATED,
	[SYS_unshare] = SYSCALL_GUARDED,
	[SYS_setns] = SYSCALL_GUARDED,
	[SYS_capset] = SYSCALL_GUARDED,
	[SYS_rt_sigaction] = SYSCALL_GUARDED,
	[SYS_seccomp] = SYSCALL_GUARDED,
	[SYS_prctl] = SYSCALL_GUARDED,
	[SYS_execve] = SYSCALL_GUARDED,
	[SYS_execveat] = SYSCALL_GUARDED,
	[SYSCALL_NEW_landlock_restrict_self] = SYSCALL_GUARDED,
};

/* A mask and its size, where a call has no argument left for both. */
struct sized_mask {
	const unsigned long *mask;
	size_t bytes;
};

/*
 * A call under way: its arguments may be replaced before it is made again. Pointers are the kernel's to refuse: a time-out is read once the kernel has waited
 * by it, a mask if it can be read.
 */
struct gated {
	struct gate_frame frame;
	long arguments[6];
	uint64_t start;    // when it was made first, if it has a time-out to keep
	uint64_t deadline; // mostly known only once it was interrupted, 0: nothing to keep
	struct timespec left;
	unsigned long mask;
	struct sized_mask sized_mask;
};

enum { NO_ARGUMENT = -1 };

static int ms_argument(long number)
{
	switch (number) {
	case SYS_poll:
		return 2;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return 3;
	default:
		return NO_ARGUMENT;
	}
}

/* Relative spans. (The kernel shortens that of select by itself.) */
static int span_argument(long number, const long *arguments)
{
	switch (number) {
	case SYS_futex:
		return (arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT ? 3 : NO_ARGUMENT;
	case SYS_rt_sigtimedwait:
	case SYS_ppoll:
		return 2;
	case SYS_semtimedop:
	case SYSCALL_NEW_epoll_pwait2:
		return 3;
	case SYS_io_getevents:
	case SYSCALL_NEW_io_pgetevents:
	case SYS_pselect6:
		return 4;
	case SYS_nanosleep:
		return 0;
	case SYS_clock_nanosleep:
		return (arguments[1] & TIMER_ABSTIME) == 0 ? 2 : NO_ARGUMENT;
	default:
		return NO_ARGUMENT;
	}
}

/* What is left of the span the kernel writes over it. */
static bool span_is_overwritten(long number, const long *arguments)
{
	switch (number) {
	case SYS_ppoll:
	case SYS_pselect6:
		return true;
	case SYS_nanosleep:
		return arguments[0] == arguments[1];
	case SYS_clock_nanosleep:
		return arguments[2] == arguments[3];
	default:
		return false;
	}
}

static int mask_argument(long number)
{
	switch (number) {
	case SYS_rt_sigtimedwait:
	case SYS_rt_sigsuspend:
		return 0;
	case SYS_ppoll:
		return 3;
	case SYS_epoll_pwait:
	case SYSCALL_NEW_epoll_pwait2:
		return 4;
	default:
		return NO_ARGUMENT;
	}
}

static int sized_mask_argument(long number)
{
	switch (number) {
	case SYS_pselect6:
	case SYSCALL_NEW_io_pgetevents:
		return 5;
	default:
		return NO_ARGUMENT;
	}
}

static void set_deadline(struct gated *gated, int ms, int span)
{
	if (ms != NO_ARGUMENT)
		gated->deadline = gated->start + (uint64_t)(int)gated->arguments[ms] * NS_PER_MS;
	if (span != NO_ARGUMENT) {
		const struct timespec *timeout = (const struct timespec *)gated->arguments[span];

		if (timeout->tv_sec >= 0 && timeout->tv_sec < INT32_MAX && timeout->tv_nsec >= 0 &&
			(timeout->tv_sec | timeout->tv_nsec) != 0)
			gated->deadline = gated->start + (uint64_t)timeout->tv_sec * NS_PER_S +
					  (uint64_t)timeout->tv_nsec;
	}
}

static void note_start(struct gated *gated, long number)
{
	int ms = ms_argument(number), span = span_argument(number, gated->arguments);
	bool has_ms = ms != NO_ARGUMENT && (int)gated->arguments[ms] > 0;
	bool has_span = span != NO_ARGUMENT && gated->arguments[span] != 0;

	if (has_ms || has_span)
		gated->start = clock_now_ns();
	if (has_span && span_is_overwritten(number, gated->arguments)) {
		if (peek_is_readable((const void *)gated->arguments[span], sizeof(gated->left)))
			set_deadline(gated, NO_ARGUMENT, span);
		if (gated->deadline == 0)
			gated->start = 0;
	}
}

static void shorten(struct gated *gated, long number)
{
	int ms = ms_argument(number), span = span_argument(number, gated->arguments);
	uint64_t now = clock_now_ns(), left;

	if (gated->start != 0 && gated->deadline == 0)
		set_deadline(gated, ms, span);
	if (gated->deadline == 0)
		return;
	left = gated->deadline > now ? gated->deadline - now : 0;
	gated->left = (struct timespec){(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
	if (ms != NO_ARGUMENT)
		gated->arguments[ms] = (long)((left + NS_PER_MS - 1) / NS_PER_MS);
	if (span != NO_ARGUMENT)
		gated->arguments[span] = (long)&gated->left;
}

static void strip_sized_mask(struct gated *gated, int argument)
{
	const struct sized_mask *sized = (const struct sized_mask *)gated->arguments[argument];

	if (!sized || !peek_is_readable(sized, sizeof(*sized)) ||
		!signals_strip_word(sized->mask, &gated->mask))
		return;
	gated->sized_mask = (struct sized_mask){&gated->mask, sized->bytes};
	gated->arguments[argument] = (long)&gated->sized_mask;
}

static void strip_mask(struct gated *gated, long number)
{
	int mask = mask_argument(number), sized = sized_mask_argument(number);

	if (sized != NO_ARGUMENT)
		strip_sized_mask(gated, sized);
	if (mask != NO_ARGUMENT &&
		(number == SYS_rt_sigtimedwait
				? signals_strip_waited_word(&gated->frame,
					  (const unsigned long *)gated->arguments[mask],
					  &gated->mask)
				: signals_strip_word((const unsigned long *)gated->arguments[mask],
					  &gated->mask)))
		gated->arguments[mask] = (long)&gated->mask;
}

static bool interrupted_by_us(struct gated *gated)
{
	struct thread *thread = gated->frame.thread;

	if (!thread || thread->stops == gated->frame.stops ||
		thread->handlers != gated->frame.handlers)
		return false;
	gated->frame.stops = thread->stops;
	return true;
}

static void leave(struct gated *gated)
{
	gate_leave(&gated->frame);
}

long syscall_failed_with(int error)
{
	errno = error;
	return -1;
}

long syscall_gated(long number, long a, long b, long c, long d, long e, long f)
{
	struct gated gated __attribute__((cleanup(leave))) = {
		.frame.arguments = {(uintptr_t)a, (uintptr_t)b, (uintptr_t)c, (uintptr_t)d,
			(uintptr_t)e, (uintptr_t)f},
		.arguments = {a, b, c, d, e, f},
	};
	long *x = gated.arguments, result;

	if (number == SYS_ioctl)
		mappings_before_ioctl((unsigned long)b);
	note_start(&gated, number);
	gate_publish(&gated.frame);
	gate_enter(&gated.frame);
	strip_mask(&gated, number);
	for (;;) {
		result = syscall6(number, x[0], x[1], x[2], x[3], x[4], x[5]);
		if (LIKELY(result != -EINTR) || !interrupted_by_us(&gated))
			break;
		shorten(&gated, number);
	}
	return syscall_failed(result) ? syscall_failed_with((int)-result) : result;
}
