/*
 * Statistics and tuning calls of <malloc.h>, answered with our own figures: what is in spans counts as in use, free spans as free.
 */
#include "core/base/attr.h"
#include "core/base/format.h"
#include "core/gc/cycle.h"
#include "core/gc/gate.h"
#include "core/heap/heap_stats.h"
#include "core/heap/meta.h"
#include "core/heap/page_heap.h"
#include "core/heap/central.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/os/lock.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

/* malloc_trim() waits so long for the end of a cycle. */
enum { WAIT_MS = 1000 };

struct figures {
	size_t used_bytes;  // in spans
	size_t free_bytes;  // in free runs, with or without pages
	size_t large_bytes; // of `used`, in large blocks
};

static struct figures read_figures(void)
{
	const struct page_heap_stats *pages = page_heap_stats();

	return (struct figures){
		.used_bytes = load_relaxed(&pages->used_unit_count) << UNIT_SHIFT,
		.free_bytes = (load_relaxed(&pages->dirty_unit_count) +
				      load_relaxed(&pages->clean_unit_count))
			      << UNIT_SHIFT,
		.large_bytes = load_relaxed(&heap_stats.large_bytes),
	};
}

EXPORT struct mallinfo2 mallinfo2(void)
{
	struct figures figures = read_figures();

	return (struct mallinfo2){
		.arena = figures.used_bytes + figures.free_bytes - figures.large_bytes,
		.ordblks = 1,
		.hblks = figures.large_bytes > 0,
		.hblkhd = figures.large_bytes,
		.uordblks = figures.used_bytes - figures.large_bytes,
		.fordblks = figures.free_bytes,
		.keepcost = figures.free_bytes,
	};
}

/* The old form, in int: glibc wraps around too. */
static struct mallinfo narrow(void)
{
	struct mallinfo2 wide = mallinfo2();

	return (struct mallinfo){
		.arena = (int)wide.arena,
		.ordblks = (int)wide.ordblks,
		.hblks = (int)wide.hblks,
		.hblkhd = (int)wide.hblkhd,
		.uordblks = (int)wide.uordblks,
		.fordblks = (int)wide.fordblks,
		.keepcost = (int)wide.keepcost,
	};
}

/* No glibc parameter means anything here; programs take a refusal for an error. */
EXPORT int mallopt(int parameter, int value)
{
	(void)parameter;
	(void)value;
	return 1;
}

EXPORT int malloc_trim(size_t keep_bytes)
{
	struct gate_frame frame = {0};
	struct signal_guard guard;
	size_t units = 0;
	bool is_taken;

	signals_block(&guard);
	// fork waits for this lock, or a child would miss the run that is being purged; it may be a cycle that holds it, and that this thread must stand still for
	gate_publish(&frame);
	gate_enter(&frame);
	is_taken = lock_acquire_timeout(cycle_lock(), WAIT_MS * NS_PER_MS);
	gate_leave(&frame);
	if (is_taken) {
		central_drain_stock();
		units = page_heap_purge(keep_bytes >> UNIT_SHIFT);
		lock_release(cycle_lock());
	}
	signals_restore(&guard);
	return units > 0;
}

EXPORT void malloc_stats(void)
{
	struct figures figures = read_figures();
	char text[256];
	size_t length = format_text(text, sizeof(text),
		"gasket: heap in use  = %12zu\ngasket: heap free    = %12zu\ngasket: large blocks = %12zu\n"
		"gasket: metadata     = %12zu\n",
		figures.used_bytes, figures.free_bytes, figures.large_bytes, meta_bytes());

	log_write(text, length);
}

EXPORT int malloc_info(int options, FILE *stream)
{
	struct figures figures = read_figures();

	if (options != 0)
		return EINVAL;
	fprintf(stream,
		"<malloc version=\"gasket-1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n<total type=\"rest\" count=\"1\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n</heap>\n<total type=\"mmap\" count=\"0\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n</malloc>\n",
		figures.free_bytes, figures.used_bytes + figures.free_bytes, figures.large_bytes,
		figures.used_bytes + figures.free_bytes);
	return 0;
}

/* Heaps cannot be saved into an executable: callers (old Emacs) take these answers for "no". */
void *malloc_get_state(void);
int malloc_set_state(void *state);

EXPORT void *malloc_get_state(void)
{
	return 0;
}

EXPORT int malloc_set_state(void *state)
{
	(void)state;
	return -1;
}

struct mallinfo __libc_mallinfo(void);
int __libc_mallopt(int parameter, int value);

EXPORT struct mallinfo mallinfo(void)
{
	return narrow();
}

EXPORT struct mallinfo __libc_mallinfo(void)
{
	return narrow();
}

EXPORT int __libc_mallopt(int parameter, int value)
{
	return mallopt(parameter, value);
}
