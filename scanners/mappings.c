/*
 * Everything else: whatever is mapped, holds something and was claimed by nobody. The program's own arenas, fibre stacks, JIT code, shared memory,
 * the loader's early memory, stacks of threads nobody announced, other C libraries. What is read of each kind of mapping: core/gc/roots.c.
 */
#include "scanners/scanners.h"

const struct scanner scanner_mappings = {.name = "mappings", .is_trackable = true};
