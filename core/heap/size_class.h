/*
 * Size classes: the sizes of slots. The table is generated (scripts/gen_size_classes), which proves the division trick by trying every offset.
 */
#pragma once

#include "core/base/attr.h"
#include "core/base/bits.h"
#include "core/heap/size_class_table.h"

#include <stddef.h>
#include <stdint.h>

#define UNIT_BYTES 65536u /* a span is a whole number of units */
#define UNIT_SHIFT 16
#define GRANULE_BYTES 16u /* smallest slot and smallest step */
#define GRANULE_SHIFT 4
#define DIVISION_SHIFT 3 /* offsets are divided by slot sizes in units of 8 bytes */
#define SIZE_CLASS_LARGE (SIZE_CLASS_COUNT + 1) /* one block that fills its span */

/* What is constant about a class. 16 bytes: four to a cache line. */
struct size_class {
	uint32_t slot_bytes;
	uint32_t magic;       // ceil(2^32 / (slot_bytes / 8)): slot = (offset / 8 * magic) >> 32
	uint16_t slot_count;  // slots of a span
	uint16_t unit_count;  // units of a span
	uint32_t group_count; // groups of 64 slots
};

/* A number for the size of any block: its class, or for a large one BLOCK_CLASS_LARGE and the power of two. */
enum { BLOCK_CLASS_LARGE = 128, BLOCK_CLASS_COUNT = 256 };

extern const struct size_class size_classes[SIZE_CLASS_COUNT + 2] HIDDEN;
extern const uint8_t size_class_of_granules[SMALL_BYTES_MAX / GRANULE_BYTES + 1] HIDDEN;

/* Class of a small size; `bytes` is at most SMALL_BYTES_MAX. */
static inline unsigned size_class_of(size_t bytes)
{
	return size_class_of_granules[(bytes + GRANULE_BYTES - 1) >> GRANULE_SHIFT];
}

/* `slot_bytes` is what a block occupies. */
static inline unsigned block_class_of(size_t slot_bytes)
{
	return slot_bytes <= SMALL_BYTES_MAX ? size_class_of(slot_bytes)
					     : BLOCK_CLASS_LARGE + highest_bit(slot_bytes);
}
