/*
 * setrlimit, prlimit and mlockall. A program that limits its own address space (RLIMIT_AS) counts on what it has mapped itself; our reserved range would be
 * above any such limit, and its next mmap or thread would fail. So the reservation is given back first, and the heap grows by mapping from then on.
 * A limit set from outside, or before exec, is found by heap_init() instead.
 *
 * mlockall likewise: all that is mapped counts against RLIMIT_MEMLOCK, with or without pages. And what malloc maps after MCL_FUTURE is locked as any other
 * new mapping is, and refused when the limit is reached; memory made usable within a reservation would not be.
 */
#include "core/alloc/alloc.h"
#include "core/base/attr.h"
#include "core/os/peek.h"
#include "core/os/syscall.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>

static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "one layout serves both names");

static int set_limit(
	pid_t process, unsigned resource, const struct rlimit *limit, struct rlimit *ret_old)
{
	bool is_own = process == 0 || process == SYSCALL_0(SYS_getpid);
	bool is_limited = is_own && resource == RLIMIT_AS && limit &&
			  peek_is_readable(limit, sizeof(*limit)) &&
			  limit->rlim_cur != RLIM_INFINITY;
	long result;

	if (is_limited && alloc_init())
		alloc_unreserve();
	result = SYSCALL(prlimit64, process, resource, limit, ret_old);
	if (!syscall_failed(result))
		return 0;
	errno = (int)-result;
	return -1;
}

int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit);
int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit,
	struct rlimit64 *ret_old);

EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	return set_limit(0, resource, limit, 0);
}

EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	return set_limit(0, resource, (const struct rlimit *)limit, 0);
}

EXPORT int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *limit,
	struct rlimit *ret_old)
{
	return set_limit(process, resource, limit, ret_old);
}

EXPORT int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit,
	struct rlimit64 *ret_old)
{
	return set_limit(process, resource, (const struct rlimit *)limit, (struct rlimit *)ret_old);
}

EXPORT int mlockall(int flags)
{
	long result;

	if ((flags & (MCL_CURRENT | MCL_FUTURE)) && alloc_init())
		alloc_unreserve();
	result = SYSCALL(mlockall, flags);
	if (!syscall_failed(result))
		return 0;
	errno = (int)-result;
	return -1;
}
