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

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
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
	BASE_BYTES = 64 * 1024,    // what a base is a multiple of
	TABLE_BYTES = 2 << 20,     // what one of the kernel's lowest page tables covers
	DOWN_BYTES = 512 * 1024,   // of it, for the region that grows down
	DOUBTFUL_BYTES = 64 << 20, // no machine that runs us has less memory
};

static struct {
	uintptr_t address[OWN_MAPPINGS_MAX]; // 0: free entry
	size_t bytes[OWN_MAPPINGS_MAX];      // 0: being filled
	uint32_t used;                       // entries below this index may be in use
} own;

/* End of the region reserved last; the next one begins there, so that they have the kernel's upper page tables in common. Any thread: only a wish. */
static uintptr_t neighbour;

/* The entry; OWN_MAPPINGS_MAX: there is none left. */
static uint32_t own_enter(uintptr_t address, size_t bytes)
{
	for (uint32_t i = 0; i < OWN_MAPPINGS_MAX; i++) {
		if (load_relaxed(&own.address[i]) != 0 || !cas_seq(&own.address[i], 0, address))
			continue;
		store_release(&own.bytes[i], bytes);
		while (load_relaxed(&own.used) <= i)
			cas_seq(&own.used, load_relaxed(&own.used), i + 1);
		return i;
	}
	return OWN_MAPPINGS_MAX;
}

bool os_own_add(uintptr_t address, size_t bytes)
{
	return own_enter(address, bytes) < OWN_MAPPINGS_MAX;
}

/* Lowest address of `bytes` bytes of the region from its base on. */
static uintptr_t region_low(const struct region *region, size_t bytes)
{
	return region->grows_down ? region->base - bytes : region->base;
}

/* An entry is changed by the owner of the mapping only. */
static void own_resize(const struct region *region, size_t bytes)
{
	if (region->own >= OWN_MAPPINGS_MAX)
		return;
	store_relaxed(&own.address[region->own], region_low(region, bytes));
	store_release(&own.bytes[region->own], bytes);
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

/* Nobody's mapping begins there. What lies further away is seen when the region grows. */
static bool is_vacant(uintptr_t address, size_t bytes)
{
	if (!reserve_at(address, bytes))
		return false;
	SYSCALL(munmap, address, bytes);
	return true;
}

/* Where `up` begins if the two lie at `start` or a little above. With a `down` the place is inside what one page table covers. */
static uintptr_t boundary_above(uintptr_t start, size_t down_bytes)
{
	return down_bytes == 0 ? align_up(start, BASE_BYTES)
			       : align_up(start + down_bytes, TABLE_BYTES) + DOWN_BYTES;
}

/* A random one between 16 GiB and 2^46, so that neither small integers nor text look like addresses of ours. */
static uintptr_t choose_boundary(size_t down_bytes, size_t up_bytes)
{
	const uintptr_t low = (uintptr_t)1 << 34;
	const uintptr_t high = (uintptr_t)1 << 46;
	size_t capacity = down_bytes + up_bytes + 2 * TABLE_BYTES;
	uintptr_t room = high - low > capacity ? high - low - capacity : 1;

	return boundary_above(low + random_bits() % room, down_bytes);
}

/* Where the kernel likes it (something has taken the addresses below 2^46: a sanitizer). What is not needed goes back. 0: refused. */
static uintptr_t reserve_anywhere(size_t down_bytes, size_t up_bytes)
{
	size_t capacity = down_bytes + up_bytes + 2 * TABLE_BYTES;
	long result = map_at(0, capacity, PROT_NONE, MAP_NORESERVE);
	uintptr_t start = (uintptr_t)result, boundary, low, high;

	if (syscall_failed(result))
		return 0;
	boundary = boundary_above(start, down_bytes);
	low = boundary - down_bytes;
	high = boundary + up_bytes;
	if (low > start)
		SYSCALL(munmap, start, low - start);
	SYSCALL(munmap, high, start + capacity - high);
	return boundary;
}

static bool can_begin_at(
	uintptr_t boundary, const struct region *down, const struct region *up, bool reserve)
{
	size_t down_bytes = down ? down->capacity : 0;

	if (reserve)
		return reserve_at(boundary - down_bytes, down_bytes + up->capacity);
	return is_vacant(boundary, up->step) &&
	       (!down || is_vacant(boundary - down->step, down->step));
}

static void begin_at(uintptr_t boundary, struct region *region, bool grows_down, bool reserve)
{
	size_t entered = reserve ? region->capacity : 0;

	region->base = boundary;
	region->committed = 0;
	region->grows_down = grows_down;
	region->reserved = reserve;
	// what was only chosen may hold somebody else's mapping: ours is what we map there
	region->own = own_enter(region_low(region, entered), entered);
	// or gdb's gcore would write it out, a terabyte of zeros
	if (reserve)
		SYSCALL(madvise, region_low(region, entered), entered, MADV_DONTDUMP);
}

bool regions_init(struct region *down, struct region *up, bool reserve)
{
	size_t down_bytes = down ? down->capacity : 0;
	uintptr_t wish = load_relaxed(&neighbour), boundary = boundary_above(wish, down_bytes);
	bool is_found = reserve && wish != 0 && can_begin_at(boundary, down, up, reserve);

	for (int choice = 0; !is_found && choice < CHOICES; choice++) {
		boundary = choose_boundary(down_bytes, up->capacity);
		is_found = can_begin_at(boundary, down, up, reserve);
	}
	if (!is_found)
		boundary = reserve ? reserve_anywhere(down_bytes, up->capacity) : 0;
	if (boundary == 0)
		return false;
	if (down)
		begin_at(boundary, down, true, reserve);
	begin_at(boundary, up, false, reserve);
	store_relaxed(&neighbour, reserve ? boundary + up->capacity : 0);
	return true;
}

static bool commit(const struct region *region, uintptr_t address, size_t bytes)
{
	long result;

	if (region->reserved) {
		if (syscall_failed(SYSCALL(mprotect, address, bytes, PROT_READ | PROT_WRITE)))
			return false;
		SYSCALL(madvise, address, bytes, MADV_DODUMP);
		return true;
	}
	result =
		map_at(address, bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE | MAP_FIXED_NOREPLACE);
	if (!syscall_failed(result) && (uintptr_t)result != address)
		SYSCALL(munmap, result, bytes);
	return (uintptr_t)result == address;
}

static bool grow_to(struct region *region, size_t bytes)
{
	uintptr_t low =
		region->grows_down ? region->base - bytes : region->base + region->committed;

	if (!commit(region, low, bytes - region->committed))
		return false;
	region->committed = bytes;
	return true;
}

bool region_grow(struct region *region, size_t bytes)
{
	size_t wanted = min_u64(align_up(bytes, region->step), region->capacity);

	if (bytes <= region->committed)
		return true;
	if (bytes > region->capacity ||
		!(grow_to(region, wanted) || grow_to(region, align_up(bytes, OS_PAGE_BYTES))))
		return false;
	if (!region->reserved)
		own_resize(region, region->committed);
	return true;
}

void region_unreserve(struct region *region)
{
	size_t unused = region->capacity - region->committed;

	if (!region->reserved)
		return;
	SYSCALL(munmap,
		region->grows_down ? region->base - region->capacity
				   : region->base + region->committed,
		unused);
	region->reserved = false;
	own_resize(region, region->committed);
}

/* Enters a mapping just made, the result of the kernel; undoes it if there is no room in the table. */
static void *enter(long result, size_t bytes)
{
	if (syscall_failed(result))
		return 0;
	if (!os_own_add((uintptr_t)result, bytes)) {
		SYSCALL(munmap, result, bytes);
		return 0;
	}
	return (void *)result;
}

void *os_map(size_t bytes)
{
	bytes = align_up(bytes, OS_PAGE_BYTES);
	return enter(map_at(0, bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE), bytes);
}

void *os_map_shared(size_t bytes)
{
	bytes = align_up(bytes, OS_PAGE_BYTES);
	return enter(SYSCALL(mmap, 0, bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
		bytes);
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

void os_populate(void *address, size_t bytes)
{
	SYSCALL(madvise, address, bytes, MADV_POPULATE_WRITE);
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
