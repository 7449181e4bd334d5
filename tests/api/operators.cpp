/*
 * Every C++ allocation function, one line a row; tests/api/compare runs it with libstdc++'s operators and with ours. The same source
 * makes a second program that replaces only operator new(size_t) and operator delete(void *): with -DREPLACED=1 its own operators must be called,
 * also through the forms it did not replace, as the standard says.
 */
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

static unsigned long own_news, own_deletes;

#if REPLACED
void *operator new(std::size_t size)
{
	own_news++;
	void *pointer = std::malloc(size ? size : 1);
	if (!pointer)
		throw std::bad_alloc();
	return pointer;
}

void operator delete(void *pointer) noexcept
{
	own_deletes++;
	std::free(pointer);
}
#endif

struct alignas(64) wide {
	char bytes[200];
};

static bool is_aligned(const void *pointer, std::size_t alignment)
{
	return pointer && reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0;
}

static volatile std::size_t huge = SIZE_MAX / 2 + 2;
static volatile std::size_t zero = 0;

static void plain()
{
	void *one = ::operator new(100), *two = ::operator new[](100);
	std::printf("plain: %d %d\n", is_aligned(one, 16), is_aligned(two, 16));
	::operator delete(one);
	::operator delete[](two);
}

static void sized()
{
	::operator delete(::operator new(100), std::size_t(100));
	::operator delete[](::operator new[](100), std::size_t(100));
	// A wrong size must be harmless with us; libstdc++ ignores it.
	::operator delete(::operator new(1000), std::size_t(16));
	std::printf("sized: done\n");
}

static void nothrow()
{
	void *one = ::operator new(100, std::nothrow), *two = ::operator new[](100, std::nothrow);
	std::printf("nothrow: %d %d", is_aligned(one, 16), is_aligned(two, 16));
	::operator delete(one, std::nothrow);
	::operator delete[](two, std::nothrow);
	std::printf(" %d %d\n", ::operator new(huge, std::nothrow) == nullptr,
		::operator new[](huge, std::nothrow) == nullptr);
}

static void aligned()
{
	for (std::size_t alignment = 1; alignment <= 8192; alignment *= 4) {
		auto align = static_cast<std::align_val_t>(alignment);
		void *one = ::operator new(100, align), *two = ::operator new[](100, align);
		void *three = ::operator new(100, align, std::nothrow),
		     *four = ::operator new[](100, align, std::nothrow);
		std::printf("aligned %zu: %d %d %d %d\n", alignment, is_aligned(one, alignment),
			is_aligned(two, alignment), is_aligned(three, alignment),
			is_aligned(four, alignment));
		::operator delete(one, align);
		::operator delete[](two, std::size_t(100), align);
		::operator delete(three, align, std::nothrow);
		::operator delete[](four, align, std::nothrow);
		::operator delete(::operator new(10, align), std::size_t(10), align);
		::operator delete[](::operator new[](10, align), align);
	}
	std::printf("aligned too much: %d\n",
		::operator new(huge, static_cast<std::align_val_t>(64), std::nothrow) == nullptr);
}

static void zero_sized()
{
	void *one = ::operator new(zero), *two = ::operator new(zero);
	std::printf("zero: %d %d\n", one && two, one != two);
	::operator delete(one);
	::operator delete(two);
	::operator delete(nullptr);
	::operator delete[](nullptr);
}

template <typename Function> static const char *thrown_by(Function function)
{
	try {
		function();
	} catch (const std::bad_array_new_length &) {
		return "bad_array_new_length";
	} catch (const std::bad_alloc &) {
		return "bad_alloc";
	} catch (...) {
		return "other";
	}
	return "nothing";
}

static void throws()
{
	std::printf("throws: %s", thrown_by([] { return ::operator new(huge); }));
	std::printf(" %s", thrown_by([] { return ::operator new[](huge); }));
	std::printf(" %s",
		thrown_by([] { return ::operator new(huge, static_cast<std::align_val_t>(64)); }));
	std::printf(" %s", thrown_by([] {
		return ::operator new[](huge, static_cast<std::align_val_t>(64));
	}));
	std::printf(" %s", thrown_by([] { (void)new int[huge]; }));
	std::printf(" %s\n", thrown_by([] { std::vector<char>().reserve(huge / 2); }));
}

static int handler_calls;

static void failing_handler()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

static void throwing_handler()
{
	handler_calls++;
	throw std::bad_alloc();
}

static void handlers()
{
	std::set_new_handler(failing_handler);
	std::printf("handlers: %s", thrown_by([] { return ::operator new(huge); }));
	std::printf(" after %d calls", handler_calls);
	handler_calls = 0;
	std::set_new_handler(throwing_handler);
	std::printf(", nothrow gives %s after %d calls",
		::operator new(huge, std::nothrow) ? "a block" : "NULL", handler_calls);
	std::set_new_handler(nullptr);
	std::printf("\n");
}

static void mixed()
{
	// Programs do this, and glibc lets them.
	std::free(::operator new(100));
	::operator delete(std::malloc(100));
	std::printf("mixed: done\n");
}

static void errno_kept()
{
	errno = 1234;
	for (std::size_t size = 0; size < 100000; size += 37)
		::operator delete(::operator new(size));
	std::printf("errno: %d\n", errno);
}

static void classes()
{
	delete new wide;
	delete[] new wide[10];
	std::string text(1000, 'x');
	std::vector<std::string> texts(100, text);
	std::printf("classes: %zu %d\n", texts.size(), is_aligned(new wide, 64));
}

/* In a process born with little address space: it ends while we allocate, that is bad_alloc, and the program goes on. */
static int limited()
{
	std::vector<char *> blocks;
	blocks.reserve(100000);
	const char *thrown = thrown_by([&] {
		for (;;)
			blocks.push_back(new char[100000]);
	});
	std::size_t count = blocks.size();
	for (char *block : blocks)
		delete[] block;
	delete[] new char[100000];
	std::printf("limited: %s after %s\n", thrown, count > 500 ? "many" : "few");
	return 0;
}

static void start_limited(const char *program)
{
	struct rlimit limit = {512 << 20, 512 << 20};
	setrlimit(RLIMIT_AS, &limit);
	execl(program, program, "limited", nullptr);
	std::perror(program);
}

int main(int count, char **arguments)
{
	if (count > 1)
		return limited();
	void (*const rows[])() = {plain, sized, nothrow, aligned, zero_sized, throws, handlers,
		mixed, errno_kept, classes};
	int number = 0;
	for (auto row : rows) {
		own_news = own_deletes = 0;
		row();
		std::printf("own operators called by row %d: %lu %lu\n", ++number, own_news,
			own_deletes);
		std::fflush(stdout);
	}
	start_limited(arguments[0]);
	return 1;
}
