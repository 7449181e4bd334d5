/*
 * The words of a block, where nothing changes: in a child that is a copy of the process (copy.h). No lock is needed.
 */
#pragma once

#include "core/heap/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gets words that lay at `address`, piece by piece; pages that were never touched, or cannot be read, are left out. */
typedef void still_words_take(
	void *argument, uintptr_t address, const uintptr_t *words, size_t count);

/* Hands over what the block holds. False: the page tables could not be read. */
bool still_words_read(struct slot slot, still_words_take *take, void *argument);
