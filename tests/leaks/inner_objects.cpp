/*
 * Arrays with the number of their elements in front, and objects that are held by a base class that is not the first.
 */
#include "tests/leaks/inner.h"
#include "tests/leaks/shape.h"

namespace
{

struct element {
	long text[3];
	~element()
	{
		use(text);
	}
};

struct alignas(64) wide_element {
	long text[8];
	~wide_element()
	{
		use(text);
	}
};

struct first {
	long number = 0;
	virtual ~first() = default;
};

struct second {
	long number = 0;
	virtual ~second() = default;
};

struct both : first, second {
	long more[10] = {};
};

struct derived : virtual second {
	long more[10] = {};
	virtual void nothing() const
	{
	}
};

element *elements;
wide_element *wide_elements;
second *by_second_base, *by_virtual_base;

} // namespace

void inner_array(bool)
{
	elements = new element[5];
	use(&elements);
}

void inner_aligned_array(bool)
{
	wide_elements = new wide_element[5];
	use(&wide_elements);
}

void inner_second_base(bool)
{
	by_second_base = new both();
	use(&by_second_base);
}

void inner_virtual_base(bool)
{
	by_virtual_base = new derived();
	use(&by_virtual_base);
}
