/*
 * The collector's thread is a guest: what the program does to itself as a process of one thread, and what it lays on itself, goes on as without it.
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <errno.h>
#include <sched.h>

TEST(what_needs_a_single_thread_finds_one)
{
	for (int i = 0; i < 1000; i++) {
		gasket_collect();
		CHECK_MSG(unshare(CLONE_VM) == 0, "unshare: errno %d in round %d", errno, i);
	}
}
