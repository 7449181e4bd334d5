/*
 * Page tables by PAGEMAP_SCAN (Linux 6.7), which skips holes whole and answers in runs, or by /proc/PID/pagemap, 8 bytes a page. Both tell
 * present and swapped pages; both say of device memory that nothing is there.
 *
 * - A page that is swapped out or just being moved is SWAPPED, not PRESENT, and holds its contents all the same.
 * - PAGEMAP_SCAN is always given an output vector: without one it fills holes with page tables.
 * - Pages of shared memory may have contents without an entry in our page tables (written through another mapping): mincore knows the page cache. It
 *   answers a page a byte, so the size that is asked for is bounded.
 * - Pages of shared memory that are swapped out are in neither; that there are some in a mapping is told by smaps (maps.h). Then all of it is handed on;
 *   reading a page that was never touched gives it memory, so their number is bounded, too.
 * - A process that has dropped root may not open its own pagemap any more. Then mincore tells of all memory: more than is our own of a file, but nothing of
 *   what is swapped out, so the kernel's sum of that must be zero.
 * - A guard page made by madvise looks swapped; PAGE_IS_GUARD (Linux 6.15) tells it apart.
 */
#include "core/os/pages.h"

#include "core/base/arith.h"
#include "core/os/memory.h"
#include "core/os/page_scan.h"
#include "core/os/proc.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

enum {
	REGIONS = 2048,
	ENTRIES = 4096,       // of pagemap per read
	MINCORE_PAGES = 4096, // per call
};

/* Entries of /proc/PID/pagemap. */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE (1ull << 61)
#define ENTRY_GUARD (1ull << 58)

/* Bytes of shared memory outside our page tables that mincore is asked about in one walk; it takes about 17 ms per GiB. */
#define MINCORE_BYTES_MAX (64ull << 30)

/* Bytes of shared memory in neither page tables nor page cache that PAGES_WHOLE hands on in one walk. */
#define MISSING_BYTES_MAX (256ull << 20)

/* The collector thread's; the arrays keep its stack small. */
static struct {
	enum { SCAN_UNKNOWN, SCAN_ABSENT, SCAN_PLAIN, SCAN_WITH_GUARD } scan;
	bool no_vm_readv; // refused by a sandbox
	void (*beat)(void);
	struct {
		uintptr_t top; // 0: none
		uintptr_t (*find_skipped)(uintptr_t address);
	} hold;
	struct {
		uintptr_t start, end; // what the regions below tell of
		size_t count;
		size_t next; // no region before this one concerns the next range, if ranges come in order
	} answer;
	struct scan_region regions[REGIONS];
	uint64_t entries[ENTRIES];
	unsigned char residency[MINCORE_PAGES];
} pages;

/* One walk; runs are joined here before they are handed on. */
struct walk {
	bool (*visit)(uintptr_t start, uintptr_t end, void *argument);
	void *argument;
	uintptr_t run_start;
	uintptr_t run_end;
	uintptr_t done_end;      // shared memory: everything below was handed on or asked for
	uint64_t mincore_budget; // bytes
	uint64_t missing_budget; // bytes
	bool shared;
	bool whole;    // pages in no page cache, too,
	bool too_many; // of which there were more than the budget
};

void pages_beat(void)
{
	if (pages.beat)
		pages.beat();
}

static bool flush_run(struct walk *walk)
{
	uintptr_t start = walk->run_start;

	walk->run_start = walk->run_end;
	return start == walk->run_end || walk->visit(start, walk->run_end, walk->argument);
}

static bool add_run(struct walk *walk, uintptr_t start, uintptr_t end)
{
	if (start == walk->run_end) {
		walk->run_end = end;
		return true;
	}
	if (!flush_run(walk))
		return false;
	walk->run_start = start;
	walk->run_end = end;
	return true;
}

static bool is_wanted_from_cache(struct walk *walk, bool is_cached)
{
	if (is_cached || !walk->whole)
		return is_cached;
	walk->too_many = walk->missing_budget < OS_PAGE_BYTES;
	walk->missing_budget -= OS_PAGE_BYTES;
	return true;
}

/* Pages in the page cache between two runs of the page table. */
static bool add_cached(struct walk *walk, uintptr_t start, uintptr_t end)
{
	if (end - start > walk->mincore_budget || !sandbox_allows(SANDBOX_CACHED))
		return false;
	walk->mincore_budget -= end - start;
	while (start < end) {
		size_t count = min_u64((end - start) / OS_PAGE_BYTES, MINCORE_PAGES);

		if (syscall_failed(SYSCALL(mincore, start, count * OS_PAGE_BYTES, pages.residency)))
			return false;
		for (size_t i = 0; i < count; i++) {
			uintptr_t page = start + i * OS_PAGE_BYTES;

			if (!is_wanted_from_cache(walk, pages.residency[i] & 1))
				continue;
			if (walk->too_many || !add_run(walk, page, page + OS_PAGE_BYTES))
				return false;
		}
		start += count * OS_PAGE_BYTES;
		pages_beat();
	}
	return true;
}

/* A run of the page table; for shared memory the gap before it is asked for first. */
static bool add_present(struct walk *walk, uintptr_t start, uintptr_t end)
{
	if (walk->shared && start > walk->done_end && !add_cached(walk, walk->done_end, start))
		return false;
	walk->done_end = end;
	return add_run(walk, start, end);
}

uint64_t pages_guard_category(void)
{
	return pages.scan == SCAN_WITH_GUARD ? SCAN_IS_GUARD : 0;
}

static struct scan_argument scan_request(uintptr_t start, uintptr_t end)
{
	uint64_t guard = pages_guard_category();

	return (struct scan_argument){
		.size = sizeof(struct scan_argument),
		.start = start,
		.end = end,
		.vector = (uintptr_t)pages.regions,
		.vector_length = REGIONS,
		.category_inverted = guard,
		.category_mask = guard,
		.category_anyof_mask = SCAN_IS_PRESENT | SCAN_IS_SWAPPED,
		.return_mask = SCAN_IS_FILE | SCAN_IS_PFNZERO | SCAN_IS_SWAPPED,
	};
}

void pages_hold(uintptr_t top, uintptr_t (*find_skipped)(uintptr_t address))
{
	pages_release();
	pages.hold.top = top;
	pages.hold.find_skipped = find_skipped;
}

void pages_release(void)
{
	pages.hold.top = 0;
	pages.answer.end = 0;
}

/* How far to ask when what ends at `end` is wanted: up to the next range that is skipped. */
static uintptr_t ask_until(uintptr_t end)
{
	if (pages.hold.top == 0)
		return end;
	return max_u64(end, min_u64(pages.hold.top, pages.hold.find_skipped(end)));
}

/* Has an answer that covers `start`. */
static bool ask(uintptr_t start, uintptr_t end)
{
	struct scan_argument argument;
	long count;

	if (start >= pages.answer.start && start < pages.answer.end)
		return true;
	argument = scan_request(start, ask_until(end));
	do {
		count = SYSCALL(ioctl, proc_descriptor(PROC_PAGEMAP), SCAN_REQUEST, &argument);
	} while (count == -EINTR);
	pages.answer.end = 0;
	if (syscall_failed(count) || argument.walk_end <= start)
		return false;
	pages.answer.start = start;
	pages.answer.end = argument.walk_end;
	pages.answer.count = (size_t)count;
	pages.answer.next = 0;
	pages_beat();
	return true;
}

static bool region_is_wanted(const struct scan_region *region, enum page_choice choice)
{
	return choice != PAGES_OWN || (region->categories & (SCAN_IS_FILE | SCAN_IS_PFNZERO)) == 0;
}

/* The region of the answer in which `address` lies, or the next one. */
static size_t find_region(uintptr_t address)
{
	size_t i = pages.answer.next;

	if (i > 0 && pages.regions[i - 1].end > address)
		i = 0;
	while (i < pages.answer.count && pages.regions[i].end <= address)
		i++;
	pages.answer.next = i;
	return i;
}

/* The part of the answer that lies in [start, end). */
static bool add_answer(struct walk *walk, uintptr_t start, uintptr_t end, enum page_choice choice)
{
	for (size_t i = find_region(start); i < pages.answer.count && pages.regions[i].start < end;
		i++) {
		const struct scan_region *region = &pages.regions[i];

		if (region_is_wanted(region, choice) &&
			!add_present(
				walk, max_u64(region->start, start), min_u64(region->end, end)))
			return false;
	}
	return true;
}

bool pages_are_present(uintptr_t start, uintptr_t end)
{
	size_t i;

	if (pages.hold.top == 0 || proc_descriptor(PROC_PAGEMAP) < 0 || !pages_scan_is_fast() ||
		!ask(align_down(start, OS_PAGE_BYTES), align_up(end, OS_PAGE_BYTES)))
		return false;
	i = find_region(start);
	return i < pages.answer.count && pages.regions[i].start <= start &&
	       pages.regions[i].end >= end && (pages.regions[i].categories & SCAN_IS_SWAPPED) == 0;
}

static bool walk_fast(struct walk *walk, uintptr_t start, uintptr_t end, enum page_choice choice)
{
	if (pages.hold.top == 0)
		pages.answer.end = 0;
	while (start < end) {
		uintptr_t part_end;

		if (!ask(start, end))
			return false;
		part_end = min_u64(end, pages.answer.end);
		if (!add_answer(walk, start, part_end, choice))
			return false;
		start = part_end;
	}
	return true;
}

/* Without page tables: what is in memory, whoever's it is. */
static bool walk_resident(struct walk *walk, uintptr_t start, uintptr_t end)
{
	walk->mincore_budget = UINT64_MAX;
	return add_cached(walk, start, end);
}

static bool entry_is_wanted(uint64_t entry, enum page_choice choice)
{
	if ((entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) == 0 || (entry & ENTRY_GUARD))
		return false;
	return choice != PAGES_OWN || (entry & ENTRY_FILE) == 0;
}

static bool walk_slow(struct walk *walk, uintptr_t start, uintptr_t end, enum page_choice choice)
{
	while (start < end) {
		size_t count = min_u64((end - start) / OS_PAGE_BYTES, ENTRIES);
		long bytes = SYSCALL(pread64, proc_descriptor(PROC_PAGEMAP), pages.entries,
			count * sizeof(uint64_t), start / OS_PAGE_BYTES * sizeof(uint64_t));

		if (syscall_failed(bytes) || bytes < (long)sizeof(uint64_t))
			return false;
		count = (size_t)bytes / sizeof(uint64_t);
		for (size_t i = 0; i < count; i++) {
			uintptr_t page = start + i * OS_PAGE_BYTES;

			if (entry_is_wanted(pages.entries[i], choice) &&
				!add_present(walk, page, page + OS_PAGE_BYTES))
				return false;
		}
		start += count * OS_PAGE_BYTES;
		pages_beat();
	}
	return true;
}

/* Tries the call on a page of our own, first with the newest category. */
static void probe_scan(void)
{
	static const uint8_t candidates[] = {SCAN_WITH_GUARD, SCAN_PLAIN};
	uintptr_t page = align_down((uintptr_t)&pages, OS_PAGE_BYTES);

	for (size_t i = 0; i < sizeof(candidates); i++) {
		struct scan_argument argument;

		pages.scan = candidates[i];
		argument = scan_request(page, page + OS_PAGE_BYTES);
		if (!syscall_failed(
			    SYSCALL(ioctl, proc_descriptor(PROC_PAGEMAP), SCAN_REQUEST, &argument)))
			return;
	}
	pages.scan = SCAN_ABSENT;
}

bool pages_scan_is_fast(void)
{
	if (pages.scan == SCAN_UNKNOWN)
		probe_scan();
	return pages.scan != SCAN_ABSENT;
}

void pages_set_beat(void (*function)(void))
{
	pages.beat = function;
}

void pages_scan_set_fast(bool fast)
{
	pages.scan = fast ? SCAN_UNKNOWN : SCAN_ABSENT;
}

bool pages_for_each(uintptr_t start, uintptr_t end, enum page_choice choice,
	bool (*visit)(uintptr_t start, uintptr_t end, void *argument), void *argument)
{
	struct walk walk = {
		.visit = visit,
		.argument = argument,
		.done_end = start,
		.shared = choice == PAGES_SHARED || choice == PAGES_WHOLE,
		.whole = choice == PAGES_WHOLE,
		.mincore_budget = MINCORE_BYTES_MAX,
		.missing_budget = MISSING_BYTES_MAX,
	};
	bool walked;

	if (proc_descriptor(PROC_PAGEMAP) < 0)
		return walk_resident(&walk, start, end) && flush_run(&walk);
	walked = pages_scan_is_fast() ? walk_fast(&walk, start, end, choice)
				      : walk_slow(&walk, start, end, choice);
	if (!walked)
		return false;
	if (walk.shared && walk.done_end < end && !add_cached(&walk, walk.done_end, end))
		return false;
	return flush_run(&walk);
}

static bool page_is_cached(uintptr_t page)
{
	unsigned char residency = 0;
	long result;

	if (!sandbox_allows(SANDBOX_CACHED))
		return true;
	result = SYSCALL(mincore, page, OS_PAGE_BYTES, &residency);
	return syscall_failed(result) ? result != -ENOMEM : residency & 1; // ENOMEM: not mapped
}

static bool page_is_present(uintptr_t page)
{
	uint64_t entry;

	if (pages_scan_is_fast()) {
		struct scan_argument argument = scan_request(page, page + OS_PAGE_BYTES);
		struct scan_region region;

		argument.vector = (uintptr_t)&region; // the other one is in use
		argument.vector_length = 1;
		return SYSCALL(ioctl, proc_descriptor(PROC_PAGEMAP), SCAN_REQUEST, &argument) != 0;
	}
	if (SYSCALL(pread64, proc_descriptor(PROC_PAGEMAP), &entry, sizeof(entry),
		    page / OS_PAGE_BYTES * sizeof(entry)) != sizeof(entry))
		return true;
	return entry_is_wanted(entry, PAGES_PRESENT);
}

bool page_has_contents(uintptr_t page)
{
	return proc_descriptor(PROC_PAGEMAP) < 0 || page_is_present(page) || page_is_cached(page);
}

/* "Swap:                 0 kB", a line of its own. */
bool pages_were_all_told(void)
{
	static const char name[] = "\nSwap:";
	char text[2048];
	long bytes;

	if (proc_descriptor(PROC_PAGEMAP) >= 0)
		return true;
	bytes = SYSCALL(pread64, proc_descriptor(PROC_ROLLUP), text, sizeof(text), 0);
	for (long i = 0, matched = 0; i < bytes; i++) {
		if (matched == (long)sizeof(name) - 1) {
			if (text[i] != ' ')
				return text[i] == '0';
		} else {
			matched = text[i] == name[matched] ? matched + 1 : text[i] == '\n';
		}
	}
	return false;
}

/* process_vm_readv by task id: by process id it fails once the main thread has exited. Returns the bytes read from the front. */
static size_t read_by_call(void *buffer, const struct iovec *pieces, size_t count, size_t bytes)
{
	struct iovec local = {buffer, bytes};
	long task = proc_task();
	long result;

	if (pages.no_vm_readv || !sandbox_allows(SANDBOX_READ))
		return 0;
	result = SYSCALL(process_vm_readv, task, &local, 1, pieces, count, 0);
	if (result == -EPERM || result == -ENOSYS)
		pages.no_vm_readv = true;
	return syscall_failed(result) ? 0 : (size_t)result;
}

bool memory_read_pieces(void *buffer, const struct iovec *pieces, size_t count, size_t bytes)
{
	return read_by_call(buffer, pieces, count, bytes) == bytes;
}

bool memory_read(void *buffer, uintptr_t address, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		struct iovec piece = {(void *)(address + done), bytes - done};
		long result;

		done += read_by_call((char *)buffer + done, &piece, 1, bytes - done);
		if (done == bytes)
			return true;
		// stopped at a page that may not be read, or the call is refused
		result = SYSCALL(pread64, proc_descriptor(PROC_MEM), (char *)buffer + done,
			bytes - done, address + done);
		if (syscall_failed(result) || result == 0)
			return false;
		done += (size_t)result;
	}
	return true;
}

/* The kernel copies the mask before it looks at what is to be done with it; EINVAL: that is nothing. */
bool memory_may_be_touched(uintptr_t address)
{
	return SYSCALL(rt_sigprocmask, -1, address, 0, sizeof(uint64_t)) != -EFAULT;
}
