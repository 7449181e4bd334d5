/*
 * Whose call it is tells the stack: a look at the thread's id would be a call itself.
 */
#include "core/os/fault.h"

#include "core/base/atomic.h"

#include <stdint.h>

enum { STACK_BYTES = 256 * 1024 };

bool fault_is_armed;

static struct {
	uintptr_t stack;
	long number, error, skip, times;
	long count; // calls so far
} fault;

/* Digits at *text; moves behind them and a slash. */
static long parse(const char **text)
{
	long number = 0;

	for (; **text >= '0' && **text <= '9'; (*text)++)
		number = number * 10 + **text - '0';
	*text += **text == '/';
	return number;
}

void fault_arm(const char *text, const void *stack)
{
	if (!text[0])
		return;
	fault.stack = (uintptr_t)stack;
	fault.number = parse(&text);
	fault.error = parse(&text);
	fault.skip = parse(&text);
	fault.times = parse(&text);
	fault.count = 0;
	store_release(&fault_is_armed, true);
}

bool fault_strikes(long number, long *ret_result)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (number != fault.number || fault.stack - here > STACK_BYTES)
		return false;
	fault.count++;
	*ret_result = -fault.error;
	return fault.count > fault.skip &&
	       (fault.times == 0 || fault.count <= fault.skip + fault.times);
}
