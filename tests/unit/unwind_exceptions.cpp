/*
 * A library for tests/unit/unwind_chains.c: calls back while an exception passes, and while it is handled.
 */
extern "C" void unwind_through_exception(void (*call_back)(void));

namespace
{

struct guard {
	void (*call_back)(void);
	~guard()
	{
		call_back();
	}
};

__attribute__((noinline)) void thrower(int value)
{
	if (value > 0)
		throw value;
}

__attribute__((noinline)) void passed(void (*call_back)(void), int value)
{
	guard one{call_back};
	volatile char room[300];

	room[value] = (char)value;
	value = room[value];
	thrower(value);
}

__attribute__((noinline)) void rethrower(void (*call_back)(void), int value)
{
	try {
		passed(call_back, value);
	} catch (int) {
		call_back();
		throw;
	}
}

} // namespace

void unwind_through_exception(void (*call_back)(void))
{
	try {
		rethrower(call_back, 7);
	} catch (int) {
		call_back();
	}
	__asm__ volatile("" : : : "memory");
}
