/*
 * Memory from the kernel. Regions grow by mprotect inside a reservation or by MAP_FIXED_NOREPLACE at chosen addresses; nothing is ever
 * unmapped from a region, so no holes appear and the count of kernel mappings stays small (max_map_count is 65530).
 *
 * The table of own mappings is a fixed array, entries claimed by compare-and-swap of `address` and published by the store of `bytes`; it is
 * read without a lock. Its size bounds the number of separate mappings of ours, thread records and side tables come from large pieces.
 */
#include "core/os/memory.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/os/clock.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef GRND_NONBLOCK
#define GRND_NONBLOCK 1
#endif

enum {
	OWN_MAPPINGS_MAX = 4096,
	CHOICES = 64,
	DOUBTFUL_BYTES = 64 << 20, // no machine that runs us has less memory
};

static struct {
	uintptr_t address[OWN_MAPPINGS_MAX]; // 0: free entry
	size_t bytes[OWN_MAPPINGS_MAX];      // 0: being filled
	uint32_t used;                       // entries below this index may be in use
} own;

bool os_own_add(uintptr_t address, size_t bytes)
{
	for (uint32_t i = 0; i < OWN_MAPPINGS_MAX; i++) {
		if (load_relaxed(&own.address[i]) != 0 || !cas_seq(&own.address[i], 0, address))
			continue;
		store_release(&own.bytes[i], bytes);
		while (load_relaxed(&own.used) <= i)
			cas_seq(&own.used, load_relaxed(&own.used), i + 1);
		return true;
	}
	return false;
}

/* The bytes of an entry are changed by the owner of the mapping only. */
static void own_resize(uintptr_t address, size_t bytes)
{
	for (uint32_t i = 0; i < load_relaxed(&own.used); i++) {
		if (load_relaxed(&own.address[i]) == address)
			store_release(&own.bytes[i], bytes);
	}
}

void os_own_remove(uintptr_t address)
{
	for (uint32_t i = 0; i < load_relaxed(&own.used); i++) {
		if (load_relaxed(&own.address[i]) != address)
			continue;
		store_relaxed(&own.bytes[i], 0);
		store_release(&own.address[i], 0);
		return;
	}
}

void os_own_mappings(void (*visit)(uintptr_t address, size_t bytes, void *argument), void *argument)
{
	for (uint32_t i = 0; i < load_acquire(&own.used); i++) {
		size_t bytes = load_acquire(&own.bytes[i]);
		uintptr_t address = load_relaxed(&own.address[i]);

		if (address != 0 && bytes != 0)
			visit(address, bytes, argument);
	}
}

static long map_at(uintptr_t address, size_t bytes, int protection, int flags)
{
	return SYSCALL(
		mmap, address, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static uint64_t random_bits(void)
{
	uint64_t bits = 0;

	if (SYSCALL(getrandom, &bits, sizeof(bits), GRND_NONBLOCK) != (long)sizeof(bits))
		bits = (clock_now_ns() ^ (uintptr_t)&bits) * 0x9e3779b97f4a7c15ull;
	return bits;
}

size_t os_address_space_limit(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	SYSCALL(prlimit64, 0, RLIMIT_AS, 0, &limit);
	return limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

/* A random aligned address between 16 GiB and 2^46, so that neither small integers nor text look like it. */
static uintptr_t choose_address(size_t capacity, size_t alignment)
{
	const uintptr_t low = (uintptr_t)1 << 34;
	const uintptr_t high = (uintptr_t)1 << 46;
	uintptr_t room = high - low > capacity ? high - low - capacity : 1;

	return align_up(low + random_bits() % room, alignment);
}

/* Asks for the range by a mapping that costs nothing; kernels before 4.17 treat the flag as a hint and may answer elsewhere. */
static bool reserve_at(uintptr_t address, size_t capacity)
{
	long result = map_at(address, capacity, PROT_NONE, MAP_NORESERVE | MAP_FIXED_NOREPLACE);

	if (syscall_failed(result))
		return false;
	if ((uintptr_t)result == address)
		return true;
	SYSCALL(munmap, result, capacity);
	return false;
}

/* Nobody's mapping begins there. What lies further up is seen when the region grows. */
static bool is_vacant(uintptr_t address, size_t bytes)
{
	long result = map_at(address, bytes, PROT_NONE, MAP_NORESERVE | MAP_FIXED_NOREPLACE);

	if (syscall_failed(result))
		return false;
	SYSCALL(munmap, result, bytes);
	return (uintptr_t)result == address;
}

/* Where the kernel likes it (something has taken the addresses below 2^46: a sanitizer). The part that alignment does not need goes back. 0: refused. */
static uintptr_t reserve_anywhere(size_t capacity, size_t alignment)
{
	long result = map_at(0, capacity + alignment, PROT_NONE, MAP_NORESERVE);
	uintptr_t start = (uintptr_t)result, address;

	if (syscall_failed(result))
		return 0;
	address = align_up(start, alignment);
	if (address > start)
		SYSCALL(munmap, start, address - start);
	SYSCALL(munmap, address + capacity, start + alignment - address);
	return address;
}

bool region_init(
	struct region *region, size_t capacity, size_t alignment, size_t step, bool reserve)
{
	uintptr_t address;

	for (int choice = 0; choice < CHOICES; choice++) {
		address = choose_address(capacity, alignment);
		if (reserve ? reserve_at(address, capacity) : is_vacant(address, step))
			goto found;
	}
	address = reserve ? reserve_anywhere(capacity, alignment) : 0;
	if (address == 0)
		return false;
found:
	*region = (struct region){
		.base = address, .capacity = capacity, .step = step, .reserved = reserve};
	// what was only chosen may hold somebody else's mapping: ours is what we map there
	os_own_add(address, reserve ? capacity : 0);
	return true;
}

static bool commit(const struct region *region, uintptr_t address, size_t bytes)
{
	long result;

	if (region->reserved)
		return !syscall_failed(SYSCALL(mprotect, address, bytes, PROT_READ | PROT_WRITE));
	result =
		map_at(address, bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE | MAP_FIXED_NOREPLACE);
	if (!syscall_failed(result) && (uintptr_t)result != address)
		SYSCALL(munmap, result, bytes);
	return (uintptr_t)result == address;
}

bool region_grow(struct region *region, size_t bytes)
{
	size_t wanted, least;

	if (bytes <= region->committed)
		return true;
	if (bytes > region->capacity)
		return false;
	wanted = min_u64(align_up(bytes, region->step), region->capacity);
	least = align_up(bytes, OS_PAGE_BYTES);
	if (commit(region, region->base + region->committed, wanted - region->committed))
		region->committed = wanted;
	else if (commit(region, region->base + region->committed, least - region->committed))
		region->committed = least;
	if (!region->reserved)
		own_resize(region->base, region->committed);
	return bytes <= region->committed;
}

void region_unreserve(struct region *region)
{
	if (!region->reserved)
		return;
	SYSCALL(munmap, region->base + region->committed, region->capacity - region->committed);
	region->reserved = false;
	own_resize(region->base, region->committed);
}

void *os_map(size_t bytes)
{
	long result =
		map_at(0, align_up(bytes, OS_PAGE_BYTES), PROT_READ | PROT_WRITE, MAP_NORESERVE);

	if (syscall_failed(result))
		return 0;
	if (!os_own_add((uintptr_t)result, align_up(bytes, OS_PAGE_BYTES))) {
		SYSCALL(munmap, result, align_up(bytes, OS_PAGE_BYTES));
		return 0;
	}
	return (void *)result;
}

void os_unmap(void *address, size_t bytes)
{
	os_own_remove((uintptr_t)address);
	SYSCALL(munmap, address, align_up(bytes, OS_PAGE_BYTES));
}

/*
 * The kernel's rule (mm/util.c, __vm_enough_memory): with overcommit_memory 0 one request must not exceed memory and swap; with 1 all is granted; with 2
 * MAP_NORESERVE means nothing and the charge is made when a region grows. Only the first is left for us, and which one it is a mapping tells that is undone
 * at once. Accounted mappings for the whole heap would do as well, but what was freed would stay accounted, and fork be refused for it.
 */
bool os_would_commit(size_t bytes)
{
	struct sysinfo info;
	long result;

	if (bytes < DOUBTFUL_BYTES)
		return true;
	if (syscall_failed(SYSCALL(sysinfo, &info)) ||
		bytes / info.mem_unit <= info.totalram + info.totalswap)
		return true;
	result = map_at(0, bytes, PROT_READ | PROT_WRITE, 0);
	if (syscall_failed(result))
		return false;
	SYSCALL(munmap, result, bytes);
	return true;
}

bool os_discard(void *address, size_t bytes)
{
	// memory the program has locked stays locked; Linux 5.18 gives its pages back all the same
	return !syscall_failed(SYSCALL(madvise, address, bytes, MADV_DONTNEED)) ||
	       !syscall_failed(SYSCALL(madvise, address, bytes, MADV_DONTNEED_LOCKED));
}

bool os_remap_fresh(void *address, size_t bytes)
{
	return !syscall_failed(map_at(
		(uintptr_t)address, bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE | MAP_FIXED));
}

bool os_move_pages(void *from, void *to, size_t bytes)
{
	long result = SYSCALL(
		mremap, from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);

	return !syscall_failed(result);
}
