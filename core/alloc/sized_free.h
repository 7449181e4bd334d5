/*
 * Frees that tell a size or an alignment (sized delete, free_sized): what they tell is a hint to the allocator and is not used. With stacks=all it is compared
 * with what was allocated, and what cannot be true is noted as misuse (core/profile/misuse.h); then the block is freed as ever.
 */
#pragma once

#include "core/base/attr.h"
#include "core/base/option.h"

#include <stdbool.h>
#include <stddef.h>

/* `alignment` 0: none was told. `is_exact`: the block was never resized, so that every size of another size class is wrong. */
void alloc_check_freed(const void *pointer, size_t size, size_t alignment, bool is_exact);

static ALWAYS_INLINE bool alloc_checks_freed(void)
{
	return UNLIKELY(options.stacks == STACKS_ALL);
}
