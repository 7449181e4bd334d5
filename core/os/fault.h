/*
 * Fault injection (checking builds): a system call of the collector's thread, and of the child that marks for it, fails, once or from then on. For the program's own
 * threads nothing changes.
 */
#pragma once

#include "core/base/attr.h"

#include <stdbool.h>

/* True once a fault is asked for. Written by the collector thread, before it makes the calls. */
extern bool fault_is_armed HIDDEN;

/*
 * `fault` is "NUMBER/ERRNO/SKIP/TIMES": of the calls with that number made on this stack the first SKIP go through, and the next TIMES (0: all) fail with ERRNO.
 * Empty: nothing. `stack` is an address on the collector's stack, near its end.
 */
void fault_arm(const char *fault, const void *stack);

/* *ret_result is what the call returns, which is not made. */
bool fault_strikes(long number, long *ret_result);
