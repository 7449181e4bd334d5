/*
 * The census of EINTR: a thread in each call that signal(7) says is never restarted (and in many others) through a thousand collections. No call may be
 * interrupted, and no time-out may come early or more than 5 % late on average.
 *
 * Twice: with threads held at their gates, and with a handler installed behind the library's back, which makes it signal every thread; then the wrappers
 * repeat the calls.
 */
#include "tests/harness/test.h"
#include "tests/preload/raw_action.h"

#include "preload/gasket.h"
#include "tests/preload/sleeps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SPAN_MS = 200, STOPS = 1000, CALLS_MAX = 64 };

/* One kind of call: run() makes it once and returns its errno (0: success). */
struct call {
	const char *name;
	int (*run)(void);
	int expected;    /* errno of a call that timed out */
	bool is_endless; /* returns only at the end, woken by release() */
	pthread_t thread;
	unsigned long made, interrupted, wrong;
	double lateness; /* sum, ms */
	double earliest;
};

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

static volatile int is_over;

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

static struct timespec deadline(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	at.tv_nsec += SPAN_MS * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000L;
	}
	return at;
}

static const struct timespec span = {0, SPAN_MS * 1000000L};

static int result_of(long result)
{
	return result < 0 ? errno : 0;
}

/* ---- with a time-out ---- */

static int empty_epoll(void)
{
	static _Thread_local int epoll = -1;

	if (epoll < 0)
		epoll = epoll_create1(0);
	return epoll;
}

static int run_epoll_wait(void)
{
	struct epoll_event event;

	return result_of(epoll_wait(empty_epoll(), &event, 1, SPAN_MS));
}

static int run_epoll_pwait(void)
{
	struct epoll_event event;
	sigset_t mask;

	sigfillset(&mask);
	return result_of(epoll_pwait(empty_epoll(), &event, 1, SPAN_MS, &mask));
}

static int run_epoll_pwait2(void)
{
	struct epoll_event event;

	return result_of(epoll_pwait2(empty_epoll(), &event, 1, &span, NULL));
}

static int run_poll(void)
{
	return result_of(poll(NULL, 0, SPAN_MS));
}

static int run_ppoll(void)
{
	sigset_t mask;

	sigfillset(&mask);
	return result_of(ppoll(NULL, 0, &span, &mask));
}

static int run_select(void)
{
	struct timeval timeout = {0, SPAN_MS * 1000};

	return result_of(select(0, NULL, NULL, NULL, &timeout));
}

static int run_pselect(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	return result_of(pselect(0, NULL, NULL, NULL, &span, &mask));
}

static int run_nanosleep(void)
{
	return result_of(nanosleep(&span, NULL));
}

static int run_clock_nanosleep(void)
{
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL);
}

static int run_clock_nanosleep_until(void)
{
	struct timespec at = deadline(CLOCK_MONOTONIC);

	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int run_usleep(void)
{
	return result_of(usleep(SPAN_MS * 1000));
}

static int run_sigtimedwait(void)
{
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return result_of(sigtimedwait(&set, &info, &span));
}

static int run_sem_timedwait(void)
{
	struct timespec at = deadline(CLOCK_REALTIME);
	sem_t semaphore;

	sem_init(&semaphore, 0, 0);
	return result_of(sem_timedwait(&semaphore, &at));
}

static int run_sem_clockwait(void)
{
	struct timespec at = deadline(CLOCK_MONOTONIC);
	sem_t semaphore;

	sem_init(&semaphore, 0, 0);
	return result_of(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &at));
}

static int run_cond_timedwait(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	struct timespec at = deadline(CLOCK_REALTIME);
	int error;

	pthread_mutex_lock(&mutex);
	error = pthread_cond_timedwait(&condition, &mutex, &at);
	pthread_mutex_unlock(&mutex);
	return error;
}

static int run_cond_clockwait(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	struct timespec at = deadline(CLOCK_MONOTONIC);
	int error;

	pthread_mutex_lock(&mutex);
	error = pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, &at);
	pthread_mutex_unlock(&mutex);
	return error;
}

/* Of two semaphores at 0: a System V set stays until somebody removes it. */
static int semaphore_set = -1;

static int run_semtimedop(void)
{
	struct sembuf take = {0, -1, 0};

	return result_of(semtimedop(semaphore_set, &take, 1, &span));
}

static int run_mq_timedreceive(void)
{
	static mqd_t queue = -1;
	struct timespec at = deadline(CLOCK_REALTIME);
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
	char message[8];

	if (queue == -1) {
		char name[64];

		snprintf(name, sizeof(name), "/gasket-%d", getpid());
		queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
		mq_unlink(name);
		if (queue == -1)
			return usleep(SPAN_MS * 1000), ETIMEDOUT; /* no message queues here */
	}
	return result_of(mq_timedreceive(queue, message, sizeof(message), NULL, &at));
}

static int timed_socket(void)
{
	static _Thread_local int pair[2] = {-1, -1};
	struct timeval timeout = {0, SPAN_MS * 1000};

	if (pair[0] < 0) {
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		CHECK_EQ(
			setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
	}
	return pair[0];
}

static int run_recv(void)
{
	char byte;

	return result_of(recv(timed_socket(), &byte, 1, 0));
}

static int run_recvfrom(void)
{
	char byte;

	return result_of(recvfrom(timed_socket(), &byte, 1, 0, NULL, NULL));
}

static int run_recvmsg(void)
{
	char byte;
	struct iovec vector = {&byte, 1};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

	return result_of(recvmsg(timed_socket(), &message, 0));
}

static int run_recvmmsg(void)
{
	char byte;
	struct iovec vector = {&byte, 1};
	struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};

	return result_of(recvmmsg(timed_socket(), &message, 1, 0, NULL));
}

static int run_read_socket(void)
{
	char byte;

	return result_of(read(timed_socket(), &byte, 1));
}

static int full_timed_socket(void)
{
	static _Thread_local int pair[2] = {-1, -1};
	struct timeval timeout = {0, SPAN_MS * 1000};
	char filler[4096] = "";

	if (pair[0] < 0) {
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		while (send(pair[0], filler, sizeof(filler), MSG_DONTWAIT) > 0)
			;
		CHECK_EQ(
			setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)), 0);
	}
	return pair[0];
}

static int run_send_timed(void)
{
	return result_of(send(full_timed_socket(), "x", 1, 0));
}

static int run_sendto_timed(void)
{
	return result_of(sendto(full_timed_socket(), "x", 1, 0, NULL, 0));
}

static int run_sendmsg_timed(void)
{
	char byte = 'x';
	struct iovec vector = {&byte, 1};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

	return result_of(sendmsg(full_timed_socket(), &message, 0));
}

static int run_write_timed(void)
{
	return result_of(write(full_timed_socket(), "x", 1));
}

/* To a listener that takes nobody. */
static int run_connect(void)
{
	static struct sockaddr_un address = {.sun_family = AF_UNIX};
	static socklen_t length;
	struct timeval timeout = {0, SPAN_MS * 1000};
	int fd, error;

	if (length == 0) {
		int listener = socket(AF_UNIX, SOCK_STREAM, 0);

		CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)),
			0); /* a name of the kernel's choice */
		length = sizeof(address);
		CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &length), 0);
		CHECK_EQ(listen(listener, 0), 0);
		do
			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		while (connect(fd, (struct sockaddr *)&address, length) == 0);
		close(fd);
	}
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)), 0);
	error = result_of(connect(fd, (struct sockaddr *)&address, length));
	close(fd);
	return error;
}

static int run_accept(void)
{
	static int listener = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {0, SPAN_MS * 1000};

	if (listener < 0) {
		listener = socket(AF_UNIX, SOCK_STREAM, 0);
		CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)),
			0); /* a name of the kernel's choice */
		CHECK_EQ(listen(listener, 1), 0);
		CHECK_EQ(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)),
			0);
	}
	return result_of(accept(listener, NULL, NULL));
}

static int run_futex(void)
{
	static int word;

	return result_of(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &span, NULL, 0));
}

static int run_raw_poll(void)
{
	return result_of(syscall(SYS_poll, NULL, 0, SPAN_MS));
}

static int run_raw_epoll(void)
{
	struct epoll_event event;

	return result_of(syscall(SYS_epoll_wait, empty_epoll(), &event, 1, SPAN_MS));
}

static int run_io_getevents(void)
{
	static unsigned long context;
	char events[32];

	if (context == 0 && syscall(SYS_io_setup, 1, &context) != 0)
		return usleep(SPAN_MS * 1000), 0;
	return result_of(syscall(SYS_io_getevents, context, 1, 1, events, &span));
}

static int run_io_pgetevents(void)
{
	enum { IO_PGETEVENTS = 333 };
	static unsigned long context;
	unsigned long mask = ~0ul;
	struct {
		unsigned long *mask;
		size_t bytes;
	} sized = {&mask, sizeof(mask)};
	char events[32];

	if (context == 0 && syscall(SYS_io_setup, 1, &context) != 0)
		return usleep(SPAN_MS * 1000), 0;
	return result_of(syscall(IO_PGETEVENTS, context, 1, 1, events, &span, &sized));
}

static int run_raw_nanosleep(void)
{
	struct timespec both = span; /* what is left is written over it */

	return result_of(syscall(SYS_nanosleep, &both, &both));
}

static int run_raw_ppoll(void)
{
	struct timespec timeout = span;
	unsigned long mask = ~0ul;

	return result_of(syscall(SYS_ppoll, NULL, 0, &timeout, &mask, sizeof(mask)));
}

static int run_raw_pselect(void)
{
	struct timespec timeout = span;
	unsigned long mask = ~0ul;
	struct {
		unsigned long *mask;
		size_t bytes;
	} sized = {&mask, sizeof(mask)};

	return result_of(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &timeout, &sized));
}

/* ---- without ---- */

static int pipe_ends[2], full_pair[2], full_pipe[2], queue_id, full_queue_id, locked_file,
	record_file;
static sem_t never;
static char fifo[64], lock_name[64];
static pid_t child, lock_holder;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_t joined;

static int run_read(void)
{
	char byte;

	return result_of(read(pipe_ends[0], &byte, 1));
}

static int run_send(void)
{
	static char large[1 << 20];

	return result_of(send(full_pair[0], large, sizeof(large), MSG_NOSIGNAL));
}

static int run_sem_wait(void)
{
	return result_of(sem_wait(&never));
}

static int run_cond_wait(void)
{
	pthread_mutex_lock(&mutex);
	while (!is_over)
		pthread_cond_wait(&condition, &mutex);
	pthread_mutex_unlock(&mutex);
	return 0;
}

static int run_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} message;

	return result_of(msgrcv(queue_id, &message, sizeof(message.text), 0, 0));
}

static int run_pause(void)
{
	return result_of(pause());
}

static int run_sigsuspend(void)
{
	sigset_t mask;

	sigfillset(&mask);
	sigdelset(&mask, SIGUSR2);
	return result_of(sigsuspend(&mask));
}

static int run_sigwait(void)
{
	sigset_t set;
	int number;

	sigfillset(&set);
	sigdelset(&set, SIGUSR2);
	do
		if (sigwait(&set, &number) != 0)
			return EINTR;
	while (number != SIGTERM);
	return 0;
}

static int run_sigwaitinfo(void)
{
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	return result_of(sigwaitinfo(&set, &info));
}

extern int __sigpause(int number_or_mask, int is_number);

static int run_sigpause(void)
{
	return result_of(__sigpause(SIGUSR2, 1));
}

static int run_wait4(void)
{
	int status;

	return result_of(wait4(lock_holder, &status, 0, NULL));
}

static int run_sleep(void)
{
	unsigned left = sleep(1000);

	return left > 0 ? EINTR : 0;
}

static int run_semop(void)
{
	struct sembuf take = {1, -1, 0};

	return result_of(semop(semaphore_set, &take, 1));
}

static int run_msgsnd(void)
{
	struct {
		long type;
		char text[8];
	} message = {1, ""};

	return result_of(msgsnd(full_queue_id, &message, sizeof(message.text), 0));
}

static int run_write(void)
{
	static char large[1 << 20];

	return result_of(write(full_pipe[1], large, sizeof(large)));
}

static int run_waitpid(void)
{
	int status;

	return result_of(waitpid(child, &status, 0));
}

static int run_waitid(void)
{
	siginfo_t info;

	return result_of(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
}

static int run_flock(void)
{
	int fd = open(lock_name, O_RDWR);

	return result_of(flock(fd, LOCK_EX));
}

static int run_fcntl(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

	return result_of(fcntl(record_file, F_SETLKW, &lock));
}

static int run_open_fifo(void)
{
	return result_of(open(fifo, O_RDONLY));
}

static int run_join(void)
{
	return pthread_join(joined, NULL);
}

static struct call calls[] = {
	{"epoll_wait", run_epoll_wait, .expected = 0},
	{"epoll_pwait", run_epoll_pwait, .expected = 0},
	{"epoll_pwait2", run_epoll_pwait2, .expected = 0},
	{"poll", run_poll, .expected = 0},
	{"ppoll", run_ppoll, .expected = 0},
	{"select", run_select, .expected = 0},
	{"pselect", run_pselect, .expected = 0},
	{"nanosleep", run_nanosleep, .expected = 0},
	{"clock_nanosleep", run_clock_nanosleep, .expected = 0},
	{"clock_nanosleep until", run_clock_nanosleep_until, .expected = 0},
	{"usleep", run_usleep, .expected = 0},
	{"sigtimedwait", run_sigtimedwait, .expected = EAGAIN},
	{"sem_timedwait", run_sem_timedwait, .expected = ETIMEDOUT},
	{"sem_clockwait", run_sem_clockwait, .expected = ETIMEDOUT},
	{"pthread_cond_timedwait", run_cond_timedwait, .expected = ETIMEDOUT},
	{"pthread_cond_clockwait", run_cond_clockwait, .expected = ETIMEDOUT},
	{"semtimedop", run_semtimedop, .expected = EAGAIN},
	{"mq_timedreceive", run_mq_timedreceive, .expected = ETIMEDOUT},
	{"recv", run_recv, .expected = EAGAIN},
	{"recvfrom", run_recvfrom, .expected = EAGAIN},
	{"recvmsg", run_recvmsg, .expected = EAGAIN},
	{"recvmmsg", run_recvmmsg, .expected = EAGAIN},
	{"read of a socket", run_read_socket, .expected = EAGAIN},
	{"accept", run_accept, .expected = EAGAIN},
	{"connect", run_connect, .expected = EAGAIN},
	{"send with a time-out", run_send_timed, .expected = EAGAIN},
	{"sendto", run_sendto_timed, .expected = EAGAIN},
	{"sendmsg", run_sendmsg_timed, .expected = EAGAIN},
	{"write to a socket", run_write_timed, .expected = EAGAIN},
	{"futex by syscall", run_futex, .expected = ETIMEDOUT},
	{"poll by syscall", run_raw_poll, .expected = 0},
	{"epoll_wait by syscall", run_raw_epoll, .expected = 0},
	{"io_getevents by syscall", run_io_getevents, .expected = 0},
	{"io_pgetevents by syscall", run_io_pgetevents, .expected = 0},
	{"nanosleep by syscall", run_raw_nanosleep, .expected = 0},
	{"ppoll by syscall", run_raw_ppoll, .expected = 0},
	{"pselect6 by syscall", run_raw_pselect, .expected = 0},
	{"read", run_read, .is_endless = true},
	{"send", run_send, .is_endless = true},
	{"sem_wait", run_sem_wait, .is_endless = true},
	{"pthread_cond_wait", run_cond_wait, .is_endless = true},
	{"msgrcv", run_msgrcv, .is_endless = true},
	{"pause", run_pause, .is_endless = true, .expected = EINTR},
	{"sigsuspend", run_sigsuspend, .is_endless = true, .expected = EINTR},
	{"sigpause", run_sigpause, .is_endless = true, .expected = EINTR},
	{"sleep", run_sleep, .is_endless = true, .expected = EINTR},
	{"sigwait", run_sigwait, .is_endless = true},
	{"sigwaitinfo", run_sigwaitinfo, .is_endless = true},
	{"waitpid", run_waitpid, .is_endless = true},
	{"wait4", run_wait4, .is_endless = true},
	{"semop", run_semop, .is_endless = true},
	{"msgsnd", run_msgsnd, .is_endless = true},
	{"write", run_write, .is_endless = true},
	{"waitid", run_waitid, .is_endless = true},
	{"flock", run_flock, .is_endless = true},
	{"fcntl", run_fcntl, .is_endless = true},
	{"open of a fifo", run_open_fifo, .is_endless = true},
	{"pthread_join", run_join, .is_endless = true},
};

enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static void *run_call(void *argument)
{
	struct call *call = argument;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	call->earliest = 1e9;
	do {
		double start = now_ms(), took;
		int error = call->run();

		took = now_ms() - start - SPAN_MS;
		if (is_over && !call->is_endless)
			break;
		call->made++;
		call->interrupted += error == EINTR && !is_over;
		call->wrong += error != call->expected && error != EINTR && !is_over;
		call->lateness += took;
		if (took < call->earliest)
			call->earliest = took;
	} while (!is_over);
	return NULL;
}

static void *wait_for_end(void *argument)
{
	while (!is_over)
		usleep(10000);
	return argument;
}

static void on_signal(int number)
{
	(void)number;
}

static pid_t fork_waiter(int fd)
{
	int gate[2];
	pid_t pid;
	char byte;

	CHECK_EQ(pipe(gate), 0);
	pid = fork();
	if (pid == 0) {
		if (fd >= 0) {
			struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

			fcntl(fd, F_SETLK, &lock);
			flock(fd, LOCK_EX);
		}
		if (write(gate[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	CHECK_EQ(read(gate[0], &byte, 1), 1);
	close(gate[0]);
	close(gate[1]);
	return pid;
}

static void prepare(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct {
		long type;
		char text[8];
	} message = {1, ""};
	char filler[4096] = "";

	sigaction(SIGUSR2, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(pipe(pipe_ends), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, full_pair), 0);
	while (send(full_pair[0], filler, sizeof(filler), MSG_DONTWAIT) > 0)
		;
	sem_init(&never, 0, 0);
	queue_id = msgget(IPC_PRIVATE, 0600);
	full_queue_id = msgget(IPC_PRIVATE, 0600);
	while (msgsnd(full_queue_id, &message, sizeof(message.text), IPC_NOWAIT) == 0)
		;
	semaphore_set = semget(IPC_PRIVATE, 2, 0600);
	CHECK_EQ(pipe(full_pipe), 0);
	fcntl(full_pipe[1], F_SETFL, O_NONBLOCK);
	while (write(full_pipe[1], filler, sizeof(filler)) > 0)
		;
	fcntl(full_pipe[1], F_SETFL, 0);
	snprintf(fifo, sizeof(fifo), "/tmp/gasket-fifo-%d", getpid());
	snprintf(lock_name, sizeof(lock_name), "/tmp/gasket-lock-%d", getpid());
	CHECK_EQ(mkfifo(fifo, 0600), 0);
	record_file = open(lock_name, O_RDWR | O_CREAT, 0600);
	locked_file = open(lock_name, O_RDWR);
	lock_holder = fork_waiter(locked_file);
	close(locked_file); // or this process would hold the lock too
	child = fork_waiter(-1);
	CHECK_EQ(pthread_create(&joined, NULL, wait_for_end, NULL), 0);
}

/* Ends every endless call. */
static void release(void)
{
	struct {
		long type;
		char text[8];
	} message = {1, ""};
	struct sembuf give = {1, 1, 0};

	is_over = 1;
	CHECK_EQ(write(pipe_ends[1], "x", 1), 1);
	sem_post(&never);
	pthread_mutex_lock(&mutex);
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	msgsnd(queue_id, &message, sizeof(message.text), 0);
	msgctl(full_queue_id, IPC_RMID, NULL);
	semop(semaphore_set, &give, 1);
	close(full_pipe[0]);
	kill(child, SIGKILL);
	kill(lock_holder, SIGKILL);
	close(open(fifo, O_WRONLY));
	for (size_t i = 0; i < CALLS; i++) {
		if (calls[i].is_endless && calls[i].expected == EINTR)
			pthread_kill(calls[i].thread, SIGUSR2);
		if (calls[i].run == run_sigwait || calls[i].run == run_sigwaitinfo)
			pthread_kill(calls[i].thread, SIGTERM);
	}
	shutdown(full_pair[0], SHUT_RDWR);
}

static unsigned long collect(int stops)
{
	unsigned long verdicts = 0;

	for (int i = 0; i < stops; i++)
		verdicts += gasket_collect() == 1;
	return verdicts;
}

/* `late_share` of the time-out is the most a call may be late. */
static void census(unsigned long verdicts_least, double late_share)
{
	unsigned long verdicts, made = 0;

	prepare();
	for (size_t i = 0; i < CALLS; i++)
		CHECK_EQ(pthread_create(&calls[i].thread, NULL, run_call, &calls[i]), 0);
	usleep(100000);
	verdicts = collect(STOPS);
	release();
	for (size_t i = 0; i < CALLS; i++)
		pthread_join(calls[i].thread, NULL);
	unlink(fifo);
	unlink(lock_name);
	msgctl(queue_id, IPC_RMID, NULL);
	semctl(semaphore_set, 0, IPC_RMID);
	for (size_t i = 0; i < CALLS; i++) {
		struct call *call = &calls[i];
		double late = call->made ? call->lateness / (double)call->made : 0;

		made += call->made;
		CHECK_MSG(call->interrupted == 0, "%s: %lu of %lu were interrupted", call->name,
			call->interrupted, call->made);
		CHECK_MSG(call->wrong == 0, "%s: %lu of %lu ended wrongly", call->name, call->wrong,
			call->made);
		if (call->is_endless)
			continue;
		CHECK_MSG(call->made > 0, "%s: never ended", call->name);
		/* two clocks, and ticks of 4 ms for some time-outs */
		CHECK_MSG(call->earliest > -5, "%s: %.2f ms early", call->name, -call->earliest);
		CHECK_MSG(late < SPAN_MS * late_share, "%s: %.2f ms late on average", call->name,
			late);
	}
	CHECK_MSG(verdicts >= verdicts_least, "%lu of %d stops gave a verdict", verdicts, STOPS);
	/* how many fit into the stops depends on how fast the stops are */
	CHECK_GT(made, 2ul * CALLS);
}

TEST(gated_calls_are_not_interrupted, .limit_seconds = 90)
{
	census(STOPS * 9 / 10, 0.05);
}

static void *collect_until_the_end(void *argument)
{
	while (!is_over)
		gasket_collect();
	return argument;
}

/* Here a socket's time-out counts from the first interruption, and 40 threads wake up for every stop. */
TEST(signalled_calls_are_repeated, .limit_seconds = 90)
{
	struct raw_action action = {.handler = on_signal};

	CHECK_EQ(syscall(SYS_rt_sigaction, SIGURG, &action, NULL, 8), 0);
	census(STOPS / 2, 1);
}

/*
 * A handler set behind the library's back, which it does not see run: its interruption must be told apart from ours, also when its signal comes while the
 * thread stands still. One that comes just as the wrapper makes the call again is lost to it; then the next one ends the call.
 */
TEST(a_raw_handler_interrupts_as_ever)
{
	struct raw_action action = {
		.handler = on_signal, .flags = SA_RESTORER, .restorer = raw_return};
	pthread_t thread;
	int at_once = 0;
	sigset_t set;

	CHECK_EQ(syscall(SYS_rt_sigaction, SIGALRM, &action, NULL, 8), 0);
	CHECK_EQ(pipe(pipe_ends), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	CHECK_EQ(pthread_create(&thread, NULL, collect_until_the_end, NULL), 0);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	for (int i = 0; i < 40; i++) {
		struct itimerval twice = {{0, 400000}, {0, 20000}};
		struct timespec second = {1, 0};
		double start = now_ms();

		setitimer(ITIMER_REAL, &twice, NULL);
		CHECK_EQ(i % 2 ? run_read() : result_of(nanosleep(&second, NULL)), EINTR);
		at_once += now_ms() - start < 300;
	}
	CHECK_GE(at_once, 30);
}

/* ---- calls that do part of their work and then look for signals ---- */

static void begin_to_collect(void)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, collect_until_the_end, NULL), 0);
	usleep(20000);
}

TEST(random_bytes_are_not_cut_short)
{
	enum { BYTES = 8 << 20 };
	static char bytes[BYTES];

	begin_to_collect();
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(getrandom(bytes, BYTES, 0), BYTES);
		CHECK_EQ(syscall(SYS_getrandom, bytes, BYTES, 0), BYTES);
	}
}

/* A connection over which nobody reads. */
static int lingering_socket(int seconds)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger linger = {1, seconds};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0),
	    room = 1024;
	static char filler[1 << 20];

	CHECK_EQ(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	CHECK_EQ(bind(listener, (struct sockaddr *)&address, length), 0);
	CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	CHECK_EQ(listen(listener, 1), 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&address, length), 0);
	CHECK_GE(accept(listener, NULL, NULL), 0);
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(fd, filler, sizeof(filler), MSG_DONTWAIT) > 0)
		;
	return fd;
}

TEST(a_socket_lingers_as_long_as_it_should)
{
	int fd = lingering_socket(1);
	double start;

	begin_to_collect();
	start = now_ms();
	CHECK_EQ(close(fd), 0);
	CHECK_GE(now_ms() - start, 950);
}

static volatile pid_t waiting;

/* Waits for system calls of the child that are to be answered here: it makes none. */
static void *wait_by_ioctl(void *listener)
{
	struct seccomp_notif request = {.id = 0};

	waiting = (pid_t)syscall(SYS_gettid);
	ioctl(*(int *)listener, SECCOMP_IOCTL_NOTIF_RECV, &request);
	return listener;
}

/* In a child: a filter that has somebody else answer getppid(). Sends the descriptor at which the questions arrive. */
static void install_filter(int report)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec vector = {"x", 1};
	struct msghdr message = {.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	int listener;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	listener = (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
	if (listener < 0)
		_exit(TEST_SKIPPED);
	memcpy(CMSG_DATA(&control.header), &listener, sizeof(listener));
	sendmsg(report, &message, 0);
	pause();
	_exit(0);
}

/* -1: the kernel is too old, or forbids it. */
static int make_listener(void)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof(control)};
	char byte;
	struct iovec vector = {&byte, 1};
	int pair[2], listener = -1;

	message.msg_iov = &vector;
	message.msg_iovlen = 1;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if (fork() == 0)
		install_filter(pair[1]);
	close(pair[1]);
	if (recvmsg(pair[0], &message, 0) == 1 && message.msg_controllen > 0)
		memcpy(&listener, CMSG_DATA(&control.header), sizeof(listener));
	return listener;
}

TEST(a_thread_that_waits_in_ioctl_is_left_alone)
{
	int listener = make_listener();
	pthread_t thread;
	long before;

	if (listener < 0)
		test_skip("no notifications by seccomp");
	CHECK_EQ(pthread_create(&thread, NULL, wait_by_ioctl, &listener), 0);
	while (!waiting)
		usleep(1000);
	usleep(50000);
	before = count_sleeps(waiting);
	CHECK_GT(collect(50), 40ul);
	CHECK_LE(count_sleeps(waiting), before + 5);
}

/* ---- pointers that are no pointers ---- */

#define REFUSED(call) \
	do { \
		errno = 0; \
		CHECK_EQ((long)(call), -1); \
		CHECK_EQ(errno, EFAULT); \
	} while (0)

/* Those that libc hands to the kernel unread. */
TEST(bad_pointers_are_the_kernels_to_refuse)
{
	void *bad = (void *)8;
	struct epoll_event event;
	uint32_t word = 0;
	void *bad_mask[2] = {bad, (void *)8};

	REFUSED(nanosleep(bad, NULL));
	CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, bad, NULL), EFAULT);
	REFUSED(sigsuspend(bad));
	REFUSED(sigtimedwait(bad, NULL, NULL));
	REFUSED(sigwaitinfo(bad, NULL));
	REFUSED(signalfd(-1, bad, 0));
	REFUSED(sigaltstack(bad, NULL));
	REFUSED(ppoll(NULL, 0, NULL, bad));
	REFUSED(epoll_pwait(empty_epoll(), &event, 1, 0, bad));
	REFUSED(epoll_pwait2(empty_epoll(), &event, 1, bad, NULL));
	REFUSED(semtimedop(0, bad, 1, bad));
	REFUSED(setrlimit(RLIMIT_AS, bad));
	REFUSED(prlimit(0, RLIMIT_AS, bad, NULL));
	REFUSED(syscall(SYS_nanosleep, bad, NULL));
	REFUSED(syscall(SYS_ppoll, NULL, 0, bad, NULL, 8));
	REFUSED(syscall(SYS_ppoll, NULL, 0, NULL, bad, 8));
	REFUSED(syscall(SYS_rt_sigtimedwait, bad, NULL, NULL, 8));
	REFUSED(syscall(SYS_rt_sigsuspend, bad, 8));
	REFUSED(syscall(SYS_pselect6, 0, NULL, NULL, NULL, bad, NULL));
	REFUSED(syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, bad));
	REFUSED(syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, bad_mask));
	REFUSED(syscall(SYS_futex, &word, FUTEX_WAIT, 0, bad));
}
