/*
 * An ELF image in memory, as its own headers describe it.
 */
#pragma once

#include "core/profile/module.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Reads the image whose first page is at `start`: everything of a module but its path and its epochs. Memory is copied without faulting, for it may be anything.
 * False: it is no image, or has no code; *ret_module is undefined then.
 */
bool image_read(uintptr_t start, struct module *ret_module);

/* True for code of this library, when it is a library of its own (not linked into a test program). Any thread. */
bool module_is_own(uintptr_t address);
