/*
 * Pointers only the kernel holds, asked for before anything is taken back. It covers what the program did by raw system calls, which no wrapper of
 * ours saw. Collector thread; the descriptors looked at are the program's (the collector has a table of its own).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum kernel_answer {
	KERNEL_TOLD,      // every word it keeps for the program was visited
	KERNEL_IN_FLIGHT, // pointers may be on their way: io_uring or native AIO, FUSE, unread bytes in a pipe or unix socket of the process
	KERNEL_SILENT,    // something could not be read: as if in flight
};

/* Calls visit(word, argument) for each data word of an epoll descriptor and each sigval of a timer. */
enum kernel_answer kernel_ask(void (*visit)(uintptr_t word, void *argument), void *argument);
