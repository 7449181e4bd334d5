/*
 * The mappings of this process, from /proc/thread-self/maps. Collector thread; needs proc_open().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What may stand behind a mapping. */
enum mapping_kind {
	MAPPING_ANONYMOUS, // private, no file (also /dev/zero, huge pages, [heap], [anon:NAME])
	MAPPING_STACK,     // [stack]: the main thread's
	MAPPING_FILE,      // a file with a name
	MAPPING_SHMEM, // memory that is shared: anonymous, memfd, System V, /dev/shm, a file that was deleted
	MAPPING_SECRET, // memfd_secret: only this process's own loads can read it
	MAPPING_RING,   // io_uring or native AIO: requests may be in flight
	MAPPING_DEVICE, // a device or driver object: never touched
	MAPPING_KERNEL, // vdso, vvar, vsyscall
};

struct mapping {
	uintptr_t start;
	uintptr_t end;
	uint64_t inode;     // 0: no file
	uint32_t device;    // major << 20 | minor
	uint8_t protection; // PROT_READ | PROT_WRITE | PROT_EXEC
	uint8_t kind;       // enum mapping_kind
	bool shared;
	bool swapped; // shared memory with pages on disk only: told by maps_note_swapped()
};

/* A list of mappings, ascending. Memory is ours (os_map). */
struct maps {
	struct mapping *list;
	size_t count;
	size_t capacity;
};

/* Makes room for all mappings there are now and a margin. Not in a pause. False: no memory. */
bool maps_reserve(struct maps *maps);

/* Reads all mappings. False: unreadable, or more than there is room for (maps_reserve() again, next cycle). */
bool maps_read(struct maps *maps);

/* True unless nothing at all is swapped out on this machine. */
bool maps_swap_is_used(void);

/*
 * After maps_read(), of the same mappings: sets `swapped` where it holds now, and clears it nowhere. *ret_count: how many were set by this call. Takes the time of
 * a walk over all page tables. False: unreadable.
 */
bool maps_note_swapped(struct maps *maps, size_t *ret_count);

/* Tests only: something is swapped out, and this file tells what, instead of /proc/thread-self/smaps. -1: ends that. */
void maps_set_swap_source(int descriptor);

/* The mapping that contains the address, or NULL. */
const struct mapping *maps_find(const struct maps *maps, uintptr_t address);

void maps_release(struct maps *maps);
