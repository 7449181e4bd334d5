/*
 * make_findings FILE: writes a file of findings with the core's own writer, from lines on standard input: the name of a record, then pairs of
 * member and value. Numbers are decimal or 0x; texts have no spaces, and \xNN for any byte.
 *
 *	meta executable=/bin/x verdict=1 process=4711
 *	module path=/bin/x build_id=00ff low=0x1000 high=0x2000 bias=0x1000 first_epoch=0 last_epoch=0xffffffff is_mapped=1
 *	stack id=1 epoch=0 frames=0x1010,0x1020
 *	finding kind=0 stack=1 blocks=1 bytes=10
 *	holder finding=0 kind=1 address=0x1234
 *	site stack=1 blocks=5 bytes=500
 */
#include "core/profile/findings_writer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = 4096, FRAMES_MAX = 65536 };

static struct findings_writer writer;
static struct findings_meta meta;
static struct findings_module modules[RECORDS_MAX];
static struct findings_stack stacks[RECORDS_MAX];
static uint64_t frames[FRAMES_MAX];
static struct finding list[RECORDS_MAX];
static struct findings_holder holders[RECORDS_MAX];
static struct findings_site sites[RECORDS_MAX];
static size_t module_count, stack_count, frame_count, list_count, holder_count, site_count;

static void die(const char *what)
{
	fprintf(stderr, "make_findings: %s\n", what);
	exit(1);
}

/* What a member holds: a number of so many bytes, or one of the special forms. */
enum { TEXT = -1, DIGITS = -2, FRAMES = -3 };

struct member {
	const char *record, *name;
	size_t offset;
	int bytes;
};

#define NUMBER(record, type, member) \
	{ \
#record, #member, offsetof(type, member), sizeof(((type *)0)->member) \
	}
#define META(member) NUMBER(meta, struct findings_meta, member)
#define MODULE(member) NUMBER(module, struct findings_module, member)
#define STACK(member) NUMBER(stack, struct findings_stack, member)
#define FINDING(member) NUMBER(finding, struct finding, member)
#define HOLDER(member) NUMBER(holder, struct findings_holder, member)
#define SITE(member) NUMBER(site, struct findings_site, member)
static const struct member members[] = {
	META(process),
	META(reason),
	META(verdict),
	META(no_verdict),
	META(written_ns),
	META(sample_bytes),
	META(cycles),
	META(leaked_blocks),
	META(leaked_bytes),
	META(live_blocks),
	META(live_bytes),
	META(dropped_stacks),
	META(dropped_findings),
	META(possible),
	{"meta", "executable", offsetof(struct findings_meta, executable), TEXT},
	{"module", "path", offsetof(struct findings_module, path), TEXT},
	{"module", "build_id", offsetof(struct findings_module, build_id), DIGITS},
	MODULE(low),
	MODULE(high),
	MODULE(bias),
	MODULE(first_epoch),
	MODULE(last_epoch),
	MODULE(is_mapped),
	STACK(id),
	STACK(epoch),
	STACK(depth),
	STACK(first_frame),
	{"stack", "frames", 0, FRAMES},
	FINDING(kind),
	FINDING(detail),
	FINDING(stack),
	FINDING(other_stack),
	FINDING(parent),
	FINDING(cycles),
	FINDING(blocks),
	FINDING(bytes),
	FINDING(indirect_blocks),
	FINDING(indirect_bytes),
	FINDING(reclaimed_blocks),
	FINDING(reclaimed_bytes),
	FINDING(slot_bytes),
	FINDING(first_seen_ms),
	FINDING(last_seen_ms),
	FINDING(address),
	FINDING(slope_bytes_per_s),
	HOLDER(kind),
	HOLDER(finding),
	HOLDER(thread),
	HOLDER(module),
	HOLDER(stack),
	HOLDER(address),
	HOLDER(target),
	{"holder", "name", offsetof(struct findings_holder, name), TEXT},
	SITE(stack),
	SITE(blocks),
	SITE(bytes),
	SITE(slope_bytes_per_s),
};

static void *new_record(const char *word)
{
	static const struct {
		const char *name;
		void *records;
		size_t bytes;
		size_t *count;
	} kinds[] = {
		{"module", modules, sizeof(*modules), &module_count},
		{"stack", stacks, sizeof(*stacks), &stack_count},
		{"finding", list, sizeof(*list), &list_count},
		{"holder", holders, sizeof(*holders), &holder_count},
		{"site", sites, sizeof(*sites), &site_count},
	};

	if (!strcmp(word, "meta"))
		return &meta;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!strcmp(word, kinds[i].name) && *kinds[i].count < RECORDS_MAX)
			return (char *)kinds[i].records + (*kinds[i].count)++ * kinds[i].bytes;
	}
	die(word);
	return NULL;
}

static uint32_t add_text(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		unsigned byte;

		if (from[0] == '\\' && from[1] == 'x' && sscanf(from + 2, "%2x", &byte) == 1) {
			*to = (char)byte;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = 0;
	return findings_string(&writer, text);
}

static void set_build_id(struct findings_module *module, const char *digits)
{
	unsigned byte;

	while (module->build_id_bytes < FINDINGS_BUILD_ID_MAX &&
		sscanf(digits, "%2x", &byte) == 1) {
		module->build_id[module->build_id_bytes++] = (uint8_t)byte;
		digits += 2;
	}
}

static void set_frames(struct findings_stack *stack, const char *numbers)
{
	stack->first_frame = frame_count;
	while (*numbers && frame_count < FRAMES_MAX) {
		char *end;

		frames[frame_count++] = strtoull(numbers, &end, 0);
		stack->depth++;
		numbers = *end == ',' ? end + 1 : end;
	}
}

static void set_member(void *record, const struct member *member, char *value)
{
	char *place = (char *)record + member->offset;
	uint64_t number = strtoull(value, NULL, 0);
	uint32_t text;

	switch (member->bytes) {
	case TEXT:
		text = add_text(value);
		memcpy(place, &text, sizeof(text));
		break;
	case DIGITS:
		set_build_id(record, value);
		break;
	case FRAMES:
		set_frames(record, value);
		break;
	default:
		memcpy(place, &number, (size_t)member->bytes); // little endian
	}
}

static void take_pair(const char *word, void *record, char *pair)
{
	char *equals = strchr(pair, '=');

	if (!equals)
		die(pair);
	*equals = 0;
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		if (strcmp(members[i].record, word) || strcmp(members[i].name, pair))
			continue;
		set_member(record, &members[i], equals + 1);
		return;
	}
	die(pair);
}

static void take_line(char *line)
{
	char *rest, *word = strtok_r(line, " \n", &rest), *pair;
	void *record;

	if (!word)
		return;
	record = new_record(word);
	if (!strcmp(word, "finding"))
		((struct finding *)record)->parent = FINDINGS_NONE;
	if (!strcmp(word, "holder"))
		((struct findings_holder *)record)->module = FINDINGS_NONE;
	while ((pair = strtok_r(NULL, " \n", &rest)))
		take_pair(word, record, pair);
}

static void put(enum findings_section_kind kind, const void *records, size_t bytes, size_t count)
{
	findings_begin(&writer, kind, bytes);
	findings_put(&writer, records, count);
}

int main(int argc, char **argv)
{
	static char line[1 << 20];

	if (argc != 2 || !findings_open(&writer, argv[1]))
		die("the file cannot be made");
	while (fgets(line, sizeof(line), stdin))
		take_line(line);
	put(FINDINGS_META, &meta, sizeof(meta), 1);
	put(FINDINGS_MODULES, modules, sizeof(*modules), module_count);
	put(FINDINGS_STACKS, stacks, sizeof(*stacks), stack_count);
	put(FINDINGS_FRAMES, frames, sizeof(*frames), frame_count);
	put(FINDINGS_LIST, list, sizeof(*list), list_count);
	put(FINDINGS_HOLDERS, holders, sizeof(*holders), holder_count);
	put(FINDINGS_SITES, sites, sizeof(*sites), site_count);
	return findings_close(&writer) ? 0 : 1;
}
