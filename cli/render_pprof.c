/*
 * A report as a profile of pprof: the messages of profile.proto, written by hand (each field is a number with its type, then a varint or a length
 * and bytes), compressed as gzip. The field numbers are those of the published format.
 *
 * Six values for each stack: leaked objects and bytes, live ones, and possibly leaked ones. Strings, functions and locations are numbered as they come up.
 *
 * Of several programs each has mappings of its own, though they may lie at the same addresses: a location says which it means. A sample then bears the label "program".
 */
#include "cli/memory.h"
#include "cli/render.h"

#include <inttypes.h>
#include <search.h>
#include <zlib.h>

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

enum {
	PROFILE_SAMPLE_TYPE = 1,
	PROFILE_SAMPLE = 2,
	PROFILE_MAPPING = 3,
	PROFILE_LOCATION = 4,
	PROFILE_FUNCTION = 5,
	PROFILE_STRINGS = 6,
	PROFILE_TIME_NS = 9,
	PROFILE_PERIOD_TYPE = 11,
	PROFILE_PERIOD = 12,
	PROFILE_COMMENT = 13,
	PROFILE_DEFAULT_TYPE = 14,

	VALUE_TYPE_NAME = 1,
	VALUE_TYPE_UNIT = 2,

	SAMPLE_LOCATION = 1,
	SAMPLE_VALUE = 2,
	SAMPLE_LABEL = 3,

	LABEL_KEY = 1,
	LABEL_TEXT = 2,

	MAPPING_ID = 1,
	MAPPING_LOW = 2,
	MAPPING_HIGH = 3,
	MAPPING_FILE = 5,
	MAPPING_BUILD_ID = 6,
	MAPPING_HAS_FUNCTIONS = 7,
	MAPPING_HAS_FILES = 8,
	MAPPING_HAS_LINES = 9,
	MAPPING_HAS_INLINED = 10,

	LOCATION_ID = 1,
	LOCATION_MAPPING = 2,
	LOCATION_ADDRESS = 3,
	LOCATION_LINE = 4,

	LINE_FUNCTION = 1,
	LINE_NUMBER = 2,

	FUNCTION_ID = 1,
	FUNCTION_NAME = 2,
	FUNCTION_FILE = 4,
};

/* The values of a sample. */
enum {
	LEAK_OBJECTS,
	LEAK_SPACE,
	INUSE_OBJECTS,
	INUSE_SPACE,
	POSSIBLE_OBJECTS,
	POSSIBLE_SPACE,
	VALUE_COUNT
};

static const struct {
	const char *name, *unit;
} value_types[VALUE_COUNT] = {
	{"leak_objects", "count"},
	{"leak_space", "bytes"},
	{"inuse_objects", "count"},
	{"inuse_space", "bytes"},
	{"possible_objects", "count"},
	{"possible_space", "bytes"},
};

/* ---- messages ---- */

struct message {
	unsigned char *bytes;
	size_t count;
};

static void put_byte(struct message *message, unsigned char byte)
{
	message->bytes = memory_grow(message->bytes, message->count, 1);
	message->bytes[message->count++] = byte;
}

static void put_varint(struct message *message, uint64_t number)
{
	for (; number >= 0x80; number >>= 7)
		put_byte(message, (unsigned char)(number | 0x80));
	put_byte(message, (unsigned char)number);
}

/* A field whose value is 0 is left out, as the format has it. */
static void put_number(struct message *message, unsigned field, uint64_t number)
{
	if (number == 0)
		return;
	put_varint(message, field << 3 | WIRE_VARINT);
	put_varint(message, number);
}

static void put_bytes(struct message *message, unsigned field, const void *bytes, size_t count)
{
	put_varint(message, field << 3 | WIRE_BYTES);
	put_varint(message, count);
	for (size_t i = 0; i < count; i++)
		put_byte(message, ((const unsigned char *)bytes)[i]);
}

/* Moves `inner` into `message`. */
static void put_message(struct message *message, unsigned field, struct message *inner)
{
	put_bytes(message, field, inner->bytes, inner->count);
	free(inner->bytes);
	*inner = (struct message){0};
}

/* ---- things with numbers ---- */

struct numbered {
	char *key;
	uint64_t number;
};

/* Keys to numbers, in the order they are first asked for. */
struct numbers {
	void *tree;
	uint64_t count;
};

static int compare_keys(const void *left, const void *right)
{
	const struct numbered *a = left, *b = right;

	return strcmp(a->key, b->key);
}

static void free_numbered(void *element)
{
	struct numbered *numbered = element;

	free(numbered->key);
	free(numbered);
}

static bool find_number(struct numbers *numbers, const char *key, uint64_t *ret_number)
{
	struct numbered probe = {.key = (char *)key}, *made;
	struct numbered **found = tfind(&probe, &numbers->tree, compare_keys);

	if (found) {
		*ret_number = (*found)->number;
		return true;
	}
	made = memory_get(1, sizeof(*made));
	made->key = memory_copy_text(key);
	made->number = numbers->count++;
	*ret_number = made->number;
	if (!tsearch(made, &numbers->tree, compare_keys))
		fail(EXIT_FAILED, "no memory");
	return false;
}

/* A profile under construction. Functions and locations are numbered from 1. */
struct profile {
	const struct report *report; // that is being added
	uint64_t mappings;           // of those before
	bool is_of_several;
	struct message message;
	struct numbers strings, functions, locations;
};

static uint64_t string(struct profile *profile, const char *text)
{
	char *copy = printable(text);
	uint64_t number;

	if (!find_number(&profile->strings, copy, &number))
		put_bytes(&profile->message, PROFILE_STRINGS, copy, strlen(copy));
	free(copy);
	return number;
}

static uint64_t function(struct profile *profile, const char *name, const char *file)
{
	struct message message = {0};
	uint64_t number;
	char *key;
	bool is_known;

	if (asprintf(&key, "%s\n%s", name, file ? file : "") < 0)
		fail(EXIT_FAILED, "no memory");
	is_known = find_number(&profile->functions, key, &number);
	free(key);
	if (is_known)
		return number + 1;
	put_number(&message, FUNCTION_ID, number + 1);
	put_number(&message, FUNCTION_NAME, string(profile, name));
	// no name of the system's: where that is the same, pprof takes it for a mangled one and cuts arguments of functions and templates away
	put_number(&message, FUNCTION_FILE, string(profile, file ? file : ""));
	put_message(&profile->message, PROFILE_FUNCTION, &message);
	return number + 1;
}

/* Of a module of the report; NULL: it has no such one. */
static const struct report_module *find_module(
	const struct report *report, const struct symbol_module *module)
{
	for (size_t i = 0; i < report->module_count; i++) {
		if (report->modules[i].module == module)
			return &report->modules[i];
	}
	return NULL;
}

/* Its mapping's number, from 1; 0: none. */
static uint64_t mapping_of(const struct profile *profile, const struct report_module *module)
{
	return module ? profile->mappings + (uint64_t)(module - profile->report->modules) + 1 : 0;
}

static void put_line(struct profile *profile, struct message *location, const char *name,
	const char *file, unsigned number)
{
	struct message line = {0};

	put_number(&line, LINE_FUNCTION, function(profile, name, file));
	put_number(&line, LINE_NUMBER, number);
	put_message(location, LOCATION_LINE, &line);
}

static void put_symbol(struct profile *profile, struct message *location,
	const struct symbol *symbol, const struct report_module *module)
{
	put_number(location, LOCATION_MAPPING, mapping_of(profile, module));
	put_number(location, LOCATION_ADDRESS, (module ? module->bias : 0) + symbol->offset);
	for (size_t i = 0; i < symbol->count; i++) {
		const struct symbol_frame *frame = &symbol->frames[i];

		put_line(profile, location, frame->function ? frame->function : "??", frame->file,
			frame->line);
	}
}

/* NULL: where no stack was recorded. */
static uint64_t location(struct profile *profile, const struct report_frame *frame)
{
	const struct symbol *symbol = frame ? frame->symbol : NULL;
	const struct report_module *module =
		symbol ? find_module(profile->report, symbol->module) : NULL;
	struct message message = {0};
	uint64_t number;
	char key[64];

	snprintf(key, sizeof(key), "%" PRIu64 "+%" PRIx64, mapping_of(profile, module),
		symbol  ? symbol->offset
		: frame ? frame->address
			: 0);
	if (find_number(&profile->locations, key, &number))
		return number + 1;
	put_number(&message, LOCATION_ID, number + 1);
	if (symbol)
		put_symbol(profile, &message, symbol, module);
	else if (frame)
		put_number(&message, LOCATION_ADDRESS, frame->address);
	else
		put_line(profile, &message, "[no stack]", NULL, 0);
	put_message(&profile->message, PROFILE_LOCATION, &message);
	return number + 1;
}

static void put_label(
	struct profile *profile, struct message *sample, const char *key, const char *text)
{
	struct message label = {0};

	put_number(&label, LABEL_KEY, string(profile, key));
	put_number(&label, LABEL_TEXT, string(profile, text));
	put_message(sample, SAMPLE_LABEL, &label);
}

static void put_sample(struct profile *profile, const struct report_stack *stack,
	const uint64_t values[VALUE_COUNT])
{
	struct message sample = {0}, locations = {0}, packed = {0};

	for (size_t i = 0; stack && i < stack->depth; i++)
		put_varint(&locations, location(profile, &stack->frames[i]));
	if (!stack)
		put_varint(&locations, location(profile, NULL));
	for (int i = 0; i < VALUE_COUNT; i++)
		put_varint(&packed, values[i]);
	put_message(&sample, SAMPLE_LOCATION, &locations);
	put_message(&sample, SAMPLE_VALUE, &packed);
	if (profile->is_of_several)
		put_label(profile, &sample, "program", profile->report->executable);
	put_message(&profile->message, PROFILE_SAMPLE, &sample);
}

/* ---- the profile ---- */

static void put_type(struct profile *profile, unsigned field, const char *name, const char *unit)
{
	struct message type = {0};

	put_number(&type, VALUE_TYPE_NAME, string(profile, name));
	put_number(&type, VALUE_TYPE_UNIT, string(profile, unit));
	put_message(&profile->message, field, &type);
}

static void put_mapping(struct profile *profile, size_t index)
{
	const struct report_module *module = &profile->report->modules[index];
	struct message mapping = {0};

	put_number(&mapping, MAPPING_ID, mapping_of(profile, module));
	put_number(&mapping, MAPPING_LOW, module->low);
	put_number(&mapping, MAPPING_HIGH, module->high);
	put_number(&mapping, MAPPING_FILE, string(profile, module->module->path));
	put_number(&mapping, MAPPING_BUILD_ID, string(profile, module->module->build_id));
	/* Else readers look for names themselves. */
	for (unsigned field = MAPPING_HAS_FUNCTIONS; field <= MAPPING_HAS_INLINED; field++)
		put_number(&mapping, field, !module->is_missing);
	put_message(&profile->message, PROFILE_MAPPING, &mapping);
}

static void put_comments(struct profile *profile, const struct report_view *view)
{
	char *text = NULL, *line, *rest;
	size_t size = 0;
	FILE *notes = open_memstream(&text, &size);

	if (!notes)
		fail(EXIT_FAILED, "no memory");
	render_notes(notes, profile->report, view);
	if (fclose(notes))
		fail(EXIT_FAILED, "no memory");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		put_number(&profile->message, PROFILE_COMMENT, string(profile, line));
	free(text);
}

/* The types of the values are those of all programs, and so is the one that is shown first. */
static void put_types(struct profile *profile, const struct report_set *set)
{
	bool has_leaks = false, has_sites = false;
	uint64_t period = 0;
	int initial;

	for (size_t i = 0; i < set->count; i++) {
		const struct report *report = &set->reports[i];

		has_leaks |= report_leaked(report).blocks != 0;
		has_sites |= report->site_count != 0;
		if (report->meta.sample_bytes > period)
			period = report->meta.sample_bytes;
	}
	initial = has_leaks || !has_sites ? LEAK_SPACE : INUSE_SPACE;
	for (int i = 0; i < VALUE_COUNT; i++)
		put_type(profile, PROFILE_SAMPLE_TYPE, value_types[i].name, value_types[i].unit);
	put_number(&profile->message, PROFILE_DEFAULT_TYPE,
		string(profile, value_types[initial].name));
	put_number(&profile->message, PROFILE_TIME_NS, set->reports[0].meta.written_ns);
	if (period) {
		put_type(profile, PROFILE_PERIOD_TYPE, "space", "bytes");
		put_number(&profile->message, PROFILE_PERIOD, period);
	}
}

static void put_findings(struct profile *profile, const struct report_view *view)
{
	const struct report *report = profile->report;

	for (size_t i = 0; i < report->finding_count; i++) {
		const struct report_finding *finding = &report->findings[i];
		uint64_t values[VALUE_COUNT] = {0};
		bool is_possible;

		if (!report_view_has(view, finding) || finding->sum.kind > FINDING_POSSIBLE)
			continue;
		is_possible = finding->sum.kind == FINDING_POSSIBLE;
		values[is_possible ? POSSIBLE_OBJECTS : LEAK_OBJECTS] =
			view->indirect ? finding->sum.blocks : report_total_blocks(finding);
		values[is_possible ? POSSIBLE_SPACE : LEAK_SPACE] =
			view->indirect ? finding->sum.bytes : report_total_bytes(finding);
		put_sample(profile, finding->stack, values);
	}
	for (size_t i = 0; i < report->site_count; i++) {
		const struct report_site *site = &report->sites[i];
		uint64_t values[VALUE_COUNT] = {0};

		values[INUSE_OBJECTS] = site->blocks;
		values[INUSE_SPACE] = site->bytes;
		put_sample(profile, site->stack, values);
	}
}

static bool write_compressed(FILE *out, const struct message *message)
{
	enum { GZIP_WINDOW = 15 + 16 }; // zlib: the largest window, gzip's header around it
	z_stream stream = {0};
	size_t bound;
	unsigned char *packed;
	bool done;

	if (message->count > UINT32_MAX / 2 ||
		deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8,
			Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	bound = deflateBound(&stream, message->count);
	packed = memory_get(1, bound);
	stream.next_in = message->bytes;
	stream.avail_in = (uInt)message->count;
	stream.next_out = packed;
	stream.avail_out = (uInt)bound;
	done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
	if (done)
		fwrite(packed, 1, stream.total_out, out);
	deflateEnd(&stream);
	free(packed);
	return done;
}

static void put_report(
	struct profile *profile, const struct report *report, const struct report_view *view)
{
	profile->report = report;
	for (size_t i = 0; i < report->module_count; i++)
		put_mapping(profile, i);
	put_comments(profile, view);
	put_findings(profile, view);
	profile->mappings += report->module_count;
}

bool render_pprof(FILE *out, const struct report_set *set, const struct report_view *view)
{
	struct profile profile = {.is_of_several = set->count > 1};
	bool done;

	string(&profile, ""); // number 0
	put_types(&profile, set);
	for (size_t i = 0; i < set->count; i++)
		put_report(&profile, &set->reports[i], view);
	done = write_compressed(out, &profile.message);
	free(profile.message.bytes);
	tdestroy(profile.strings.tree, free_numbered);
	tdestroy(profile.functions.tree, free_numbered);
	tdestroy(profile.locations.tree, free_numbered);
	return done;
}
