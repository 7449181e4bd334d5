#include "core/base/sort.h"

#include "core/base/check.h"

struct array {
	char *items;
	size_t bytes;
	bool (*is_less)(const void *, const void *);
};

/* gcc makes a call of memcpy of this, which is safe: libc's copies allocate nothing. */
static void copy_item(const struct array *array, void *target, const void *source)
{
	__builtin_memcpy(target, source, array->bytes);
}

static char *item_at(const struct array *array, size_t index)
{
	return array->items + index * array->bytes;
}

/* Moves the item at `root` down until no child is greater. */
static void sift_down(const struct array *array, size_t root, size_t count)
{
	char moving[SORT_ITEM_BYTES_MAX] __attribute__((aligned(16)));

	copy_item(array, moving, item_at(array, root));
	for (;;) {
		size_t child = 2 * root + 1;

		if (child >= count)
			break;
		if (child + 1 < count &&
			array->is_less(item_at(array, child), item_at(array, child + 1)))
			child++;
		if (!array->is_less(moving, item_at(array, child)))
			break;
		copy_item(array, item_at(array, root), item_at(array, child));
		root = child;
	}
	copy_item(array, item_at(array, root), moving);
}

void sort_items(
	void *items, size_t count, size_t bytes, bool (*is_less)(const void *a, const void *b))
{
	struct array array = {items, bytes, is_less};
	char last[SORT_ITEM_BYTES_MAX] __attribute__((aligned(16)));

	check(bytes <= SORT_ITEM_BYTES_MAX);
	for (size_t i = count / 2; i > 0; i--)
		sift_down(&array, i - 1, count);
	for (size_t end = count; end > 1; end--) {
		copy_item(&array, last, item_at(&array, end - 1));
		copy_item(&array, item_at(&array, end - 1), item_at(&array, 0));
		copy_item(&array, item_at(&array, 0), last);
		sift_down(&array, 0, end - 1);
	}
}
