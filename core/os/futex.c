/*
 * Futex wait and wake. Private futexes, except where another process takes part.
 */
#include "core/os/futex.h"

#include "core/os/clock.h"
#include "core/os/syscall.h"

#include <linux/futex.h>
#include <time.h>

static void wait_on(const uint32_t *word, int operation, uint32_t value, uint64_t timeout_ns)
{
	struct timespec timeout = {(time_t)(timeout_ns / NS_PER_S), (long)(timeout_ns % NS_PER_S)};

	SYSCALL(futex, word, operation, value,
		timeout_ns == FUTEX_NO_TIMEOUT ? (struct timespec *)0 : &timeout);
}

void futex_wait(const uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	wait_on(word, FUTEX_WAIT_PRIVATE, value, timeout_ns);
}

void futex_wait_shared(const uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	wait_on(word, FUTEX_WAIT, value, timeout_ns);
}

void futex_wake(const uint32_t *word, int count)
{
	SYSCALL(futex, word, FUTEX_WAKE_PRIVATE, count);
}

void futex_wake_shared(const uint32_t *word, int count)
{
	SYSCALL(futex, word, FUTEX_WAKE, count);
}
