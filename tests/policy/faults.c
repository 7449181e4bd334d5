/*
 * Each system call that the collector makes fails, once or from then on, in each tier: the program gets its memory and its right answer, and ends in time.
 * Checking builds only.
 *
 * Not among the calls: those that cannot fail with the arguments they get (getpid, gettid, getppid, sched_yield, rt_sigprocmask, clock_gettime, and futex, on
 * whose waking the locks rest), and exit_group.
 */
#include "tests/harness/test.h"
#include "tests/policy/child.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	BLOCKS = 3000,
	THREADS = 2,
	SECONDS_MAX = 30, // until a child counts as hung
};

#define WORK_SECONDS 0.06

#define CALL(name, error) \
	{ \
#name, SYS_##name, error \
	}

static const struct {
	const char *name;
	long number;
	int error;
} calls[] = {
	CALL(openat, EMFILE),
	CALL(close, EIO),
	CALL(read, EIO),
	CALL(pread64, EIO),
	CALL(write, ENOSPC),
	CALL(fstat, EIO),
	CALL(newfstatat, ENOENT),
	CALL(lseek, ESPIPE),
	CALL(getdents64, ENOENT),
	CALL(fcntl, EMFILE),
	CALL(ioctl, ENOTTY),
	CALL(ioctl, EPERM),
	CALL(process_vm_readv, EPERM),
	CALL(process_vm_readv, EFAULT),
	CALL(mmap, ENOMEM),
	CALL(munmap, ENOMEM),
	CALL(madvise, EINVAL),
	CALL(mprotect, ENOMEM),
	CALL(mincore, ENOSYS),
	CALL(tgkill, EAGAIN),
	CALL(tgkill, ESRCH),
	CALL(rt_sigaction, EINVAL),
	CALL(prlimit64, EPERM),
	CALL(prctl, EINVAL),
	CALL(sysinfo, ENOSYS),
	CALL(userfaultfd, ENOSYS),
	CALL(clone, EAGAIN),
	CALL(wait4, ECHILD),
	CALL(kill, EPERM),
	CALL(close_range, ENOSYS),
	CALL(unshare, EPERM),
	CALL(sched_setscheduler, EPERM),
	CALL(pidfd_open, ENOSYS),
	CALL(pidfd_getfd, EPERM),
	CALL(socket, EAFNOSUPPORT),
	CALL(sendto, ECONNREFUSED),
	CALL(recvfrom, EAGAIN),
	CALL(getsockopt, ENOPROTOOPT),
	CALL(getxattr, ENOTSUP),
	CALL(renameat2, ENOSYS),
	CALL(unlinkat, EROFS),
	CALL(mkdirat, EROFS),
};

/* How many go through, and how many then fail (0: all). */
static const struct {
	int skip, times;
} patterns[] = {{0, 0}, {5, 1}, {40, 0}};

/* ---- the program ---- */

/* A block says where it is and how large it is. */
struct block {
	struct block *self;
	size_t bytes;
	unsigned char filling[];
};

static struct block *make_block(unsigned *seed)
{
	size_t bytes = sizeof(struct block) + (size_t)(rand_r(seed) % 500);
	struct block *block;

	if (rand_r(seed) % 500 == 0)
		bytes += 200000;
	block = malloc(bytes);
	CHECK_NOT_NULL(block);
	*block = (struct block){block, bytes};
	memset(block->filling, (int)(bytes % 251), bytes - sizeof(*block));
	return block;
}

static void check_block(const struct block *block)
{
	CHECK(block->self == block);
	for (size_t i = 0; i < block->bytes - sizeof(*block); i += 97)
		CHECK_EQ(block->filling[i], block->bytes % 251);
}

static void *work(void *argument)
{
	struct block **blocks = calloc(BLOCKS, sizeof(struct block *));
	unsigned seed = (unsigned)(size_t)argument;
	double end = seconds_now() + WORK_SECONDS;

	while (seconds_now() < end) {
		for (int i = 0; i < 200; i++) {
			struct block **place = &blocks[rand_r(&seed) % BLOCKS];

			if (*place) {
				check_block(*place);
				free(*place);
			}
			*place = make_block(&seed);
		}
	}
	for (int i = 0; i < BLOCKS; i++) {
		if (blocks[i])
			check_block(blocks[i]);
	}
	free(blocks);
	return NULL;
}

TEST(play_a_role)
{
	pthread_t threads[THREADS];

	if (!getenv("POLICY_ROLE"))
		return;
	alarm(SECONDS_MAX);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* ---- the faults ---- */

static uint64_t cycles_begun;

static void try_all(const char *tier)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		for (size_t j = 0; j < sizeof(patterns) / sizeof(patterns[0]); j++) {
			char options[200];
			struct outcome outcome;

			snprintf(options, sizeof(options),
				"probation=off:scribble=1:interval_ms=1:collector=%s:fault=%ld/%d/%d/%d",
				tier, calls[i].number, calls[i].error, patterns[j].skip,
				patterns[j].times);
			outcome = play("work", options, NULL);
			CHECK_MSG(outcome.status == 0,
				"%s, %s fails with errno %d after %d calls: status %x\n%s", tier,
				calls[i].name, calls[i].error, patterns[j].skip,
				(unsigned)outcome.status, outcome.error);
			cycles_begun += figure(&outcome, "cycles");
		}
	}
	CHECK_GT(cycles_begun, 200u);
}

TEST(no_failing_call_hurts_stop_the_world, .limit_seconds = 300)
{
	try_all("stw");
}

TEST(no_failing_call_hurts_the_concurrent_tier, .limit_seconds = 300)
{
	try_all("concurrent");
}

TEST(no_failing_call_hurts_the_snapshot_tier, .limit_seconds = 300)
{
	try_all("snapshot");
}

/* The calls do fail: without any mapping there is no verdict, and without userfaultfd no concurrent cycle. */
TEST(faults_strike)
{
	char options[100];
	struct outcome outcome;

	snprintf(options, sizeof(options), "interval_ms=1:fault=%d/%d/0/0", SYS_mmap, ENOMEM);
	outcome = play("work", options, NULL);
	CHECK_EQ(outcome.status, 0);
	CHECK_EQ(figure(&outcome, "cycles_with_verdict"), 0u);
	snprintf(options, sizeof(options), "interval_ms=1:collector=concurrent:fault=%d/%d/0/0",
		SYS_userfaultfd, ENOSYS);
	outcome = play("work", options, NULL);
	CHECK_EQ(outcome.status, 0);
	CHECK_EQ(figure(&outcome, "concurrent_cycles"), 0u);
	CHECK_GT(figure(&outcome, "cycles_with_verdict"), 0u);
}
