#include "core/alloc/sized_free.h"

#include "core/heap/heap.h"
#include "core/profile/misuse.h"

/* Blocks are resized in place by realloc() unless less than half would be used. */
static bool is_wrong_size(struct slot slot, size_t size, bool is_exact)
{
	size_t bytes = slot_bytes(slot), wanted = size + heap.pad;

	if (wanted < size || wanted > bytes)
		return true;
	if (is_exact && slot.span->kind == SPAN_SMALL)
		return size_class_of(wanted) != slot.span->class;
	return bytes > 4 * GRANULE_BYTES && wanted <= bytes / 2;
}

void alloc_check_freed(const void *pointer, size_t size, size_t alignment, bool is_exact)
{
	uintptr_t address = (uintptr_t)pointer;
	struct slot slot;

	if (!heap_find_block(address, &slot) || !state_is_live(load_relaxed(slot_state(slot))))
		return;
	if (alignment != 0 && (address & (alignment - 1)) != 0)
		misuse_note(FINDING_MISUSE_ALIGNMENT, pointer, slot_stack_id(slot));
	// what is aligned more takes more: only too large is certainly wrong
	else if (alignment > GRANULE_BYTES ? size > slot_bytes(slot)
					   : is_wrong_size(slot, size, is_exact))
		misuse_note(FINDING_MISUSE_SIZE, pointer, slot_stack_id(slot));
}
