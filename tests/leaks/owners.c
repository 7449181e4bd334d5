/*
 * Blocks whose owner is not the one who thinks so: references, callbacks with data of their own, commands handed to a library, and jumps over the clean-up.
 */
#include "tests/leaks/shape.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- counted references ---- */

struct object {
	int references;
	struct object *member;
	char text[40];
};

KEEP static struct object *object_create(void)
{
	struct object *object = calloc(1, sizeof(*object));

	object->references = 1;
	return object;
}

static struct object *object_ref(struct object *object)
{
	object->references++;
	return object;
}

KEEP static void object_unref(struct object *object)
{
	if (!object || --object->references > 0)
		return;
	object_unref(object->member);
	free(object);
}

/* Takes a reference of its own. */
KEEP static void object_set(struct object *object, struct object *member)
{
	object_unref(object->member);
	object->member = object_ref(member);
}

/* The value is given up to a function that does not take it over. */
KEEP static void reference_too_many(bool fixed)
{
	struct object *object = object_create();

	TIMES(3)
	{
		struct object *value = object_create();

		object_set(object, value);
		if (fixed)
			object_unref(value);
	}
	object_unref(object);
}

KEEP static struct object *object_parse(void)
{
	struct object *object = object_create();

	object_set(object, object);
	object->member = NULL;
	return object;
}

KEEP static void reference_never_put(bool fixed)
{
	TIMES(4)
	{
		struct object *message = object_parse();

		object_unref(message);
		if (fixed)
			object_unref(message);
	}
}

/* The result of a call that nobody looks at. */
KEEP static struct object *build_value(void)
{
	return object_create();
}

KEEP static void call_with_value(bool fixed)
{
	struct object *value = build_value();

	use(value);
	if (fixed)
		object_unref(value);
}

KEEP static void value_of_call(bool fixed)
{
	TIMES(5)
	call_with_value(fixed);
}

/* ---- one of a pair, before the pair is made ---- */

KEEP static bool connect_to(const char *host, bool fixed)
{
	struct object *lower = object_create(), *upper = object_create();

	if (!*host) {
		object_unref(lower);
		if (fixed)
			object_unref(upper);
		return false;
	}
	upper->member = lower;
	object_unref(upper);
	return true;
}

KEEP static void half_of_a_pair(bool fixed)
{
	use(connect_to("host", fixed) ? "" : NULL);
	TIMES(2)
	use(connect_to("", fixed) ? "" : NULL);
}

/* ---- callbacks ---- */

struct callback {
	void (*call)(void *data);
	void *data;
	void (*release)(void *data);
};

static void do_nothing(void *data)
{
	use(data);
}

KEEP static void *callback_data(int number)
{
	char *data = malloc(64);

	snprintf(data, 64, "request %d", number);
	return data;
}

KEEP static void callback_set(struct callback *callback, void *data)
{
	if (callback->release)
		callback->release(callback->data);
	callback->call = do_nothing;
	callback->data = data;
}

/* The callback was to free its data; it is replaced before it is called. */
KEEP static void replaced_before_it_was_called(bool fixed)
{
	struct callback callback = {NULL, NULL, NULL};

	TIMES(4)
	{
		callback_set(&callback, callback_data(turn));
		callback.release = fixed ? free : NULL;
	}
	callback.call(callback.data);
	free(callback.data);
	callback.data = NULL;
	use(&callback);
}

KEEP static bool register_read(const char *name, void *data, bool fixed)
{
	if (strchr(name, '/')) {
		if (fixed)
			free(data);
		return false;
	}
	return true;
}

KEEP static void registration_failed(bool fixed)
{
	TIMES(3)
	use(register_read("a/b", callback_data(turn), fixed) ? "" : NULL);
}

/* A wrapper puts data of its own between the caller and the library, and has no place where to free it. */
struct proxy {
	void (*call)(void *data);
	void *data;
};

KEEP static void *proxy_create(void (*call)(void *), void *data)
{
	struct proxy *proxy = malloc(sizeof(*proxy));

	*proxy = (struct proxy){call, data};
	return proxy;
}

KEEP static void proxy_of_wrapper(bool fixed)
{
	struct callback callback = {do_nothing, proxy_create(do_nothing, NULL), NULL};

	callback.call(callback.data);
	if (fixed)
		free(callback.data);
	callback.data = NULL;
	use(&callback);
}

/* ---- commands: answered or not, they belong to somebody ---- */

enum command_kind { COMMAND_GET, COMMAND_SET, COMMAND_DELETE };

struct command {
	enum command_kind kind;
	char *key;
};

KEEP static struct command *command_create(enum command_kind kind)
{
	struct command *command = malloc(sizeof(*command));

	command->kind = kind;
	command->key = strdup("session:0123456789abcdef");
	return command;
}

KEEP static void command_send(struct command *command, bool fixed)
{
	if (command->kind == COMMAND_GET || fixed) {
		free(command->key);
		free(command);
	}
}

KEEP static void command_without_answer(bool fixed)
{
	command_send(command_create(COMMAND_GET), fixed);
	TIMES(3)
	command_send(command_create(COMMAND_SET), fixed);
	command_send(command_create(COMMAND_DELETE), fixed);
}

/* ---- a jump over the clean-up ---- */

static jmp_buf on_error;

KEEP static void report_error(void)
{
	longjmp(on_error, 1);
}

KEEP static void *palette_create(void)
{
	return malloc(480);
}

KEEP static void read_chunk(void **owned, bool fixed)
{
	void *palette = palette_create();

	if (fixed)
		*owned = palette; // who jumps back knows of it
	report_error();
	free(palette);
}

KEEP static void jump_over_free(bool fixed)
{
	void *volatile owned = NULL;

	if (!setjmp(on_error))
		read_chunk((void **)&owned, fixed);
	free(owned);
	memset(on_error, 0, sizeof(on_error));
}

/* The rows are freed where the jump ends, but the pointer to them was in a register and is old again. */
KEEP static void **rows_create(void)
{
	return calloc(100, sizeof(void *));
}

KEEP static void rows_of_jump(bool fixed)
{
	void **volatile rows = NULL; // what a register would hold at the jump's end
	void **volatile kept = NULL;

	if (!setjmp(on_error)) {
		kept = rows_create();
		if (fixed)
			rows = kept;
		kept = NULL;
		report_error();
	}
	free(rows);
	memset(on_error, 0, sizeof(on_error));
}

const struct shape owner_shapes[] = {
	{"reference_too_many", reference_too_many, "object_create", {3, 168}, {0, 0},
		SHAPE_LINK("PerimeterX/mod_perimeterx/pull/150")},
	{"reference_never_put", reference_never_put, "object_parse", {4, 224}, {0, 0},
		SHAPE_LINK("rsyslog/rsyslog/pull/3020")},
	{"value_of_call", value_of_call, "build_value", {5, 280}, {0, 0},
		SHAPE_LINK("eclipse-ecal/ecal/pull/1754")},
	{"half_of_a_pair", half_of_a_pair, "connect_to", {2, 112}, {0, 0},
		SHAPE_LINK("openssl/openssl/pull/27639")},
	{"replaced_before_it_was_called", replaced_before_it_was_called, "callback_data", {3, 192},
		{0, 0}, SHAPE_LINK("ClusterLabs/pacemaker/pull/765")},
	{"registration_failed", registration_failed, "callback_data", {3, 192}, {0, 0},
		SHAPE_LINK("collectd/collectd/pull/2349")},
	{"proxy_of_wrapper", proxy_of_wrapper, "proxy_create", {1, 16}, {0, 0},
		SHAPE_LINK("thestk/rtmidi/issues/104")},
	{"command_without_answer", command_without_answer, "command_create", {4, 64}, {4, 100},
		SHAPE_LINK("h2o/h2o/pull/856")},
	{"jump_over_free", jump_over_free, "palette_create", {1, 480}, {0, 0},
		SHAPE_LINK("pnggroup/libpng/pull/931")},
	{"rows_of_jump", rows_of_jump, "rows_create", {1, 800}, {0, 0},
		SHAPE_LINK("gnustep/libs-gui/pull/874")},
	{0},
};
