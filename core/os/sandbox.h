/*
 * Which system calls may be tried. A process may have been started under a seccomp filter that kills it for a call it does not know, and a service's
 * filter knows the calls of the service, not ours. So where a filter is in force each group of calls is first made by a child; what ends the
 * child is not done. Without a filter everything is allowed, at the price of one look into /proc.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum sandbox_use {
	SANDBOX_COLLECTOR, // what every collection needs: a thread of its own, signals, /proc
	SANDBOX_READ, // process_vm_readv on ourselves; /proc/PID/mem does instead, for the collector
	SANDBOX_ASK,  // looking at the program's descriptors
	SANDBOX_CACHED, // mincore: which pages of shared memory are in the page cache
	SANDBOX_SWAP,   // sysinfo: whether anything is swapped out; else that is taken for granted
	SANDBOX_TRACK,  // userfaultfd: which pages were written
	SANDBOX_SNAPSHOT, // making a child that is a copy of the memory
	SANDBOX_PRIORITY, // giving the collector thread its scheduling class
	SANDBOX_USE_COUNT
};

/* Any thread, no lock held; the first call may take the time of a fork. errno is left alone. Under a filter the answer is no until sandbox_note_clone(). */
bool sandbox_allows(enum sandbox_use use);

/* What is not allowed now may be allowed later. */
bool sandbox_may_open(void);

/* The program has made, or is about to make, a thread or a child: the filter does not kill for that. Any thread. */
void sandbox_note_clone(void);

/* The program is about to install a filter (again): from now on nothing is allowed that could be refused. If the kernel refused the filter, and no other thread
 * may have installed one, sandbox_reopen() takes the value back. */
uint32_t sandbox_close(void);
void sandbox_reopen(uint32_t former);
