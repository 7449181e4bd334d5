/*
 * Ways out of a function that forget what was taken on the way in: early returns, failed reallocs, objects that are freed without what they own.
 */
#include "tests/leaks/shape.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the array is made before the arguments are looked at ---- */

KEEP static char **split_line(const char *line, int separator_length, bool fixed)
{
	char **tokens = malloc(5 * sizeof(*tokens));

	use(line);
	if (separator_length < 1 && !fixed)
		return NULL;
	free(tokens);
	return NULL;
}

KEEP static void array_before_check(bool fixed)
{
	TIMES(3)
	use(split_line("a,b", 0, fixed));
}

/* ---- one error in the middle of building a list of others ---- */

KEEP static void *make_engine(int number)
{
	return number < 2 ? malloc(64) : NULL;
}

KEEP static bool start_engines(bool fixed)
{
	void **list = calloc(8, sizeof(void *));
	bool done = true;

	for (volatile int i = 0; i < 3; i = i + 1) {
		void *engine = make_engine(i);

		done = done && engine;
		free(engine);
	}
	if (!done && !fixed)
		return false;
	free(list);
	return done;
}

KEEP static void list_on_last_error(bool fixed)
{
	TIMES(2)
	use(start_engines(fixed) ? "" : NULL);
}

/* ---- a context whose last step fails ---- */

struct context {
	char key[48];
};

KEEP static struct context *context_create(void)
{
	return calloc(1, sizeof(struct context));
}

KEEP static bool derive_key(int bits, bool fixed)
{
	struct context *context = context_create();

	if (bits < 128) {
		if (fixed)
			free(context);
		return false;
	}
	free(context);
	return true;
}

KEEP static void context_on_error(bool fixed)
{
	TIMES(4)
	use(derive_key(64, fixed) ? "" : NULL);
}

/* ---- what was gathered so far, when the rest cannot be had ---- */

struct entry {
	struct entry *next;
	char address[40];
};

KEEP static struct entry *entry_push(struct entry *list)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	entry->next = list;
	return entry;
}

KEEP static void entries_free(struct entry *list)
{
	while (list) {
		struct entry *next = list->next;

		free(list);
		list = next;
	}
}

KEEP static struct entry *gather(int wanted, bool fixed)
{
	struct entry *list = NULL;

	for (volatile int i = 0; i < wanted; i = i + 1) {
		if (i == 5) {
			if (fixed)
				entries_free(list);
			return NULL;
		}
		list = entry_push(list);
	}
	return list;
}

KEEP static void partial_list_on_error(bool fixed)
{
	use(gather(9, fixed));
}

/* ---- an object that fails to start is freed, but not what it has by then ---- */

struct connection {
	char *host;
	void *buffer;
};

KEEP static bool connection_init(struct connection *connection)
{
	connection->host = strdup("a.host.of.some.length.example");
	connection->buffer = malloc(500);
	return false;
}

KEEP static void connection_create(bool fixed)
{
	struct connection *connection = malloc(sizeof(*connection));

	if (!connection_init(connection) && fixed) {
		free(connection->host);
		free(connection->buffer);
	}
	free(connection);
}

KEEP static void object_without_members(bool fixed)
{
	TIMES(2)
	connection_create(fixed);
}

/* ---- a nested structure, freed at the top only ---- */

struct will {
	char *topic;
	char *message;
};

struct client {
	struct will *will;
};

KEEP static void client_set_will(struct client *client)
{
	client->will = calloc(1, sizeof(*client->will));
	client->will->topic = strdup("sensors/greenhouse/temperature");
	client->will->message = strdup("the sensor is gone, look after the tomatoes");
}

KEEP static void nested_freed_at_the_top(bool fixed)
{
	struct client client;

	client_set_will(&client);
	if (fixed) {
		free(client.will->topic);
		free(client.will->message);
	}
	free(client.will);
	client.will = NULL;
	use(&client);
}

/* ---- free() where the object's own function was meant ---- */

struct pattern {
	void *compile_context;
	void *code;
};

KEEP static void *context_for_pattern(void)
{
	return malloc(88);
}

KEEP static struct pattern *pattern_create(const char *text, bool fixed)
{
	struct pattern *pattern = calloc(1, sizeof(*pattern));

	pattern->compile_context = context_for_pattern();
	if (*text == '(') {
		if (fixed)
			free(pattern->compile_context);
		free(pattern);
		return NULL;
	}
	return pattern;
}

KEEP static void member_of_bare_free(bool fixed)
{
	TIMES(3)
	use(pattern_create("(open", fixed));
}

/* ---- a string for a step that is then not taken ---- */

KEEP static bool rewind_body(bool fixed)
{
	char *location = strdup("/moved/to/another/place?with=parameters");
	bool rewound = false;

	if (!rewound && !fixed)
		return false;
	free(location);
	return rewound;
}

KEEP static void string_on_failed_rewind(bool fixed)
{
	TIMES(2)
	use(rewind_body(fixed) ? "" : NULL);
}

/* ---- realloc: the old block lives on when there is no new one ---- */

KEEP static char *buffer_create(void)
{
	return malloc(256);
}

KEEP static bool buffer_extend(char **buffer, size_t bytes, bool fixed)
{
	char *old = fixed ? *buffer : NULL;

	*buffer = realloc(*buffer, bytes);
	if (!*buffer)
		free(old);
	return *buffer != NULL;
}

KEEP static void realloc_lost(bool fixed)
{
	TIMES(3)
	{
		char *buffer = buffer_create();

		use(buffer_extend(&buffer, PTRDIFF_MAX - 4096, fixed) ? "" : NULL);
	}
}

/* The same in a field of an object that is well taken care of otherwise. */
struct array {
	size_t count, capacity;
	int64_t *values;
};

KEEP static struct array *array_create(void)
{
	struct array *array = calloc(1, sizeof(*array));

	array->capacity = 16;
	array->values = calloc(array->capacity, sizeof(*array->values));
	return array;
}

KEEP static void array_reserve(struct array *array, size_t capacity, bool fixed)
{
	int64_t *larger = realloc(array->values, capacity);

	if (larger || !fixed)
		array->values = larger;
	if (larger)
		array->capacity = capacity;
}

KEEP static void realloc_in_field(bool fixed)
{
	struct array *array = array_create();

	array_reserve(array, PTRDIFF_MAX / 2, fixed);
	free(array->values);
	free(array);
}

/* ---- a message that is formatted first and cannot be appended then ---- */

KEEP static char *format_message(int number)
{
	char *message;

	return asprintf(&message, "element %d of the reply is not what was asked for", number) < 0
		       ? NULL
		       : message;
}

KEEP static bool print_to_memory(char **out, int number, bool fixed)
{
	char *message = format_message(number);
	char *larger = realloc(*out, PTRDIFF_MAX - 65536);

	if (!larger) {
		if (fixed)
			free(message);
		return false;
	}
	*out = larger;
	free(message);
	return true;
}

KEEP static void message_on_failed_append(bool fixed)
{
	char *out = malloc(32);

	TIMES(2)
	use(print_to_memory(&out, 12, fixed) ? "" : NULL);
	free(out);
}

/* ---- a stream whose end is not called when the data are bad ---- */

struct stream {
	void *state;
};

KEEP static void stream_init(struct stream *stream)
{
	stream->state = malloc(7000);
}

KEEP static bool read_header(const char *data, bool fixed)
{
	struct stream stream;
	bool good = data[0] == 0x1f;

	stream_init(&stream);
	if (good || fixed)
		free(stream.state);
	stream.state = NULL;
	use(&stream);
	return good;
}

KEEP static void stream_never_ended(bool fixed)
{
	TIMES(3)
	use(read_header("noise", fixed) ? "" : NULL);
}

/* ---- a wrapper around somebody else's buffer goes the way of the buffer ---- */

struct wrapper {
	char *buffer;
	size_t used;
};

KEEP static struct wrapper *wrapper_create(char *buffer)
{
	struct wrapper *wrapper = calloc(1, sizeof(*wrapper));

	wrapper->buffer = buffer;
	return wrapper;
}

KEEP static void wrapper_free(struct wrapper *wrapper, bool owns_buffer, bool fixed)
{
	if (owns_buffer)
		free(wrapper->buffer);
	if (owns_buffer || fixed)
		free(wrapper);
}

KEEP static void wrapper_of_borrowed_buffer(bool fixed)
{
	static char borrowed[64];

	wrapper_free(wrapper_create(borrowed), false, fixed);
	wrapper_free(wrapper_create(malloc(100)), true, fixed);
}

/* ---- allocated, and then given another one by the function that fills it in ---- */

struct handle {
	int fd;
	char name[60];
};

KEEP static struct handle *handle_create(void)
{
	return calloc(1, sizeof(struct handle));
}

KEEP static void handle_open(struct handle **handle)
{
	*handle = handle_create();
	(*handle)->fd = 3;
}

KEEP static struct handle *handle_allocated_for_nothing(void)
{
	return calloc(1, sizeof(struct handle));
}

KEEP static void allocated_twice(bool fixed)
{
	struct handle *handle = fixed ? NULL : handle_allocated_for_nothing();

	use(handle);
	handle_open(&handle);
	free(handle);
}

const struct shape error_shapes[] = {
	{"array_before_check", array_before_check, "split_line", {3, 120}, {0, 0},
		SHAPE_LINK("redis/redis/issues/373")},
	{"list_on_last_error", list_on_last_error, "start_engines", {2, 128}, {0, 0},
		SHAPE_LINK("memcached/memcached/issues/337")},
	{"context_on_error", context_on_error, "context_create", {4, 192}, {0, 0},
		SHAPE_LINK("openssl/openssl/pull/634")},
	{"partial_list_on_error", partial_list_on_error, "entry_push", {1, 48}, {4, 192},
		SHAPE_LINK("openssl/openssl/pull/17828")},
	{"object_without_members", object_without_members, "connection_init", {4, 1060}, {0, 0},
		SHAPE_LINK("openssl/openssl/pull/20316")},
	{"nested_freed_at_the_top", nested_freed_at_the_top, "client_set_will", {2, 75}, {0, 0},
		SHAPE_LINK("eclipse-paho/paho.mqtt.c/issues/197")},
	{"member_of_bare_free", member_of_bare_free, "context_for_pattern", {3, 264}, {0, 0},
		SHAPE_LINK("rizinorg/rizin/pull/6721")},
	{"string_on_failed_rewind", string_on_failed_rewind, "rewind_body", {2, 80}, {0, 0},
		SHAPE_LINK("curl/curl/pull/3044")},
	{"realloc_lost", realloc_lost, "buffer_create", {3, 768}, {0, 0},
		SHAPE_LINK("troglobit/mini-snmpd/issues/31")},
	{"realloc_in_field", realloc_in_field, "array_create", {1, 128}, {0, 0},
		SHAPE_LINK("python/cpython/issues/149931")},
	{"message_on_failed_append", message_on_failed_append, "format_message", {2, 0}, {0, 0},
		SHAPE_LINK("CESNET/libyang/pull/2174")},
	{"stream_never_ended", stream_never_ended, "stream_init", {3, 21000}, {0, 0},
		SHAPE_LINK("pauldmccarthy/indexed_gzip/pull/82")},
	{"wrapper_of_borrowed_buffer", wrapper_of_borrowed_buffer, "wrapper_create", {1, 16},
		{0, 0}, SHAPE_LINK("openssl/openssl/pull/8037")},
	{"allocated_twice", allocated_twice, "handle_allocated_for_nothing", {1, 64}, {0, 0},
		SHAPE_LINK("unfoldedcircle/ucd3-firmware/pull/53")},
	{0},
};
