/*
 * C++: destructors that are not there, owners in a circle, exceptions and jumps between new and the owner.
 */
#include "tests/leaks/shape.h"

#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace
{

struct payload {
	char text[100];
};

KEEP payload *payload_create()
{
	payload *made = new payload();

	use(made);
	return made;
}

/* ---- the base class has no virtual destructor ---- */

struct open_base {
	int number = 1;
	~open_base()
	{
	} // NOLINT: that is the mistake
};

struct open_derived : open_base {
	std::unique_ptr<payload> member{payload_create()};
};

struct good_base {
	int number = 1;
	virtual ~good_base()
	{
	}
};

struct good_derived : good_base {
	std::unique_ptr<payload> member{payload_create()};
};

KEEP void base_destructor(bool fixed)
{
	TIMES(3)
	{
		if (fixed) {
			good_base *object = new good_derived;

			delete object;
		} else {
			open_base *object = new open_derived;

			object->~open_base(); // what delete does, without the compilers' warning
			::operator delete(static_cast<void *>(object));
		}
	}
}

/* ---- a vector of pointers is cleared, what they point to is not ---- */

KEEP void pointers_cleared(bool fixed)
{
	std::vector<payload *> list;

	TIMES(4)
	list.push_back(payload_create());
	if (fixed) {
		for (payload *one : list)
			delete one;
	}
	std::fill(list.begin(), list.end(), nullptr);
	list.clear();
}

/* ---- owners in a circle ---- */

struct settings;

struct addon {
	std::shared_ptr<settings> own_settings;
	char name[40] = "";
};

struct data {
	std::shared_ptr<addon> strong;
	std::weak_ptr<addon> weak;
};

struct settings {
	std::shared_ptr<data> values;
};

KEEP std::shared_ptr<addon> addon_create(bool fixed)
{
	auto made = std::make_shared<addon>();

	made->own_settings = std::make_shared<settings>();
	made->own_settings->values = std::make_shared<data>();
	if (fixed)
		made->own_settings->values->weak = made;
	else
		made->own_settings->values->strong = made;
	return made;
}

KEEP void circle_of_three(bool fixed)
{
	TIMES(2)
	addon_create(fixed);
}

/* A function that holds itself, to call itself again. */
KEEP void walk(bool fixed)
{
	auto next = std::make_shared<std::function<void(int)>>();
	std::weak_ptr<std::function<void(int)>> weak = next;

	if (fixed)
		*next = [weak](int left) {
			auto self = weak.lock();

			if (left > 0)
				(*self)(left - 1);
		};
	else
		*next = [next](int left) {
			if (left > 0)
				(*next)(left - 1);
		};
	(*next)(3);
}

KEEP void function_holds_itself(bool fixed)
{
	TIMES(2)
	walk(fixed);
}

/* ---- constructors that throw ---- */

struct cipher_mode {
	std::unique_ptr<payload> cipher;

	cipher_mode(payload *given, bool is_good)
	{
		if (!is_good)
			throw std::invalid_argument("not a cipher for this mode");
		cipher.reset(given);
	}

	cipher_mode(std::unique_ptr<payload> given, bool is_good) : cipher(std::move(given))
	{
		if (!is_good)
			throw std::invalid_argument("not a cipher for this mode");
	}
};

/* The argument was to be owned by an object that never came to be. */
KEEP void argument_of_thrown_constructor(bool fixed)
{
	TIMES(3)
	{
		try {
			if (fixed)
				use(cipher_mode(std::unique_ptr<payload>(payload_create()), false)
						.cipher.get());
			else
				use(cipher_mode(payload_create(), false).cipher.get());
		} catch (const std::invalid_argument &) {
		}
	}
}

struct model {
	payload *weights;

	model(bool is_good, bool fixed) : weights(payload_create())
	{
		try {
			if (!is_good)
				throw std::runtime_error("no such model");
		} catch (...) {
			if (fixed)
				delete weights;
			throw;
		}
	}
	~model()
	{
		delete weights;
	}
};

/* The destructor does not run: the object was never whole. */
KEEP void member_of_thrown_constructor(bool fixed)
{
	TIMES(2)
	{
		try {
			model made(false, fixed);

			use(&made);
		} catch (const std::runtime_error &) {
		}
	}
}

KEEP std::string first_line(const char *text)
{
	if (!*text)
		throw std::runtime_error("empty");
	return text;
}

/* Made, but not owned yet when the next argument is worked out. */
KEEP void made_before_the_throw(bool fixed)
{
	TIMES(3)
	{
		try {
			payload *made = fixed ? nullptr : payload_create();
			std::string line = first_line("");
			std::unique_ptr<payload> owner(made ? made : payload_create());

			use(line.c_str());
		} catch (const std::runtime_error &) {
		}
	}
}

/* ---- a jump passes by destructors ---- */

std::jmp_buf on_error;

[[noreturn]] KEEP void report_error(const char *text)
{
	use(text);
	std::longjmp(on_error, 1);
}

KEEP std::string error_text()
{
	return "the picture ends in the middle of its first line of pixels";
}

KEEP void read_picture(bool fixed)
{
	char copy[100];

	if (!fixed)
		report_error(error_text().c_str());
	std::strncpy(copy, error_text().c_str(), sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = 0;
	report_error(copy);
}

KEEP void string_of_jump(bool fixed)
{
	if (setjmp(on_error) == 0)
		read_picture(fixed);
	std::memset(on_error, 0, sizeof(on_error));
}

/* ---- objects in memory that is managed by hand ---- */

KEEP void fill(std::string *place, bool fixed)
{
	if (fixed)
		place->~basic_string();
	new (place) std::string(60, 'x');
}

/* Constructed over an object that was there. */
KEEP void constructed_over(bool fixed)
{
	alignas(std::string) static char room[sizeof(std::string)];
	std::string *place = new (room) std::string(50, 'a');

	TIMES(3)
	fill(place, fixed);
	place->~basic_string();
	std::memset(room, 0, sizeof(room));
}

struct small_vector {
	std::string *list = static_cast<std::string *>(std::malloc(8 * sizeof(std::string)));
	std::size_t count = 0;

	KEEP void push(std::size_t length)
	{
		new (&list[count++]) std::string(length, 'v');
	}
	KEEP void clear(bool fixed)
	{
		while (count > 0) {
			count--;
			if (fixed)
				list[count].~basic_string();
			std::memset(static_cast<void *>(&list[count]), 0, sizeof(std::string));
		}
	}
	~small_vector()
	{
		std::free(list);
	}
};

KEEP void cleared_without_destructors(bool fixed)
{
	small_vector vector;

	TIMES(5)
	vector.push(70);
	vector.clear(fixed);
}

/* A block has memory of its own, which its owner does not know of. */
struct raw_block {
	char *raw = nullptr;

	KEEP void reserve(std::size_t bytes)
	{
		raw = static_cast<char *>(std::malloc(bytes));
	}
};

KEEP void data_of_block(bool fixed)
{
	TIMES(2)
	{
		raw_block *block = new raw_block;

		block->reserve(900);
		if (fixed)
			std::free(block->raw);
		block->raw = nullptr;
		use(block);
		delete block;
	}
}

/* Moving in throws away what was there. */
struct text {
	char *bytes = nullptr;

	KEEP explicit text(const char *from) : bytes(strdup(from))
	{
	}
	~text()
	{
		std::free(bytes);
	}
	KEEP void take(text &other, bool fixed)
	{
		if (fixed)
			std::free(bytes);
		bytes = other.bytes;
		other.bytes = nullptr;
	}
	text(const text &) = delete;
	text &operator=(const text &) = delete;
};

KEEP void moved_over(bool fixed)
{
	text kept("the first of all values");

	TIMES(3)
	{
		text other("another value of its own");

		kept.take(other, fixed);
	}
}

/* The deleter frees the memory and forgets the object in it. */
struct forgetful_deleter {
	bool fixed;

	void operator()(std::string *object) const
	{
		if (fixed)
			object->~basic_string();
		std::free(static_cast<void *>(object));
	}
};

KEEP std::string *string_in_memory()
{
	return new (std::malloc(sizeof(std::string))) std::string(80, 's');
}

KEEP void deleter_without_destructor(bool fixed)
{
	TIMES(3)
	{
		std::unique_ptr<std::string, forgetful_deleter> owner(
			string_in_memory(), forgetful_deleter{fixed});

		use(owner->c_str());
	}
}

/* ---- callbacks ---- */

/* A callable kept as bytes: what it holds is never let go. */
struct erased {
	alignas(16) unsigned char room[32] = {0};
	void (*destroy)(void *) = nullptr;

	template <typename F> void set(F callable, bool fixed)
	{
		static_assert(sizeof(F) <= sizeof(room), "small");
		new (room) F(std::move(callable));
		if (fixed)
			destroy = [](void *at) { static_cast<F *>(at)->~F(); };
	}
	~erased()
	{
		if (destroy)
			destroy(room);
		std::memset(room, 0, sizeof(room));
	}
};

KEEP std::shared_ptr<payload> shared_payload()
{
	return std::make_shared<payload>();
}

KEEP void captured_by_erased(bool fixed)
{
	TIMES(2)
	{
		erased callback;
		auto held = shared_payload();

		callback.set([held] { use(held.get()); }, fixed);
	}
}

KEEP bool ensure_path(bool there_is_one, const std::function<void()> &hook)
{
	if (there_is_one)
		hook();
	return there_is_one;
}

/* The hook would free what it was given, but it is never called. */
KEEP void hook_never_called(bool fixed)
{
	TIMES(4)
	{
		if (fixed) {
			std::shared_ptr<payload> message(payload_create());

			ensure_path(false, [message] { use(message.get()); });
		} else {
			payload *message = payload_create();

			ensure_path(false, [message] { delete message; });
		}
	}
}

/* release() is not reset(). */
KEEP void released_not_reset(bool fixed)
{
	std::unique_ptr<payload> owner(payload_create());

	if (fixed)
		owner.reset();
	else
		use(owner.release() ? "" : nullptr);
}

} // namespace

const struct shape cpp_shapes[] = {
	{"base_destructor", base_destructor, "payload_create", {3, 300}, {0, 0},
		SHAPE_LINK("apple/foundationdb/pull/5065")},
	{"pointers_cleared", pointers_cleared, "payload_create", {4, 400}, {0, 0},
		SHAPE_LINK("Hanjun-Dai/graphnn/pull/6")},
	{"circle_of_three", circle_of_three, "addon_create", {2, 0}, {4, 0},
		SHAPE_LINK("xbmc/xbmc/pull/23864")},
	{"function_holds_itself", function_holds_itself, "walk", {2, 0}, {2, 0},
		SHAPE_LINK("includeos/IncludeOS/issues/602")},
	{"argument_of_thrown_constructor", argument_of_thrown_constructor, "payload_create",
		{3, 300}, {0, 0}, SHAPE_LINK("randombit/botan/issues/2388")},
	{"member_of_thrown_constructor", member_of_thrown_constructor, "payload_create", {2, 200},
		{0, 0}, SHAPE_LINK("deepmodeling/deepmd-kit/pull/3062")},
	{"made_before_the_throw", made_before_the_throw, "payload_create", {3, 300}, {0, 0},
		SHAPE_LINK("CollaboraOnline/online/pull/211")},
	{"string_of_jump", string_of_jump, "error_text", {1, 59}, {0, 0},
		SHAPE_LINK("AcademySoftwareFoundation/OpenImageIO/pull/5289")},
	{"constructed_over", constructed_over, "constructed_over", {3, 173}, {0, 0},
		SHAPE_LINK("dealii/dealii/pull/2044")},
	{"cleared_without_destructors", cleared_without_destructors, "push", {5, 355}, {0, 0},
		SHAPE_LINK("spicelang/spice/pull/1293")},
	{"data_of_block", data_of_block, "reserve", {2, 1800}, {0, 0},
		SHAPE_LINK("cameron314/readerwriterqueue/pull/11")},
	{"moved_over", moved_over, "text", {3, 74}, {0, 0},
		SHAPE_LINK("squid-cache/squid/pull/858")},
	{"deleter_without_destructor", deleter_without_destructor, "string_in_memory", {3, 243},
		{0, 0}, SHAPE_LINK("ERGO-Code/HiGHS/pull/782")},
	{"captured_by_erased", captured_by_erased, "shared_payload", {2, 0}, {0, 0},
		SHAPE_LINK("dnp3/opendnp3/issues/149")},
	{"hook_never_called", hook_never_called, "payload_create", {4, 400}, {0, 0},
		SHAPE_LINK("oxen-io/lokinet/pull/1076")},
	{"released_not_reset", released_not_reset, "payload_create", {1, 100}, {0, 0}, "own"},
	{},
};
