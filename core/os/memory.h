/*
 * Memory from the kernel. Two kinds:
 *
 * - a *region* is a large range of addresses that grows at its end: reserved whole (PROT_NONE, no memory, no commit charge) where the kernel
 *   lets us, else (ulimit -v, refused reservations) only chosen, and mapped piece by piece at fixed addresses, never over anything that is
 *   there. Both look the same to the caller: bytes [0, committed) are readable and writable.
 * - a plain mapping of our own (thread records, mark stack).
 *
 * Every mapping made here is entered in the table of own mappings, for nothing of ours may be scanned as a root.
 */
#pragma once

#include "core/os/lock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OS_PAGE_BYTES 4096u

/* A growing range of addresses. Guard: the lock of its owner; only `committed` and `reserved` change after regions_init(). */
struct region {
	size_t capacity; // bytes of address space; like `step`, for the owner to choose
	size_t step;     // smallest growth, a power of two
	uintptr_t
		base; // where it begins to grow, a multiple of 64 KiB: its first address, or, if it grows down, the one behind its last
	size_t committed; // bytes mapped read-write so far, from base
	bool grows_down;
	bool reserved; // the whole capacity is ours already
	uint32_t own;  // entry in the table of own mappings
};

/*
 * Finds two ranges that meet, one for `down`, which grows downwards, and one for `up` above it: what a small process uses of both lies together, in the
 * same of the kernel's page tables, which every fork copies and every process keeps. `down` may be NULL. If the kernel agrees they are reserved, near a random
 * address above 16 GiB and below 2^46, all later ones behind them; with reserve == false the ranges are only chosen. False if not even an address was found.
 */
bool regions_init(struct region *down, struct region *up, bool reserve);

/* Makes `bytes` bytes from the base on usable. False when the kernel refuses or the capacity is exceeded: nothing changed. Fresh bytes are zero. */
bool region_grow(struct region *region, size_t bytes);

/*
 * The process limits its address space: what is reserved and not used goes back, and the region grows by mapping from now on, as long as nobody else
 * took the addresses behind it. The caller holds the owner's lock.
 */
void region_unreserve(struct region *region);

/* Bytes of address space this process may still map (RLIMIT_AS), or SIZE_MAX. */
size_t os_address_space_limit(void);

/* Maps `bytes` of zeroed private memory of our own; NULL when the kernel refuses. Page-aligned. */
void *os_map(size_t bytes);

/* The same, shared with child processes. */
void *os_map_shared(size_t bytes);
void os_unmap(void *address, size_t bytes);

/*
 * Would the kernel grant a private mapping of so many bytes? What we reserve is charged to nobody (MAP_NORESERVE) unless overcommit is off, so
 * it must be asked for what no other allocator could map: more than all memory and swap under vm.overcommit_memory = 0.
 */
bool os_would_commit(size_t bytes);

/* Has the kernel put pages there by one call (Linux 5.14), which is cheaper than a fault for each. Where it cannot they come when they are touched. */
void os_populate(void *address, size_t bytes);

/* Gives the pages back and keeps the addresses; they read as zero afterwards. False if the kernel refused (locked memory): contents are kept. */
bool os_discard(void *address, size_t bytes);

/* Fresh zero pages over a range of ours (heals what mremap or mprotect left). False when refused. */
bool os_remap_fresh(void *address, size_t bytes);

/* Moves pages from one range of ours to another and leaves the old range mapped and zero (Linux 5.7). False: nothing happened, copy. */
bool os_move_pages(void *from, void *to, size_t bytes);

/* Enters memory of ours that was mapped elsewhere (the collector's stack) in the table of own mappings. False: the table is full. */
bool os_own_add(uintptr_t address, size_t bytes);
void os_own_remove(uintptr_t address);

/* Calls visit(address, bytes, argument) for every mapping of our own, the program's heap (add heap range) not included. No lock: the table is
 * append-only with slots reused by compare-and-swap; the collector calls it in the pause. */
void os_own_mappings(
	void (*visit)(uintptr_t address, size_t bytes, void *argument), void *argument);
