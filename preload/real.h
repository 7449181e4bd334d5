/*
 * libc's own function behind a wrapper of ours: REAL(poll)(fds, count, timeout). All are looked up at once, by the constructor or by the first wrapper that
 * is called before it: a look-up takes the loader's lock, which a signal handler or a child of fork must not meet for the first time.
 */
#pragma once

#include "core/base/attr.h"
#include "preload/libc_versions.h"

#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <threads.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* Exported by libc for fortified programs, or newer than the oldest headers; no header declares them without conditions. */
ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t room);
ssize_t __pread_chk(int fd, void *buffer, size_t bytes, off_t offset, size_t room);
ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t room, int flags,
	struct sockaddr *address, socklen_t *length);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, size_t room);
int __open_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
int execveat(
	int folder, const char *path, char *const *arguments, char *const *environment, int flags);
int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *timeout,
	const sigset_t *mask);
int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *deadline);
int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
	const struct timespec *deadline);
int pthread_clockjoin_np(
	pthread_t thread, void **result, clockid_t clock, const struct timespec *deadline);
int pthread_attr_setsigmask_np(pthread_attr_t *attributes, const sigset_t *mask);

/* The lock of libc's list of streams, recursive. */
void _IO_list_lock(void);
void _IO_list_unlock(void);
void _IO_list_resetlock(void);

int capset(void *header, const void *data);
int pkey_mprotect(void *address, size_t bytes, int protection, int key); // libc 2.27

struct real {
#define REAL_ENTRY(name) __typeof__(&name) name;
#define REAL_VERSION(name, version) __typeof__(&name) name;
#include "preload/real.def"
#undef REAL_ENTRY
#undef REAL_VERSION
};

/* Constant once resolved. */
extern struct real real HIDDEN;

/* Fills `real`. A function that this libc lacks becomes one that fails with ENOSYS. Idempotent. */
COLD void real_resolve(void);

#define REAL(name) (*(LIKELY(real.name != 0) ? real.name : (real_resolve(), real.name)))
