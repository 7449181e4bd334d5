/*
 * Nothing is known of a block but the size of its slot, so what stands in front can only be compared with that.
 */
#include "core/gc/exact_words.h"

#include "core/base/atomic.h"
#include "core/os/pages.h"
#include "core/profile/module.h"

#include <string.h>

enum {
	TAG_BYTES = 8, // what low bits can tell apart
	COUNT_OFFSET_MAX = 64,
	SMALL_STRING_OFFSET = 9,
	LARGE_STRING_OFFSET = 17,
	OLD_STRING_OFFSET = 24,
	PYTHON_OFFSET = 16,
	PYTHON_OFFSET_MAX = 32,
	PYTHON_OWN_TYPES = 2, // a class, and its metaclass
};

/* A word of the block. Of memory that may not be read nothing is known, and 0 stands for it. */
static uintptr_t word_at(struct slot slot, size_t offset)
{
	uintptr_t word = 0, address = slot_address(slot) + offset;

	if (load_relaxed(&slot.span->odd))
		return memory_read(&word, address, sizeof(word)) ? word : 0;
	memcpy(&word, (const void *)address, sizeof(word));
	return word;
}

/* Of things, each a byte at least, from `offset` on. */
static bool may_be_count(struct slot slot, uintptr_t number, size_t offset)
{
	return number - 1 < slot_bytes(slot) - offset;
}

static bool is_behind_count(struct slot slot, size_t offset)
{
	if (offset > COUNT_OFFSET_MAX || (offset & (offset - 1)) != 0)
		return false;
	return may_be_count(slot, word_at(slot, offset - sizeof(uintptr_t)), offset) ||
	       (offset == 2 * sizeof(uintptr_t) && may_be_count(slot, word_at(slot, 0), offset));
}

static bool is_in_string(struct slot slot, size_t offset)
{
	uintptr_t length = word_at(slot, 0), capacity = word_at(slot, sizeof(length));

	if (offset == SMALL_STRING_OFFSET) {
		capacity = length >> 32;
		length = (uint32_t)length;
	} else if (offset != LARGE_STRING_OFFSET && offset != OLD_STRING_OFFSET) {
		return false;
	}
	return length <= capacity && may_be_count(slot, capacity, offset);
}

/* A type of the program's own is an object, too, and so may that one's type be. */
static bool is_python_object(struct slot slot, size_t offset, unsigned own_types)
{
	uintptr_t references, type;
	struct slot type_slot;

	if ((offset != PYTHON_OFFSET && offset != PYTHON_OFFSET_MAX) ||
		offset + 2 * sizeof(uintptr_t) > slot_bytes(slot))
		return false;
	references = word_at(slot, offset);
	type = word_at(slot, offset + sizeof(uintptr_t));
	if (references > UINT32_MAX)
		return false;
	return module_find_known(type) ||
	       (own_types > 0 && heap_find_slot(type, &type_slot) &&
		       is_python_object(type_slot, type - slot_address(type_slot), own_types - 1));
}

static bool is_behind_front(struct slot slot, size_t offset)
{
	const unsigned last_byte = 56;

	return offset % sizeof(uintptr_t) == 0 &&
	       word_at(slot, offset - sizeof(uintptr_t)) >> last_byte == offset;
}

static bool is_base_class(struct slot slot, size_t offset)
{
	return offset % sizeof(uintptr_t) == 0 && offset + sizeof(uintptr_t) <= slot_bytes(slot) &&
	       module_find_known(word_at(slot, 0)) && module_find_known(word_at(slot, offset));
}

bool exact_word(uintptr_t word, struct slot slot)
{
	size_t offset = word - slot_address(slot);

	return offset < TAG_BYTES || is_behind_count(slot, offset) || is_in_string(slot, offset) ||
	       is_python_object(slot, offset, PYTHON_OWN_TYPES) || is_behind_front(slot, offset) ||
	       is_base_class(slot, offset);
}
