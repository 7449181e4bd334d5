/*
 * What getdents64 writes, as the kernel has it: libc declares it nowhere.
 */
#pragma once

#include <stdint.h>

struct directory_entry {
	uint64_t inode;
	int64_t next;
	uint16_t bytes; // of this entry: the next one lies behind
	uint8_t type;
	char name[];
};
