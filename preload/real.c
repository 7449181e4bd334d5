/*
 * Looking up libc's functions. dlsym may allocate (it keeps an error message), which is no recursion: malloc needs no libc.
 */
#include "preload/real.h"

#include "core/base/atomic.h"

#include <errno.h>

struct real real;

static long missing(void)
{
	errno = ENOSYS;
	return -1;
}

static void *find(const char *name, const char *version)
{
	void *function = version ? dlvsym(RTLD_NEXT, name, version) : 0;

	if (!function)
		function = dlsym(RTLD_NEXT, name);
	return function ? function : (void *)missing;
}

void real_resolve(void)
{
#define REAL_ENTRY(name) REAL_VERSION(name, 0)
#define REAL_VERSION(name, version) \
	if (!load_relaxed(&real.name)) \
		store_relaxed(&real.name, (__typeof__(real.name))find(#name, version));
#include "preload/real.def"
#undef REAL_ENTRY
#undef REAL_VERSION
}

/* After start.c's (101), before the program's and its libraries'. */
__attribute__((constructor(102))) static void real_constructor(void)
{
	real_resolve();
}
