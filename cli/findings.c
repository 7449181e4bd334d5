/*
 * The header is read first, then the table, then each section by itself, so that a section nobody asked for costs no memory. Counts are held
 * against the size of the file before anything is allocated for them: memory is bounded by a small multiple of the file.
 */
#include "cli/findings.h"

#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SECTIONS_MAX = 1024,
	RECORD_BYTES_MIN = 4,
	PIECE_BYTES = 1 << 18,
	DEPTH_MAX =
		256, // several times what is ever recorded: stacks of a made-up file may share their frames
};

/* How the sections are known: where their records go, and how large ours are. */
struct section_rule {
	const char *name;
	size_t record_bytes;
	size_t records, count; // offsets of the two members in struct findings
};

#define RULE(words, type, member) \
	{ \
		words, sizeof(type), offsetof(struct findings, member##s), \
			offsetof(struct findings, member##_count) \
	}
static const struct section_rule section_rules[FINDINGS_SECTION_KINDS] = {
	[FINDINGS_META] = {"meta", sizeof(struct findings_meta), 0, 0},
	[FINDINGS_STRINGS] = {"strings", 1, offsetof(struct findings, strings),
		offsetof(struct findings, string_bytes)},
	[FINDINGS_MODULES] = RULE("modules", struct findings_module, module),
	[FINDINGS_STACKS] = RULE("stacks", struct findings_stack, stack),
	[FINDINGS_FRAMES] = RULE("frames", uint64_t, frame),
	[FINDINGS_LIST] = {"list", sizeof(struct finding), offsetof(struct findings, list),
		offsetof(struct findings, list_count)},
	[FINDINGS_HOLDERS] = RULE("holders", struct findings_holder, holder),
	[FINDINGS_SITES] = RULE("sites", struct findings_site, site),
	[FINDINGS_BLOCKS] = RULE("blocks", struct findings_block, block),
	[FINDINGS_EDGES] = RULE("edges", struct findings_edge, edge),
	[FINDINGS_TIMES] = RULE("times", uint64_t, time),
	[FINDINGS_SIZES] = RULE("sizes", struct findings_site, size),
	[FINDINGS_SERIES] = {"series", sizeof(uint64_t), offsetof(struct findings, series),
		offsetof(struct findings, series_count)},
};
#undef RULE

/* One file being loaded. `fault` is what the line says of it. */
struct load {
	struct findings *findings;
	int fd;
	uint64_t file_bytes;
	const char *fault;
	const char *section; // in which, or NULL
};

static bool set_fault(struct load *load, const char *fault)
{
	load->fault = fault;
	return false;
}

static bool read_at(struct load *load, void *buffer, size_t bytes, uint64_t offset)
{
	char *into = buffer;

	while (bytes > 0) {
		ssize_t got = pread(load->fd, into, bytes, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return set_fault(load, strerror(errno));
		if (got == 0)
			return set_fault(load, "it became shorter while it was read");
		into += got;
		offset += (uint64_t)got;
		bytes -= (size_t)got;
	}
	return true;
}

/* `count` things of `bytes` each at `offset` lie in the file. */
static bool is_inside(const struct load *load, uint64_t offset, uint64_t count, uint64_t bytes)
{
	return offset <= load->file_bytes && bytes > 0 &&
	       count <= (load->file_bytes - offset) / bytes;
}

/* Copies records of `theirs` bytes into zeroed ones of `ours`, a piece of the file at a time. */
static bool read_records(
	struct load *load, const struct findings_section *section, char *into, size_t ours)
{
	size_t theirs = section->record_bytes, known = theirs < ours ? theirs : ours;
	size_t in_piece = theirs < PIECE_BYTES ? PIECE_BYTES / theirs : 1;
	uint64_t offset = section->offset, left = section->count;
	char *piece;

	if (theirs == ours)
		return read_at(load, into, left * ours, offset);
	piece = malloc(in_piece * theirs);
	if (!piece)
		return set_fault(load, "no memory");
	while (left > 0) {
		size_t count = left < in_piece ? (size_t)left : in_piece;

		if (!read_at(load, piece, count * theirs, offset))
			break;
		for (size_t i = 0; i < count; i++, into += ours)
			memcpy(into, piece + i * theirs, known);
		offset += count * theirs;
		left -= count;
	}
	free(piece);
	return left == 0;
}

static bool load_meta(struct load *load, const struct findings_section *section)
{
	struct findings_section first = *section;

	if (section->count == 0)
		return true;
	first.count = 1;
	return read_records(
		load, &first, (char *)&load->findings->meta, sizeof(load->findings->meta));
}

static bool load_section(struct load *load, const struct findings_section *section)
{
	const struct section_rule *rule = &section_rules[section->kind];
	char *base = (char *)load->findings;
	void **slot = (void **)(void *)(base + rule->records);
	char *records;

	load->section = rule->name;
	if (section->record_bytes <
		(rule->record_bytes < RECORD_BYTES_MIN ? rule->record_bytes : RECORD_BYTES_MIN))
		return set_fault(load, "its records are too small");
	if (section->kind == FINDINGS_STRINGS && section->record_bytes != 1)
		return set_fault(load, "its records are no bytes");
	if (!is_inside(load, section->offset, section->count, section->record_bytes))
		return set_fault(load, "it reaches beyond the end of the file");
	if (section->kind == FINDINGS_META)
		return load_meta(load, section);
	if (*slot)
		return set_fault(load, "it is there twice");
	/* One byte more: it ends the strings, and a section without records is still seen as there. */
	if (section->count > (SIZE_MAX - 1) / rule->record_bytes)
		return set_fault(load, "no memory");
	records = calloc(1, section->count * rule->record_bytes + 1);
	if (!records)
		return set_fault(load, "no memory");
	*slot = records;
	if (!read_records(load, section, records, rule->record_bytes))
		return false;
	*(size_t *)(void *)(base + rule->count) = section->count;
	return true;
}

static bool load_header(struct load *load, struct findings_header *ret_header)
{
	struct findings_header header = {0};

	if (load->file_bytes < sizeof(header))
		return set_fault(load, "it is no file of findings");
	if (!read_at(load, &header, sizeof(header), 0))
		return false;
	if (header.magic == 0)
		return set_fault(load, "it was cut: the process ended before it was written whole");
	if (header.magic != FINDINGS_MAGIC)
		return set_fault(load, "it is no file of findings");
	if (header.file_bytes > load->file_bytes)
		return set_fault(load, "it was cut: its end is missing");
	if (header.section_bytes < sizeof(struct findings_section) ||
		header.section_count > SECTIONS_MAX ||
		!is_inside(load, header.section_offset, header.section_count, header.section_bytes))
		return set_fault(load, "its table of sections is damaged");
	*ret_header = header;
	return true;
}

static bool load_all(struct load *load)
{
	struct findings_header header;

	if (!load_header(load, &header))
		return false;
	for (uint64_t i = 0; i < header.section_count; i++) {
		struct findings_section section;

		load->section = NULL;
		if (!read_at(load, &section, sizeof(section),
			    header.section_offset + i * header.section_bytes))
			return false;
		if (section.kind == 0 || section.kind >= FINDINGS_SECTION_KINDS)
			continue;
		if (!load_section(load, &section))
			return false;
	}
	return true;
}

bool findings_load(struct findings *findings, int fd, const char *name)
{
	struct load load = {.findings = findings, .fd = fd};
	struct stat status;

	*findings = (struct findings){.name = name};
	if (fstat(fd, &status)) {
		set_fault(&load, strerror(errno));
	} else if (!S_ISREG(status.st_mode)) {
		set_fault(&load, "it is no regular file");
	} else {
		load.file_bytes = (uint64_t)status.st_size;
		if (load_all(&load))
			return true;
	}
	findings_release(findings);
	if (load.section)
		warn_line("%s: section '%s': %s", name, load.section, load.fault);
	else
		warn_line("%s: %s", name, load.fault);
	return false;
}

bool findings_load_path(struct findings *findings, const char *path)
{
	/* Not to wait for a writer if it is a pipe. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool loaded;

	if (fd < 0) {
		warn_line("%s: %s", path, strerror(errno));
		return false;
	}
	loaded = findings_load(findings, fd, path);
	close(fd);
	return loaded;
}

void findings_release(struct findings *findings)
{
	for (int kind = FINDINGS_STRINGS; kind < FINDINGS_SECTION_KINDS; kind++)
		free(*(void **)(void *)((char *)findings + section_rules[kind].records));
	*findings = (struct findings){0};
}

const char *findings_text(const struct findings *findings, uint32_t offset)
{
	if (offset == 0)
		return "";
	return offset < findings->string_bytes ? findings->strings + offset : "?";
}

const struct findings_stack *findings_find_stack(const struct findings *findings, uint32_t id)
{
	size_t low = 0, high = findings->stack_count;

	if (id == 0)
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (findings->stacks[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < findings->stack_count && findings->stacks[low].id == id
		       ? &findings->stacks[low]
		       : NULL;
}

const uint64_t *findings_frames(const struct findings *findings, const struct findings_stack *stack)
{
	if (stack->depth == 0 || stack->depth > DEPTH_MAX ||
		stack->first_frame > findings->frame_count ||
		stack->depth > findings->frame_count - stack->first_frame)
		return NULL;
	return findings->frames + stack->first_frame;
}

int findings_module_at(const struct findings *findings, uint64_t address, uint32_t epoch)
{
	for (size_t i = 0; i < findings->module_count && i < INT32_MAX; i++) {
		const struct findings_module *module = &findings->modules[i];

		if (address >= module->low && address < module->high &&
			epoch >= module->first_epoch && epoch <= module->last_epoch)
			return (int)i;
	}
	return -1;
}

#define WORDS(name, words) words,
#define LOOK_UP(list, index) \
	static const char *const names[] = {list(WORDS)}; \
	return (index) < sizeof(names) / sizeof(*names) ? names[index] : "unknown"

const char *findings_kind_word(uint32_t kind)
{
	LOOK_UP(FINDING_KINDS, kind);
}

const char *findings_misuse_words(uint32_t misuse)
{
	LOOK_UP(FINDING_MISUSES, misuse);
}

const char *findings_holder_words(uint32_t kind)
{
	LOOK_UP(FINDINGS_HOLDER_KINDS, kind);
}

const char *findings_verdict_words(uint32_t verdict)
{
	LOOK_UP(FINDINGS_VERDICTS, verdict);
}

const char *findings_reason_word(uint32_t reason)
{
	LOOK_UP(FINDINGS_REASONS, reason);
}

const char *findings_possible_words(uint32_t possible)
{
	LOOK_UP(FINDINGS_POSSIBLES, possible);
}
