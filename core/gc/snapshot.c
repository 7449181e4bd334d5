/*
 * The snapshot tier. The shared memory is mapped before the pause, and is left out of all other children but ours. The child is not waited for by a word in it but
 * by its end, for it may be killed at any moment.
 */
#include "core/gc/snapshot.h"

#include "core/base/arith.h"
#include "core/base/option.h"
#include "core/gc/concurrent.h"
#include "core/gc/copy.h"
#include "core/gc/cycle.h"
#include "core/gc/leisure.h"
#include "core/gc/mark.h"
#include "core/gc/roots.h"
#include "core/heap/groups.h"
#include "core/heap/heap.h"
#include "core/heap/page_heap.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/os/tracking.h"

#include <string.h>
#include <sys/mman.h>

enum {
	NAP_NS = 500000,        // between two looks at the child
	PATIENCE_MS = 50,       // for threads that move pages
	SPARE_GROUPS = 1 << 14, // that may be made until the pause
};

/* What parent and child share. */
struct image {
	uint32_t is_done;    // by the child, when all marks stand
	uint32_t is_hurried; // by the parent: somebody waits for them
	uint64_t marks[];    // of the groups from -count up, as the child left them
};

/* The collector thread's. */
static struct {
	struct image *image;
	size_t bytes;
	uint32_t room;  // groups
	uint32_t count; // at the pause
	long child;     // 0: none
} snapshot;

bool snapshot_is_available(void)
{
	// with free=trust a slot gets its next owner without a sweep
	return options.free != FREE_TRUST && sandbox_allows(SANDBOX_SNAPSHOT);
}

/* ---- the child ---- */

static void rest_unless_hurried(void)
{
	uint64_t rest = load_acquire(&snapshot.image->is_hurried) ? 0 : leisure_due_ns();

	if (rest > 0)
		futex_wait_shared(&snapshot.image->is_hurried, 0, rest);
}

static int mark_into_image(void *nothing)
{
	struct image *image = snapshot.image;

	(void)nothing;
	memcpy(image->marks, heap.marks - snapshot.count, snapshot.count * sizeof(*image->marks));
	heap.marks = image->marks + snapshot.count;
	leisure_begin(leisure_hurry(LEISURE_FULL)); // with the CPU time of the child
	mark_set_pace(&marker, rest_unless_hurried);
	if (!mark_all_again(&marker))
		return 1;
	if (CHECKS && options.scribble)
		mark_check_closed();
	store_release(&image->is_done, 1u);
	return 0;
}

/* ---- the parent ---- */

static bool map_image(void)
{
	void *memory;

	snapshot.room = groups_count() + groups_count() / 8 + SPARE_GROUPS;
	snapshot.bytes =
		align_up(sizeof(struct image) + snapshot.room * sizeof(uint64_t), OS_PAGE_BYTES);
	memory = os_map_shared(snapshot.bytes);
	if (!memory)
		return false;
	SYSCALL(madvise, memory, snapshot.bytes, MADV_DONTFORK);
	snapshot.image = memory;
	return true;
}

static void unmap_image(void)
{
	if (snapshot.image)
		os_unmap(snapshot.image, snapshot.bytes);
	snapshot.image = 0;
}

bool snapshot_begin(void)
{
	if (map_image() && page_heap_end_moves(PATIENCE_MS * NS_PER_MS) && concurrent_preset())
		return true;
	snapshot_end(false);
	return false;
}

bool snapshot_take(void)
{
	snapshot.count = groups_count();
	if (snapshot.count > snapshot.room)
		return false;
	mark_flush(&marker); // the child marks elsewhere
	SYSCALL(madvise, snapshot.image, snapshot.bytes, MADV_DOFORK);
	snapshot.child = copy_make("gasket-mark", mark_into_image, 0);
	SYSCALL(madvise, snapshot.image, snapshot.bytes, MADV_DONTFORK);
	return snapshot.child != 0;
}

static bool child_has_ended(uint64_t *ret_cpu_ns)
{
	struct copy_end end;

	if (!copy_has_ended(snapshot.child, &end))
		return false;
	snapshot.child = 0;
	*ret_cpu_ns = end.cpu_ns;
	return true;
}

static void end_child(void)
{
	if (snapshot.child != 0)
		copy_kill(snapshot.child);
	snapshot.child = 0;
}

static void hurry_child(void)
{
	if (cycle_leisure() != LEISURE_NONE || load_relaxed(&snapshot.image->is_hurried))
		return;
	store_release(&snapshot.image->is_hurried, 1u);
	futex_wake_shared(&snapshot.image->is_hurried, INT32_MAX);
}

bool snapshot_wait(uint64_t *ret_cpu_ns)
{
	uint32_t nobody = 0;

	*ret_cpu_ns = 0;
	while (!child_has_ended(ret_cpu_ns)) {
		if (!cycle_may_go_on())
			return false;
		hurry_child();
		futex_wait(&nobody, 0, NAP_NS);
	}
	if (!load_acquire(&snapshot.image->is_done))
		return false;
	if (!CHECKS || !roots_are_off("image"))
		mark_add(snapshot.image->marks + snapshot.count);
	return true;
}

bool snapshot_end(bool has_verdict)
{
	end_child();
	unmap_image();
	if (!tracking_is_open())
		page_heap_allow_moves();
	if (has_verdict && concurrent_end())
		return true;
	concurrent_abort();
	return false;
}
