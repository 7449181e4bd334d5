/*
 * Calls that may block, with the gate around them: a thread that waits in one counts as stopped for a collection, and no signal is sent to it. So the
 * program sees no EINTR that it would not see without us, and a thread that hangs in a dead file system spoils no collection.
 *
 * Each wrapper publishes its caller's registers, its own arguments and the stack pointer in a frame on its stack (gate_publish, then gate_enter), calls libc
 * and leaves the gate, also when the thread is cancelled or an exception passes: the frame has a cleanup. If a call was interrupted although no handler of
 * the program ran but our stop signal did (it had been delayed by a raw signal mask), it is made again with what is left of its time-out.
 *
 * Where there is no record of the thread yet, or it is inside another gated call, the call goes straight through (core/gc/gate.c decides).
 * errno is libc's alone: it is put back when a call is repeated.
 */
#include "core/os/clock.h"
#include "preload/gated.h"
#include "preload/mappings.h"
#include "preload/real.h"
#include "preload/signals.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/time.h>

#define US_PER_S 1000000

/* Was it only our stop signal that interrupted the call? Then it is to be made again. */
static COLD bool interrupted_by_us(struct blocked *blocked)
{
	struct thread *thread = blocked->frame.thread;

	if (!thread || thread->stops == blocked->frame.stops ||
		thread->handlers != blocked->frame.handlers)
		return false;
	blocked->frame.stops = thread->stops;
	errno = blocked->error;
	return true;
}

/* ---- time-outs ---- */

static uint64_t ms_deadline(int timeout)
{
	return timeout > 0 ? clock_now_ns() + (uint64_t)timeout * NS_PER_MS : 0;
}

static uint64_t ns_left(uint64_t deadline)
{
	uint64_t now = clock_now_ns();

	return deadline > now ? deadline - now : 0;
}

static bool ms_left(int *timeout, uint64_t deadline)
{
	if (deadline)
		*timeout = (int)((ns_left(deadline) + NS_PER_MS - 1) / NS_PER_MS);
	return true;
}

/* Nothing to keep without a time-out, with none at all, or with one beyond a human life. */
static bool span_is_finite(time_t seconds, long fraction)
{
	return seconds >= 0 && seconds < INT_MAX && fraction >= 0 && (seconds | fraction) != 0;
}

static bool has_deadline(const struct timespec *timeout)
{
	return timeout && span_is_finite(timeout->tv_sec, timeout->tv_nsec);
}

static uint64_t deadline_from(uint64_t start, const struct timespec *timeout)
{
	return start + (uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec;
}

/* Where libc itself reads the time-out. */
static uint64_t span_deadline(const struct timespec *timeout)
{
	return has_deadline(timeout) ? deadline_from(clock_now_ns(), timeout) : 0;
}

static uint64_t now_unless_endless(const struct timespec *timeout)
{
	return timeout ? clock_now_ns() : 0;
}

static bool span_left(const struct timespec **timeout, struct timespec *left, uint64_t deadline)
{
	if (deadline) {
		uint64_t ns = ns_left(deadline);

		*left = (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
		*timeout = left;
	}
	return true;
}

/* Of a time-out that only the kernel reads: a bad pointer is its to refuse. What it has waited by is readable. */
static bool span_left_since(const struct timespec **timeout, struct timespec *left,
	const struct timespec *whole, uint64_t start)
{
	return span_left(timeout, left, has_deadline(whole) ? deadline_from(start, whole) : 0);
}

static uint64_t value_deadline(const struct timeval *timeout)
{
	if (!timeout || !span_is_finite(timeout->tv_sec, timeout->tv_usec))
		return 0;
	return clock_now_ns() + (uint64_t)timeout->tv_sec * NS_PER_S +
	       (uint64_t)timeout->tv_usec * NS_PER_US;
}

/* select() changes the caller's time-out to what is left, so may we. */
static bool value_left(struct timeval *timeout, uint64_t deadline)
{
	if (deadline) {
		uint64_t us = (ns_left(deadline) + NS_PER_US - 1) / NS_PER_US;

		*timeout = (struct timeval){(time_t)(us / US_PER_S), (suseconds_t)(us % US_PER_S)};
	}
	return true;
}

/* How long a call on this socket may wait, 0: for ever, or no socket. */
static uint64_t socket_timeout_ns(int fd, int option)
{
	struct timeval timeout = {0, 0};
	socklen_t length = sizeof(timeout);

	if (getsockopt(fd, SOL_SOCKET, option, &timeout, &length) != 0)
		return 0;
	return (uint64_t)timeout.tv_sec * NS_PER_S + (uint64_t)timeout.tv_usec * NS_PER_US;
}

/*
 * A call on a socket with a time-out of its own would wait for all of it again. What is left is waited for here, counted from the first interruption (no
 * clock is read before every call). False: it is over, errno is EAGAIN; or a handler of the program interrupted.
 */
static COLD bool socket_left(struct blocked *blocked, int fd, int option)
{
	struct pollfd ready = {.fd = fd, .events = option == SO_RCVTIMEO ? POLLIN : POLLOUT};
	int result;

	if (blocked->deadline == 0) {
		uint64_t timeout = socket_timeout_ns(fd, option);

		errno = blocked->error;
		if (timeout == 0)
			return true;
		blocked->deadline = clock_now_ns() + timeout;
	}
	do {
		uint64_t left = ns_left(blocked->deadline);
		struct timespec span = {(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};

		result = REAL(ppoll)(&ready, 1, &span, 0);
	} while (result < 0 && errno == EINTR && interrupted_by_us(blocked));
	if (result == 0)
		errno = EAGAIN;
	return result > 0;
}

/* ---- the wrappers ---- */

#define ERRNO(result) ((long)(result) == -1 && errno == EINTR)
#define CODE(result) ((result) == EINTR)
#define ADDRESS(result) ((result) == EAI_INTR)
#define NEVER(result) ((void)(result), false)

#define TIMEOUT_MS(timeout) uint64_t deadline_ = ms_deadline(timeout);
#define MS_LEFT(timeout) &&ms_left(&timeout, deadline_)
#define TIMEOUT_SPAN(timeout) \
	struct timespec left_; \
	uint64_t deadline_ = span_deadline(timeout); \
	const struct timespec *kept_ = timeout;
#define SPAN_LEFT(timeout) &&span_left(&kept_, &left_, deadline_) && ((timeout = kept_), true)
#define TIMEOUT_KERNEL(timeout) \
	struct timespec left_; \
	uint64_t start_ = now_unless_endless(timeout); \
	const struct timespec *kept_ = timeout, *whole_ = timeout;
#define KERNEL_LEFT(timeout) \
	&&span_left_since(&kept_, &left_, whole_, start_) && ((timeout = kept_), true)
#define TIMEOUT_VALUE(timeout) uint64_t deadline_ = value_deadline(timeout);
#define VALUE_LEFT(timeout) &&value_left(timeout, deadline_)
#define SOCKET_READ(fd) &&socket_left(&blocked, fd, SO_RCVTIMEO)
#define SOCKET_WRITE(fd) &&socket_left(&blocked, fd, SO_SNDTIMEO)
#define MASK(mask) \
	sigset_t stripped_; \
	mask = signals_strip(mask, &stripped_);
#define WAITS sigset_t stripped_;
#define WAITED(set) signals_strip_waited(&blocked.frame, set, &stripped_)

#define CALL(type, name, parameters, arguments, words, failed, prepare, again) \
	EXPORT type name parameters \
	{ \
		type result; \
		prepare BLOCKED(words); \
		do \
			result = REAL(name) arguments; \
		while (UNLIKELY(failed(result)) && interrupted_by_us(&blocked) again); \
		return result; \
	}
#include "preload/blocking.def"
#undef CALL

/* Names libc gives the same functions. */
SAME(read, __read)
SAME(write, __write)
SAME(pread, pread64)
SAME(pread, __pread64)
SAME(__pread_chk, __pread64_chk)
SAME(pwrite, pwrite64)
SAME(pwrite, __pwrite64)
SAME(preadv, preadv64)
SAME(pwritev, pwritev64)
SAME(preadv2, preadv64v2)
SAME(pwritev2, pwritev64v2)
SAME(creat, creat64)
SAME(__open_2, __open64_2)
SAME(__openat_2, __openat64_2)
SAME(lockf, lockf64)
SAME(fallocate, fallocate64)
SAME(posix_fallocate, posix_fallocate64)
SAME(send, __send)
SAME(poll, __poll)
SAME(select, __select)
SAME(wait, __wait)
SAME(waitpid, __waitpid)
SAME(sigsuspend, __sigsuspend)
SAME(aio_suspend, aio_suspend64)

/*
 * An interrupted connect() on a TCP socket goes on in the background and may be waited for by poll; made again it waits for the same end. On a Unix socket
 * it was undone, poll says "writable" at once, and it waits for all of SO_SNDTIMEO again: so it is not made again after that time.
 */
static COLD bool connect_left(struct blocked *blocked, int fd)
{
	if (!socket_left(blocked, fd, SO_SNDTIMEO)) {
		if (errno == EAGAIN)
			errno = EINPROGRESS;
		return false;
	}
	if (blocked->deadline && ns_left(blocked->deadline) == 0) {
		errno = EAGAIN;
		return false;
	}
	return true;
}

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	int result;
	BLOCKED(WORDS(fd, address, length));

	do
		result = REAL(connect)(fd, address, length);
	while (UNLIKELY(ERRNO(result)) && interrupted_by_us(&blocked) &&
		connect_left(&blocked, fd));
	return result;
}
SAME(connect, __connect)

/* A socket may linger. A descriptor is closed whatever the result is, so the call is never made again. */
EXPORT int close(int fd)
{
	GATED(WORDS(fd));

	return REAL(close)(fd);
}
SAME(close, __close)

/* ---- sigpause: BSD's takes a mask, X/Open's a signal; <signal.h> gives the name to either ---- */

EXPORT int __xpg_sigpause(int number);
EXPORT int __sigpause(int number_or_mask, int is_number);
EXPORT int bsd_sigpause(int mask) __asm__("sigpause");

EXPORT int __xpg_sigpause(int number)
{
	sigset_t mask;

	if (pthread_sigmask(SIG_BLOCK, 0, &mask) != 0 || sigdelset(&mask, number) != 0)
		return -1;
	return sigsuspend(&mask);
}

EXPORT int __sigpause(int number_or_mask, int is_number)
{
	sigset_t mask;

	if (is_number)
		return __xpg_sigpause(number_or_mask);
	sigemptyset(&mask);
	for (int number = 1; number <= 32; number++) {
		if ((unsigned)number_or_mask >> (number - 1) & 1)
			sigaddset(&mask, number);
	}
	return sigsuspend(&mask);
}

EXPORT int bsd_sigpause(int mask)
{
	return __sigpause(mask, 0);
}

/* libc's makes an interrupted wait again by itself, for the set it began with; ours may be another one by then. */
EXPORT int sigwait(const sigset_t *restrict set, int *restrict ret_number)
{
	siginfo_t info;
	int number;

	do
		number = sigwaitinfo(set, &info);
	while (number < 0 && errno == EINTR);
	if (number < 0)
		return errno;
	*ret_number = number;
	return 0;
}

/* ---- with a variable number of arguments ---- */

/* Whether the caller passed a mode or not, its register may be read. */
#define OPEN_MODE(mode, last) \
	va_list list; \
	mode_t mode; \
	va_start(list, last); \
	mode = va_arg(list, mode_t); \
	va_end(list)

EXPORT int open(const char *path, int flags, ...)
{
	int result;
	OPEN_MODE(mode, flags);
	BLOCKED(WORDS(path));

	do
		result = REAL(open)(path, flags, mode);
	while (UNLIKELY(ERRNO(result)) && interrupted_by_us(&blocked));
	return result;
}
SAME(open, open64)
SAME(open, __open)
SAME(open, __open64)

EXPORT int openat(int folder, const char *path, int flags, ...)
{
	int result;
	OPEN_MODE(mode, flags);
	BLOCKED(WORDS(folder, path));

	do
		result = REAL(openat)(folder, path, flags, mode);
	while (UNLIKELY(ERRNO(result)) && interrupted_by_us(&blocked));
	return result;
}
SAME(openat, openat64)

static int fcntl_waiting(int fd, int command, void *argument)
{
	int result;
	BLOCKED(WORDS(fd, command, argument));

	do
		result = REAL(fcntl)(fd, command, argument);
	while (UNLIKELY(ERRNO(result)) && interrupted_by_us(&blocked));
	return result;
}

EXPORT int fcntl(int fd, int command, ...)
{
	va_list list;
	void *argument;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	if (command == F_SETLKW || command == F_OFD_SETLKW)
		return fcntl_waiting(fd, command, argument);
	return REAL(fcntl)(fd, command, argument);
}
SAME(fcntl, fcntl64)
SAME(fcntl, __fcntl)

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *argument;
	int result;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	mappings_before_ioctl(request);
	GATED(WORDS(fd, request, argument));
	do
		result = REAL(ioctl)(fd, request, argument);
	while (UNLIKELY(ERRNO(result)) && interrupted_by_us(&blocked));
	return result;
}

/* ---- sleeping ---- */

/*
 * libc's remainder does not know how long the thread was stopped, so a sleep that is made again ends by the clock. What the program's handler interrupts is
 * answered with libc's remainder.
 */
EXPORT int nanosleep(const struct timespec *span, struct timespec *ret_left)
{
	struct timespec left = {0, 0};
	uint64_t start = now_unless_endless(span);
	const struct timespec *whole = span;
	struct timespec again;
	int result;
	BLOCKED(WORDS(span, ret_left));

	do
		result = REAL(nanosleep)(span, &left);
	while (UNLIKELY(ERRNO(result)) && interrupted_by_us(&blocked) &&
		span_left_since(&span, &again, whole, start));
	if (ERRNO(result) && ret_left)
		*ret_left = left;
	return result;
}
SAME(nanosleep, __nanosleep)

EXPORT int clock_nanosleep(
	clockid_t clock, int flags, const struct timespec *span, struct timespec *ret_left)
{
	bool is_relative = (flags & TIMER_ABSTIME) == 0;
	const struct timespec *whole = is_relative ? span : 0;
	uint64_t start = now_unless_endless(whole);
	struct timespec left = {0, 0};
	struct timespec again;
	int result;
	BLOCKED(WORDS(clock, flags, span, ret_left));

	do
		result = REAL(clock_nanosleep)(clock, flags, span, &left);
	while (UNLIKELY(result == EINTR) && interrupted_by_us(&blocked) &&
		span_left_since(&span, &again, whole, start));
	if (result == EINTR && ret_left && is_relative)
		*ret_left = left;
	return result;
}

EXPORT int usleep(useconds_t us)
{
	struct timespec span = {us / US_PER_S, (long)(us % US_PER_S) * NS_PER_US};

	return nanosleep(&span, 0);
}

EXPORT unsigned sleep(unsigned seconds)
{
	struct timespec span = {seconds, 0};

	return nanosleep(&span, &span) == 0 ? 0 : (unsigned)span.tv_sec;
}

EXPORT int thrd_sleep(const struct timespec *span, struct timespec *ret_left)
{
	int result = clock_nanosleep(CLOCK_REALTIME, 0, span, ret_left);

	return result == 0 ? 0 : result == EINTR ? -1 : -2;
}
