/*
 * A plugin for tests/preload/storm.c: its constructors and destructors allocate, and it throws. Built several times with different PLUGIN, which
 * makes the code of each another size: one takes the addresses that another has just left.
 */
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef PLUGIN
#define PLUGIN 1
#endif

extern "C" long storm_plugin_run(long (*call_back)(long), long value);

namespace
{

struct holder {
	std::vector<std::string> texts;
	holder()
	{
		for (int i = 0; i < 20; i++)
			texts.push_back(std::string(30 + 7 * (size_t)i, 'c'));
	}
	~holder()
	{
		free(malloc(40));
		texts.push_back("the end, which is long enough to be allocated");
	}
};

holder global;

template <int size> __attribute__((noinline)) long deep(long (*call_back)(long), long value)
{
	std::string text(64, 'a');
	volatile char room[size];

	room[value & 7] = 1;
	if (value % 3 == 0)
		throw std::runtime_error(text + std::to_string(value));
	return call_back(value) + room[7];
}

template <int depth> struct chain {
	static __attribute__((noinline)) long run(long (*call_back)(long), long value)
	{
		std::vector<long> values((size_t)(depth + 4), value);

		return chain<depth - 1>::run(call_back, value) + values[2];
	}
};

template <> struct chain<0> {
	static long run(long (*call_back)(long), long value)
	{
		return deep<100 * PLUGIN>(call_back, value);
	}
};

} // namespace

long storm_plugin_run(long (*call_back)(long), long value)
{
	try {
		return chain<6 * PLUGIN>::run(call_back, value);
	} catch (const std::exception &problem) {
		return call_back((long)problem.what()[0]);
	}
}
