/*
 * The scanners, one for each kind of root, in the order of their claims (roots.h). Start-up hands the table to roots_register().
 */
#pragma once

#include "core/gc/roots.h"

extern const struct scanner scanner_registers;
extern const struct scanner scanner_thread_storage;
extern const struct scanner scanner_stacks;
extern const struct scanner scanner_data_segments;
extern const struct scanner scanner_kernel_held;
extern const struct scanner scanner_mappings;

enum { SCANNER_COUNT = 6 };
extern const struct scanner *const scanners[SCANNER_COUNT];
