/*
 * Write tracking. With HARVEST_PROTECT the kernel itself picks written pages and protects them in the same step. What is not watched is asked for by itself: watched
 * mappings are skipped whole then; in one question, for all pages with their bits, the walk takes four times as long as both (1.4 GiB: 5.5 ms against
 * 1.6 ms and 0.07 ms).
 */
#include "core/os/tracking.h"

#include "core/base/arith.h"
#include "core/os/arch.h"
#include "core/os/memory.h"
#include "core/os/page_scan.h"
#include "core/os/pages.h"
#include "core/os/proc.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <fcntl.h>

/* linux/userfaultfd.h of Linux 6.7. */
enum { USER_MODE_ONLY = 1, API = 0xaa, MODE_WP = 2, WAKE_NOBODY = 2 };
#define FEATURE_PAGEFAULT_FLAG_WP (1ull << 0)
#define FEATURE_WP_UNPOPULATED (1ull << 13)
#define FEATURE_WP_ASYNC (1ull << 15)

struct api_argument {
	uint64_t api, features, ioctls;
};

struct range_argument {
	uint64_t start, bytes;
};

struct register_argument {
	struct range_argument range;
	uint64_t mode, ioctls;
};

struct protect_argument {
	struct range_argument range;
	uint64_t mode;
};

#define API_REQUEST _IOWR(0xaa, 0x3f, struct api_argument)
#define REGISTER_REQUEST _IOWR(0xaa, 0x00, struct register_argument)
#define UNREGISTER_REQUEST _IOR(0xaa, 0x01, struct range_argument)
#define PROTECT_REQUEST _IOWR(0xaa, 0x06, struct protect_argument)

enum {
	REGIONS = 1024,
	PIECE_BYTES = 32 << 20, // of one scan: 0.3 ms
	PROBE_PAGES = 4,
};

/* The collector thread's. */
static struct {
	enum { UNKNOWN, ABSENT, OPEN } state;
	long descriptor;
	struct scan_region regions[REGIONS];
} tracking;

bool tracking_register(uintptr_t start, uintptr_t end)
{
	struct register_argument argument = {{start, end - start}, MODE_WP, 0};

	return !syscall_failed(SYSCALL(ioctl, tracking.descriptor, REGISTER_REQUEST, &argument));
}

void tracking_unregister(uintptr_t start, uintptr_t end)
{
	struct range_argument range = {start, end - start};

	// in a fork child the descriptor is gone, and the ranges are not registered
	if (tracking.state == OPEN)
		SYSCALL(ioctl, tracking.descriptor, UNREGISTER_REQUEST, &range);
}

/* What one scan tells: pages of which all of `of` is set (and any of PRESENT and SWAPPED), after the bits of `inverted` are turned around. */
struct question {
	uint64_t flags, inverted, of;
};

/*
 * WATCHED stands beside WRITTEN for a reason: asked for WRITTEN alone Linux 6.7 to 6.15 take a short cut that reads the bit of a page in memory from the entry of a
 * page that is swapped out or on the move.
 */
static const struct question questions[] = {
	[HARVEST_PROTECT] = {SCAN_PROTECT, 0, SCAN_IS_WATCHED | SCAN_IS_WRITTEN},
	[HARVEST_WRITTEN] = {0, 0, SCAN_IS_WATCHED | SCAN_IS_WRITTEN},
	[HARVEST_UNWATCHED] = {0, SCAN_IS_WATCHED, SCAN_IS_WATCHED},
};

/* One scan from `start` on. Returns the number of regions, or -1; *ret_done is how far it came. */
static long scan(
	uintptr_t start, uintptr_t end, const struct question *question, uintptr_t *ret_done)
{
	struct scan_argument argument = {
		.size = sizeof(argument),
		.flags = question->flags,
		.start = start,
		.end = end,
		.vector = (uintptr_t)tracking.regions,
		.vector_length = REGIONS,
		.category_inverted = question->inverted | pages_guard_category(),
		.category_mask = question->of | pages_guard_category(),
		.category_anyof_mask = SCAN_IS_PRESENT | SCAN_IS_SWAPPED,
		.return_mask = SCAN_IS_WATCHED | SCAN_IS_WRITTEN,
	};
	long count;

	do {
		count = SYSCALL(ioctl, proc_descriptor(PROC_PAGEMAP), SCAN_REQUEST, &argument);
	} while (count == -EINTR);
	if (syscall_failed(count) || argument.walk_end <= start)
		return -1;
	*ret_done = argument.walk_end;
	return count;
}

bool tracking_harvest(uintptr_t start, uintptr_t end, enum tracking_harvest how,
	bool (*visit)(uintptr_t start, uintptr_t end, void *argument), void *argument)
{
	// watched mappings cost nothing then
	uint64_t piece_bytes = how == HARVEST_UNWATCHED ? UINT64_MAX : PIECE_BYTES;

	while (start < end) {
		long count = scan(
			start, start + min_u64(end - start, piece_bytes), &questions[how], &start);

		if (count < 0)
			return false;
		for (long i = 0; i < count; i++) {
			if (!visit(tracking.regions[i].start, tracking.regions[i].end, argument))
				return false;
		}
		pages_beat();
	}
	return true;
}

void tracking_release(uintptr_t start, uintptr_t end)
{
	struct protect_argument argument = {{start, end - start}, WAKE_NOBODY};

	if (tracking.state == OPEN)
		SYSCALL(ioctl, tracking.descriptor, PROTECT_REQUEST, &argument);
}

/* ---- the probe ---- */

static bool add_pages(uintptr_t start, uintptr_t end, void *argument)
{
	*(uint64_t *)argument += (end - start) / OS_PAGE_BYTES;
	return true;
}

static uint64_t count_written(uintptr_t start, enum tracking_harvest how)
{
	uint64_t pages = 0;

	return tracking_harvest(start, start + PROBE_PAGES * OS_PAGE_BYTES, how, add_pages, &pages)
		       ? pages
		       : UINT64_MAX;
}

static void touch(uintptr_t page)
{
	store_relaxed((char *)page, 1);
}

/* Three pages of four are touched, armed, and one of them and the fourth written: these two must be told, again and again until armed anew. */
static bool works(uintptr_t start)
{
	for (uintptr_t i = 0; i < PROBE_PAGES - 1; i++)
		touch(start + i * OS_PAGE_BYTES);
	if (!tracking_register(start, start + PROBE_PAGES * OS_PAGE_BYTES) ||
		count_written(start, HARVEST_PROTECT) != PROBE_PAGES - 1 ||
		count_written(start, HARVEST_WRITTEN) != 0)
		return false;
	touch(start + OS_PAGE_BYTES);
	touch(start + (PROBE_PAGES - 1) * OS_PAGE_BYTES);
	return count_written(start, HARVEST_WRITTEN) == 2 &&
	       count_written(start, HARVEST_PROTECT) == 2 &&
	       count_written(start, HARVEST_WRITTEN) == 0;
}

static bool open_and_try(void)
{
	struct api_argument api = {
		API, FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED | FEATURE_PAGEFAULT_FLAG_WP, 0};
	void *memory;
	bool is_working = false;

	tracking.descriptor = SYSCALL(userfaultfd, USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK);
	if (syscall_failed(tracking.descriptor))
		return false;
	memory = os_map(PROBE_PAGES * OS_PAGE_BYTES);
	if (memory && !syscall_failed(SYSCALL(ioctl, tracking.descriptor, API_REQUEST, &api)))
		is_working = works((uintptr_t)memory);
	if (memory)
		os_unmap(memory, PROBE_PAGES * OS_PAGE_BYTES);
	if (!is_working)
		SYSCALL(close, tracking.descriptor);
	return is_working;
}

bool tracking_open(void)
{
	if (tracking.state == UNKNOWN && (STORES_IN_ORDER && proc_descriptor(PROC_PAGEMAP) >= 0 &&
						 sandbox_allows(SANDBOX_TRACK)))
		tracking.state = open_and_try() ? OPEN : ABSENT;
	return tracking.state == OPEN;
}

bool tracking_is_open(void)
{
	return tracking.state == OPEN;
}

void tracking_close(void)
{
	if (tracking.state == OPEN)
		SYSCALL(close, tracking.descriptor);
	tracking_forget();
}

void tracking_forget(void)
{
	if (tracking.state != UNKNOWN)
		tracking.state = UNKNOWN;
}
