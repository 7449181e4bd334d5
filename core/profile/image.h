/*
 * An ELF image in memory, as its own headers describe it.
 */
#pragma once

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/profile/module.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Reads the image whose first page is at `start`: everything of a module but its path and its epochs. Memory is copied without faulting, for it may be anything.
 * False: it is no image, or has no code; *ret_module is undefined then.
 */
bool image_read(uintptr_t start, struct module *ret_module);

/* The executable addresses of this library; bytes 0: it is none, but linked into a test program. Both atomics, constant once low is not 0. */
struct own_code {
	uintptr_t low, bytes;
};
extern struct own_code own_code HIDDEN;

/* Finds them. Any thread. */
void image_find_own_code(void);

/* True for code of this library, when it is a library of its own. Any thread. */
static inline bool module_is_own(uintptr_t address)
{
	if (UNLIKELY(load_acquire(&own_code.low) == 0))
		image_find_own_code();
	return address - load_relaxed(&own_code.low) < load_relaxed(&own_code.bytes);
}
