/*
 * The probe. The child is made by clone without an exit signal, so the program's wait does not see it; it makes itself undumpable first, so that no core and no
 * crash report comes of its end; and it uses nothing but system calls, for it is the copy of one thread of several.
 *
 * Probing twice at once would be harmless, so there is no lock: who comes while another thread probes is told "no".
 *
 * The filter may kill for the clone itself. So no child is made before the program has made a thread or a child of its own, which proves that it may: until
 * then, under a filter, nothing is allowed. Nor where there is no collector.
 */
#include "core/os/sandbox.h"

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/option.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { UNKNOWN, FILTERED, PROBING, KNOWN, ALLOWED_SHIFT };

enum { RETRY_PROBE_MS = 1000 }; // after no child could be made for want of memory or of tasks

/*
 * UNKNOWN -> PROBING -> KNOWN | what is allowed, a bit per enum sandbox_use from ALLOWED_SHIFT up; or FILTERED, from where it goes on to PROBING once a child may
 * be made. By compare-and-swap, or by sandbox_close().
 */
static uint32_t answer;

static uint32_t has_cloned;    // sandbox_note_clone()
static uint64_t next_probe_ns; // written by who probes

/* The value of "Seccomp:" in /proc's status: 0 none; -1: unreadable. */
static int filter_mode(void)
{
	static const char name[] = "\nSeccomp:\t";
	char text[4096];
	long file = SYSCALL(openat, AT_FDCWD, "/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	long bytes;

	if (syscall_failed(file))
		return -1;
	bytes = SYSCALL(read, file, text, sizeof(text) - 1);
	SYSCALL(close, file);
	for (long i = 0, matched = 0; i < bytes; i++) {
		matched = text[i] == name[matched] ? matched + 1 : text[i] == '\n';
		if (matched == (long)sizeof(name) - 1)
			return i + 1 < bytes ? text[i + 1] - '0' : -1;
	}
	return -1;
}

/* ---- the calls, as the child makes them ---- */

static void try_read(void)
{
	char from = 0, to;
	struct iovec local = {&to, 1}, remote = {&from, 1};
	long task = SYSCALL(gettid);

	SYSCALL(process_vm_readv, task, &local, 1, &remote, 1, 0);
}

static void try_ask(void)
{
	long process = SYSCALL(getpid);
	long handle = SYSCALL(pidfd_open, process, 0);
	char link[64];
	int value;
	unsigned length = sizeof(value);

	SYSCALL(pidfd_getfd, handle, 0, 0);
	SYSCALL(readlinkat, AT_FDCWD, "/proc/self/fd/0", link, sizeof(link));
	SYSCALL(getxattr, "/proc/self/fd/0", "system.sockprotoname", link, sizeof(link));
	SYSCALL(getsockopt, -1, 0, 0, &value, &length);
	handle = SYSCALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	SYSCALL(sendto, -1, link, 0, 0, 0, 0);
	SYSCALL(recvfrom, -1, link, 0, 0, 0, 0);
	SYSCALL(ioctl, -1, 0, 0);
}

static void try_collector(void)
{
	struct rlimit limit;
	struct stat status;
	char buffer[256];
	uint32_t word = 0;
	uint64_t mask = 0;
	long process = SYSCALL(getpid), thread = SYSCALL(gettid), file, memory;

	file = SYSCALL(openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	SYSCALL(getdents64, file, buffer, sizeof(buffer));
	SYSCALL(lseek, file, 0, 0);
	SYSCALL(pread64, file, buffer, 0, 0);
	SYSCALL(fstat, file, &status);
	SYSCALL(newfstatat, AT_FDCWD, "/proc", &status, 0);
	SYSCALL(fcntl, file, F_DUPFD_CLOEXEC, 3);
	SYSCALL(ioctl, file, 0, 0);
	SYSCALL(read, file, buffer, 0);
	SYSCALL(write, -1, buffer, 0);
	SYSCALL(mkdirat, -1, "", 0);
	SYSCALL(renameat2, -1, "", -1, "", 0);
	SYSCALL(unlinkat, -1, "", 0);
	SYSCALL(prlimit64, 0, RLIMIT_AS, 0, &limit);
	SYSCALL(rt_sigaction, SIGUSR1, 0, buffer, sizeof(mask));
	SYSCALL(rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof(mask));
	SYSCALL(tgkill, process, thread, 0);
	SYSCALL(futex, &word, 1, 1, 0, 0, 0); // wakes nobody
	SYSCALL(sched_yield);
	memory = SYSCALL(mmap, 0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SYSCALL(mprotect, memory, 4096, PROT_READ | PROT_WRITE);
	SYSCALL(madvise, memory, 4096, MADV_DONTNEED);
	SYSCALL(munmap, memory, 4096);
	if (syscall_failed(SYSCALL(close_range, 1000000, ~0u, 2 /* CLOSE_RANGE_UNSHARE */)))
		SYSCALL(unshare, CLONE_FILES);
	SYSCALL(close, file);
}

static void try_cached(void)
{
	char byte;

	SYSCALL(mincore, 0, 0, &byte);
}

static void try_swap(void)
{
	struct sysinfo info;

	SYSCALL(sysinfo, &info);
}

static void try_track(void)
{
	long file = SYSCALL(userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* UFFD_USER_MODE_ONLY */);

	SYSCALL(ioctl, file, 0, 0);
	SYSCALL(close, file);
}

static void try_snapshot(void)
{
	struct rlimit limit = {1, 1};
	long child;

	SYSCALL(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	SYSCALL(prctl, PR_SET_NAME, "gasket-mark", 0, 0, 0);
	SYSCALL(prlimit64, 0, RLIMIT_CORE, &limit, 0);
	SYSCALL(getppid);
	child = SYSCALL(clone, CLONE_UNTRACED, 0, 0, 0, 0);
	if (child == 0)
		SYSCALL(exit_group, 0);
	SYSCALL(kill, child, 0);
	SYSCALL(wait4, child, 0, __WCLONE, 0);
}

static void try_priority(void)
{
	struct sched_param parameter = {0};

	SYSCALL(sched_setscheduler, 0, SCHED_OTHER, &parameter);
}

static void (*const tries[SANDBOX_USE_COUNT])(void) = {
	[SANDBOX_COLLECTOR] = try_collector,
	[SANDBOX_READ] = try_read,
	[SANDBOX_ASK] = try_ask,
	[SANDBOX_CACHED] = try_cached,
	[SANDBOX_SWAP] = try_swap,
	[SANDBOX_TRACK] = try_track,
	[SANDBOX_SNAPSHOT] = try_snapshot,
	[SANDBOX_PRIORITY] = try_priority,
};

/* ---- the probe ---- */

static void try_in_child(enum sandbox_use first, enum sandbox_use last)
{
	SYSCALL(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	for (enum sandbox_use use = first; use <= last; use++)
		tries[use]();
	for (;;)
		SYSCALL(exit_group, 0);
}

enum survival { DIES, SURVIVES, UNBORN };

/* Does a child survive these groups of calls? */
static enum survival survival(enum sandbox_use first, enum sandbox_use last)
{
	long child = SYSCALL(clone, 0, 0, 0, 0, 0);
	long waited;
	int status = -1;

	if (child == 0)
		try_in_child(first, last);
	if (syscall_failed(child))
		return child == -EAGAIN || child == -ENOMEM ? UNBORN : DIES;
	do {
		waited = SYSCALL(wait4, child, &status, __WCLONE, 0);
	} while (waited == -EINTR);
	return waited == child && status == 0 ? SURVIVES : DIES;
}

/* Returns the next value of `answer`. */
static uint32_t probe(void)
{
	const uint32_t all = (1u << SANDBOX_USE_COUNT) - 1;
	enum survival one = survival(0, SANDBOX_USE_COUNT - 1);
	uint32_t allowed = one == SURVIVES ? all : 0;

	for (enum sandbox_use use = 0; use < SANDBOX_USE_COUNT && allowed != all && one != UNBORN;
		use++) {
		one = survival(use, use);
		allowed |= one == SURVIVES ? 1u << use : 0;
	}
	if (one != UNBORN)
		return KNOWN | allowed << ALLOWED_SHIFT;
	store_relaxed(&next_probe_ns, clock_now_ns() + RETRY_PROBE_MS * NS_PER_MS);
	return FILTERED;
}

static bool may_probe(void)
{
	return options.collector != COLLECTOR_OFF && load_relaxed(&has_cloned) &&
	       clock_now_ns() >= load_relaxed(&next_probe_ns);
}

static COLD void find_out(uint32_t state)
{
	const uint32_t all = (1u << SANDBOX_USE_COUNT) - 1;
	struct signal_guard guard;
	uint32_t found;

	if (!cas_seq(&answer, state, (uint32_t)PROBING))
		return;
	signals_block(&guard);
	// without /proc nobody knows: as if there were a filter
	if (state == UNKNOWN && filter_mode() == 0)
		found = KNOWN | all << ALLOWED_SHIFT;
	else
		found = may_probe() ? probe() : FILTERED;
	cas_seq(&answer, (uint32_t)PROBING, found); // fails if sandbox_close() came meanwhile
	signals_restore(&guard);
}

bool sandbox_allows(enum sandbox_use use)
{
	uint32_t state = load_acquire(&answer);

	if (UNLIKELY(state == UNKNOWN || (state == FILTERED && may_probe())))
		find_out(state);
	return load_acquire(&answer) >> (ALLOWED_SHIFT + use) & 1;
}

bool sandbox_may_open(void)
{
	uint32_t state = load_acquire(&answer);

	return options.collector != COLLECTOR_OFF && (state == FILTERED || state == PROBING);
}

void sandbox_note_clone(void)
{
	if (!load_relaxed(&has_cloned))
		store_relaxed(&has_cloned, 1);
}

uint32_t sandbox_close(void)
{
	return exchange_seq(&answer, (uint32_t)KNOWN);
}

void sandbox_reopen(uint32_t former)
{
	store_seq(&answer, former);
}
