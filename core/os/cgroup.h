/*
 * The memory limit of the control groups this process is in: version 2 (memory.max, memory.high) and version 1 (memory.limit_in_bytes), the lowest of the group
 * and those above it that are visible. Opens files: the collector thread, which has descriptors of its own.
 */
#pragma once

#include <stdint.h>

/* Bytes; 0: there is no limit, or none that can be read. */
uint64_t cgroup_memory_limit(void);

/* The same, with other files than /proc/self/cgroup and /sys/fs/cgroup (tests). */
uint64_t cgroup_memory_limit_in(const char *membership, const char *mount);
