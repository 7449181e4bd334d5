/*
 * Which process this is. A child that was made without libc's fork (raw clone, _Fork) ran no handlers: it finds out by a page that the kernel clears in every
 * child with memory of its own (MADV_WIPEONFORK, Linux 4.14). A vfork child shares the memory and is no child in this sense.
 */
#pragma once

#include "core/base/atomic.h"
#include "core/base/attr.h"

#include <stdbool.h>
#include <stdint.h>

/* The word on that page, or a constant 1 where the kernel has none. */
extern const uint32_t *process_mark HIDDEN;

/* Called in a child that ran no fork handlers, by the first who notices: repairs what the other threads left. Set by preload/. */
extern void (*process_child_hook)(void) HIDDEN;

/* At start, and in a child once all is repaired: this process is known. */
void process_note(void);

COLD void process_repair(void);

/* At entries of slow paths: repairs everything first if this is an unknown child. No lock held; any signal mask. */
static inline void process_check(void)
{
	if (UNLIKELY(load_relaxed(process_mark) == 0))
		process_repair();
}
