/*
 * Memory of the program is read by plain loads, but for spans whose protection it may have changed: those are copied by the kernel. Of large blocks only pages that hold
 * something are touched.
 */
#include "core/gc/still_words.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/os/arch.h"
#include "core/os/memory.h"
#include "core/os/pages.h"

enum { SPARSE_BYTES_MIN = 1 << 20, COPY_WORDS = 2048 };

/* Of a block, what is read, and who gets it. */
struct reading {
	uintptr_t start, end;
	still_words_take *take;
	void *argument;
};

static bool hand_over(uintptr_t start, uintptr_t end, void *argument)
{
	const struct reading *reading = argument;

	start = max_u64(start, reading->start);
	end = min_u64(end, reading->end);
	reading->take(reading->argument, start, (const uintptr_t *)start,
		(end - start) / sizeof(uintptr_t));
	return true;
}

/* A page that cannot be read holds nothing for us. */
static bool copy_and_hand_over(uintptr_t start, uintptr_t end, void *argument)
{
	static uintptr_t copy[COPY_WORDS]; // the child has one thread
	const struct reading *reading = argument;

	start = max_u64(start, reading->start);
	end = min_u64(end, reading->end);
	for (uintptr_t at = start; at < end; at += sizeof(copy)) {
		size_t bytes = min_u64(sizeof(copy), end - at);

		if (memory_read(copy, at, bytes))
			reading->take(reading->argument, at, copy, bytes / sizeof(uintptr_t));
	}
	return true;
}

bool still_words_read(struct slot slot, still_words_take *take, void *argument)
{
	uintptr_t start = slot_address(slot), end = start + slot_written_bytes(slot);
	struct reading reading = {start, end, take, argument};
	bool is_odd = load_relaxed(&slot.span->odd);

	if (!is_odd && end - start < SPARSE_BYTES_MIN)
		return hand_over(start, end, &reading);
	return pages_for_each(align_down(start, OS_PAGE_BYTES), align_up(end, OS_PAGE_BYTES),
		PAGES_PRESENT, is_odd ? copy_and_hand_over : hand_over, &reading);
}
