/*
 * What the files of findings of the tests are about: built as -O2 -g, and never run. The numbered lines are looked for by the tests.
 */
#include <cstdlib>

extern "C" __attribute__((noinline)) void *plain_get(std::size_t bytes)
{
	void *block = std::malloc(bytes); /* line: plain */

	__asm__ volatile("" : "+r"(block));
	return block;
}

int shop_counter;

namespace shop
{

static inline __attribute__((always_inline)) void *innermost(std::size_t bytes)
{
	void *block = plain_get(bytes); /* line: innermost */

	__asm__ volatile("" : "+r"(block));
	return block;
}

static inline __attribute__((always_inline)) void *middle(std::size_t bytes)
{
	return innermost(bytes + 1); /* line: middle */
}

struct cart {
	int *items;

	__attribute__((noinline)) void add(int count, const char *name);
};

void cart::add(int count, const char *name)
{
	items = static_cast<int *>(middle(count + *name)); /* line: add */
	__asm__ volatile("" ::: "memory");
}

template <typename T> __attribute__((noinline)) T *fill(T *one)
{
	one->add(3, "x"); /* line: fill */
	__asm__ volatile("" ::: "memory");
	return one;
}

}

int main()
{
	shop::cart cart{};

	shop::fill(&cart); /* line: main */
	__asm__ volatile("" ::: "memory");
	return shop_counter;
}
