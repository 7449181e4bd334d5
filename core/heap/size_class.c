/*
 * The class tables, expanded from the generated lists.
 */
#include "core/heap/size_class.h"

#include <assert.h>

#define SIZE_CLASS(number, slot_bytes, magic, slots, units) \
	[number] = {slot_bytes, magic, slots, units, (slots + 63) / 64},
const struct size_class size_classes[SIZE_CLASS_COUNT + 2] = {
	SIZE_CLASS_LIST(SIZE_CLASS)
		// a large block: every granule belongs to slot 0
		[SIZE_CLASS_LARGE] = {0, 0, 1, 0, 1},
};
#undef SIZE_CLASS

const uint8_t size_class_of_granules[SMALL_BYTES_MAX / GRANULE_BYTES + 1] = {
	SIZE_CLASS_OF_GRANULES_LIST};

static_assert(sizeof(struct size_class) == 16, "four classes to a cache line");
static_assert(SIZE_CLASS_LARGE < 256, "a class fits one byte of the span map");
