/*
 * misuses [many]: frees what must not be freed, in each way that is told apart. With `many` 20000 blocks are freed twice.
 */
#include "tests/harness/frames.h"

#include <cstddef>
#include <cstdlib>
#include <new>

static char global[64] __attribute__((aligned(16)));
static void *volatile kept[4];

KEEP static void free_it(void *pointer)
{
	std::free(pointer);
	AFTER_CALL;
}

KEEP static void twice(int count)
{
	void *block = std::malloc(100);

	for (volatile int i = 0; i <= count; i++)
		free_it(block);
	AFTER_CALL;
}

KEEP static void inside()
{
	kept[0] = std::malloc(200);
	for (volatile int i = 0; i < 2; i++)
		free_it(static_cast<char *>(kept[0]) + 64);
	AFTER_CALL;
}

KEEP static void not_ours()
{
	free_it(global);
	AFTER_CALL;
}

KEEP static void on_stack()
{
	char local[64] __attribute__((aligned(16)));

	__asm__ volatile("" : : "r"(local) : "memory");
	free_it(local);
	AFTER_CALL;
}

KEEP static void other_size()
{
	for (volatile int i = 0; i < 2; i++)
		::operator delete(::operator new(100), std::size_t(400));
	AFTER_CALL;
}

KEEP static void other_size_of_large()
{
	::operator delete(::operator new(1000000), std::size_t(100));
	AFTER_CALL;
}

KEEP static void other_alignment()
{
	void *first = ::operator new(48), *second = ::operator new(48);
	// of two neighbours one at least lies badly
	void *bad = reinterpret_cast<std::size_t>(first) % 4096 ? first : second;

	::operator delete(bad, std::size_t(48), std::align_val_t(4096));
	::operator delete(bad == first ? second : first);
	AFTER_CALL;
}

/* None of these is wrong. */
KEEP static void right()
{
	for (std::size_t size = 0; size < 200000; size = size * 3 / 2 + 1) {
		::operator delete(::operator new(size), size);
		::operator delete[](::operator new[](size), size);
		::operator delete(
			::operator new(size, std::align_val_t(64)), size, std::align_val_t(64));
	}
}

int main(int count, char **)
{
	right();
	if (count > 1) {
		twice(20000);
		return 0;
	}
	twice(3);
	twice(1);
	inside();
	not_ours();
	on_stack();
	other_size();
	other_size_of_large();
	other_alignment();
	return 0;
}
