/* Every size, and every offset of every class: the multiplication divides exactly. */
#include "tests/harness/test.h"

#include "core/heap/heap.h"

TEST(each_size_has_the_smallest_class_that_fits)
{
	for (size_t bytes = 0; bytes <= SMALL_BYTES_MAX; bytes++) {
		unsigned class = size_class_of(bytes);

		CHECK(class >= 1 && class <= SIZE_CLASS_COUNT);
		CHECK_GE(size_classes[class].slot_bytes, bytes);
		CHECK(class == 1 || size_classes[class - 1].slot_bytes < bytes);
	}
}

TEST(classes_fill_their_spans_and_groups)
{
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		const struct size_class *entry = &size_classes[class];
		size_t span = (size_t)entry->unit_count << UNIT_SHIFT;

		CHECK_EQ(entry->slot_bytes % GRANULE_BYTES, 0u);
		CHECK_EQ(entry->slot_count, span / entry->slot_bytes);
		CHECK_EQ(entry->group_count, (entry->slot_count + 63u) / 64);
		CHECK_LE((size_t)entry->slot_count, (size_t)SPAN_SLOTS_MAX);
	}
	CHECK_EQ(size_classes[0].magic, 0u);
	CHECK_EQ(size_classes[SIZE_CLASS_LARGE].magic, 0u);
}

TEST(division_is_exact_for_every_offset)
{
	heap.base = 1ull << 40;
	for (unsigned class = 1; class <= SIZE_CLASS_COUNT; class ++) {
		const struct size_class *entry = &size_classes[class];

		for (size_t offset = 0; offset < (size_t)entry->unit_count << UNIT_SHIFT;
			offset += 8) {
			uint64_t map_entry = MAP_ENTRY(class, offset >> UNIT_SHIFT, 1);
			uint64_t quotient = span_quotient(heap.base + offset, map_entry, class);
			bool is_start = (uint32_t)quotient < entry->magic;

			CHECK_EQ(quotient >> 32, offset / entry->slot_bytes);
			CHECK_EQ(is_start, offset % entry->slot_bytes == 0);
		}
	}
}
