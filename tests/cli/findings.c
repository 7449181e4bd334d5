/*
 * The reader of findings against the writer of the core, and against files that nobody wrote: cut at any byte, with any byte changed, with
 * records of other sizes.
 */
#include "cli/findings.h"
#include "cli/command.h"
#include "core/profile/findings_writer.h"

#include "tests/harness/test.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char message[256]; // the last one
static int warnings;

void warn_line(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(message, sizeof(message), format, list);
	va_end(list);
	warnings++;
}

void fail(int status, const char *format, ...)
{
	(void)format;
	exit(status);
}

static char path[64] = "/tmp/gasket-findings-XXXXXX";

static const struct findings_module module = {
	.low = 0x1000, .high = 0x9000, .first_epoch = 1, .last_epoch = 3, .bias = 0x1000};
static const uint64_t frames[] = {0x1100, 0x1200, 0x1300, 0x2100};
static const struct findings_stack stacks[] = {
	{.id = 3, .epoch = 1, .depth = 3}, {.id = 7, .epoch = 4, .depth = 1, .first_frame = 3}};
static const struct findings_holder holder = {
	.kind = FINDINGS_HOLDER_STACK, .thread = 12, .address = 0x77};
static const struct findings_edge edges[] = {{0, 1, 0}, {1, 0, 0}};

static void write_file(void)
{
	static struct findings_writer writer;
	struct findings_meta meta = {.process = 4711, .verdict = FINDINGS_VERDICT_FULL};
	struct finding finding = {.stack = 3, .blocks = 2, .bytes = 64, .parent = FINDINGS_NONE};
	struct findings_site site = {.stack = 7, .bytes = 1};
	struct findings_block block = {.address = 0x5000, .bytes = 16};
	struct findings_module named = module;

	close(mkstemp(path));
	CHECK(findings_open(&writer, path));
	meta.executable = findings_string(&writer, "/usr/bin/some-program");
	named.path = findings_string(&writer, "/usr/lib/some.so");
	findings_begin(&writer, FINDINGS_META, sizeof(meta));
	findings_put(&writer, &meta, 1);
	findings_begin(&writer, FINDINGS_MODULES, sizeof(named));
	findings_put(&writer, &named, 1);
	findings_begin(&writer, FINDINGS_STACKS, sizeof(*stacks));
	findings_put(&writer, stacks, 2);
	findings_begin(&writer, FINDINGS_FRAMES, sizeof(*frames));
	findings_put(&writer, frames, 4);
	findings_begin(&writer, FINDINGS_LIST, sizeof(finding));
	findings_put(&writer, &finding, 1);
	findings_begin(&writer, FINDINGS_HOLDERS, sizeof(holder));
	findings_put(&writer, &holder, 1);
	findings_begin(&writer, FINDINGS_SITES, sizeof(site));
	findings_put(&writer, &site, 1);
	findings_begin(&writer, FINDINGS_BLOCKS, sizeof(block));
	findings_put(&writer, &block, 1);
	findings_begin(&writer, FINDINGS_EDGES, sizeof(*edges));
	findings_put(&writer, edges, 2);
	CHECK(findings_close(&writer));
}

static char *bytes;
static size_t size;

static void read_file(void)
{
	FILE *file;

	write_file();
	file = fopen(path, "r");
	CHECK_NOT_NULL(file);
	bytes = malloc(1 << 16);
	size = fread(bytes, 1, 1 << 16, file);
	fclose(file);
	unlink(path);
	CHECK(size > sizeof(struct findings_header));
}

/* Loads `count` bytes as a file. */
static bool load(struct findings *findings, const void *from, size_t count)
{
	int fd = memfd_create("findings", MFD_CLOEXEC);
	bool loaded;

	CHECK(fd >= 0);
	CHECK_EQ((size_t)write(fd, from, count), count);
	warnings = 0;
	loaded = findings_load(findings, fd, "some.file");
	close(fd);
	CHECK_EQ(warnings, !loaded);
	return loaded;
}

static uint64_t digest;

static void use(const void *memory, size_t count)
{
	for (size_t i = 0; i < count; i++)
		digest = digest * 31 + ((const unsigned char *)memory)[i];
}

/* Follows every index and offset. */
static void use_all(const struct findings *findings)
{
	use(findings_text(findings, findings->meta.executable), 1);
	for (size_t i = 0; i < findings->module_count; i++) {
		const char *text = findings_text(findings, findings->modules[i].path);

		use(text, strlen(text));
	}
	for (size_t i = 0; i < findings->stack_count; i++) {
		const struct findings_stack *stack = &findings->stacks[i];
		const uint64_t *at = findings_frames(findings, stack);

		for (size_t j = 0; at && j < stack->depth; j++)
			findings_module_at(findings, at[j], stack->epoch);
		findings_find_stack(findings, stack->id);
	}
	for (size_t i = 0; i < findings->list_count; i++) {
		use(findings_kind_word(findings->list[i].kind), 1);
		use(findings_misuse_words(findings->list[i].detail), 1);
		findings_find_stack(findings, findings->list[i].stack);
	}
	for (size_t i = 0; i < findings->holder_count; i++) {
		use(findings_holder_words(findings->holders[i].kind), 1);
		use(findings_text(findings, findings->holders[i].name), 1);
	}
	use(findings->sites, findings->site_count * sizeof(*findings->sites));
	use(findings->blocks, findings->block_count * sizeof(*findings->blocks));
	use(findings->edges, findings->edge_count * sizeof(*findings->edges));
	use(findings_verdict_words(findings->meta.verdict), 1);
	use(findings_reason_word(findings->meta.reason), 1);
}

TEST(what_was_written_is_read)
{
	struct findings findings;

	read_file();
	CHECK(load(&findings, bytes, size));
	CHECK_EQ(findings.meta.process, 4711u);
	CHECK_STR_EQ(findings_text(&findings, findings.meta.executable), "/usr/bin/some-program");
	CHECK_EQ(findings.module_count, 1u);
	CHECK_STR_EQ(findings_text(&findings, findings.modules[0].path), "/usr/lib/some.so");
	CHECK_EQ(findings.stack_count, 2u);
	CHECK_EQ(findings.list_count, 1u);
	CHECK_EQ(findings.list[0].bytes, 64u);
	CHECK_EQ(findings.holder_count, 1u);
	CHECK_EQ(findings.holders[0].address, 0x77u);
	CHECK_EQ(findings.site_count, 1u);
	CHECK_EQ(findings.block_count, 1u);
	CHECK_EQ(findings.blocks[0].bytes, 16u);
	CHECK_EQ(findings.edge_count, 2u);
	CHECK_EQ(findings.edges[1].from, 1u);
	findings_release(&findings);
	CHECK_NULL(findings.stacks);
}

TEST(what_is_out_of_range_is_unknown)
{
	struct findings findings;
	struct findings_stack wild;

	read_file();
	CHECK(load(&findings, bytes, size));
	CHECK_STR_EQ(findings_text(&findings, 0), "");
	CHECK_STR_EQ(findings_text(&findings, (uint32_t)findings.string_bytes), "?");
	CHECK_STR_EQ(findings_text(&findings, UINT32_MAX), "?");
	CHECK(findings_find_stack(&findings, 3) == &findings.stacks[0]);
	CHECK(findings_find_stack(&findings, 7) == &findings.stacks[1]);
	CHECK_NULL(findings_find_stack(&findings, 0));
	CHECK_NULL(findings_find_stack(&findings, 5));
	CHECK_NULL(findings_find_stack(&findings, 8));
	CHECK_EQ(findings_frames(&findings, &findings.stacks[1])[0], 0x2100u);
	wild = (struct findings_stack){.depth = 2, .first_frame = 3};
	CHECK_NULL(findings_frames(&findings, &wild));
	wild = (struct findings_stack){.depth = 2, .first_frame = UINT64_MAX};
	CHECK_NULL(findings_frames(&findings, &wild));
	wild = (struct findings_stack){.depth = UINT32_MAX};
	CHECK_NULL(findings_frames(&findings, &wild));
	CHECK_EQ(findings_module_at(&findings, 0x1000, 1), 0);
	CHECK_EQ(findings_module_at(&findings, 0x9000, 1), -1);
	CHECK_EQ(findings_module_at(&findings, 0x1000, 4), -1);
	CHECK_STR_EQ(findings_kind_word(FINDING_KIND_COUNT), "unknown");
	CHECK_STR_EQ(findings_holder_words(UINT32_MAX), "unknown");
	findings_release(&findings);
}

TEST(a_cut_file_is_refused_with_one_line)
{
	struct findings findings;
	struct findings_header header;

	read_file();
	for (size_t count = 0; count < size; count++) {
		CHECK(!load(&findings, bytes, count));
		CHECK(!strncmp(message, "some.file: ", 11));
	}
	CHECK_STR_EQ(message, "some.file: it was cut: its end is missing");
	memcpy(&header, bytes, sizeof(header));
	header.magic = 0;
	memcpy(bytes, &header, sizeof(header));
	CHECK(!load(&findings, bytes, size));
	CHECK_STR_EQ(
		message, "some.file: it was cut: the process ended before it was written whole");
	bytes[0] = 'x';
	CHECK(!load(&findings, bytes, size));
	CHECK_STR_EQ(message, "some.file: it is no file of findings");
}

/* The table's entry of a section. */
static struct findings_section *section_of(enum findings_section_kind kind)
{
	struct findings_header header;

	memcpy(&header, bytes, sizeof(header));
	for (uint64_t i = 0; i < header.section_count; i++) {
		struct findings_section *section =
			(struct findings_section *)(void *)(bytes + header.section_offset) + i;

		if (section->kind == kind)
			return section;
	}
	test_fail(__FILE__, __LINE__, "no section %d", kind);
}

TEST(a_section_outside_is_refused_with_its_name)
{
	struct findings findings;

	read_file();
	section_of(FINDINGS_HOLDERS)->count = UINT64_MAX;
	CHECK(!load(&findings, bytes, size));
	CHECK_STR_EQ(
		message, "some.file: section 'holders': it reaches beyond the end of the file");
	section_of(FINDINGS_HOLDERS)->count = 1;
	section_of(FINDINGS_LIST)->offset = UINT64_MAX - 8;
	CHECK(!load(&findings, bytes, size));
	CHECK_STR_EQ(message, "some.file: section 'list': it reaches beyond the end of the file");
	section_of(FINDINGS_LIST)->kind = FINDINGS_SITES;
	CHECK(!load(&findings, bytes, size));
}

TEST(older_and_newer_records_are_read)
{
	struct findings findings;
	struct findings_section *section;

	/* Shorter: as if only the first half of the second stack were known. */
	read_file();
	section = section_of(FINDINGS_STACKS);
	section->record_bytes = sizeof(*stacks) / 2;
	section->count = 4;
	CHECK(load(&findings, bytes, size));
	CHECK_EQ(findings.stack_count, 4u);
	CHECK_EQ(findings.stacks[0].id, 3u);
	CHECK_EQ(findings.stacks[0].reserved, 0u);
	CHECK_EQ(findings.stacks[2].id, 7u);
	CHECK_EQ(findings.stacks[2].first_frame, 0u);
	findings_release(&findings);
	/* Longer: two of ours are one of theirs. */
	section = section_of(FINDINGS_STACKS);
	section->record_bytes = 2 * sizeof(*stacks);
	section->count = 1;
	CHECK(load(&findings, bytes, size));
	CHECK_EQ(findings.stack_count, 1u);
	CHECK_EQ(findings.stacks[0].id, 3u);
	findings_release(&findings);
	/* A section of tomorrow. */
	section_of(FINDINGS_STACKS)->kind = 4711;
	CHECK(load(&findings, bytes, size));
	CHECK_EQ(findings.stack_count, 0u);
	findings_release(&findings);
}

TEST(changed_bytes_do_no_harm)
{
	struct findings findings;
	uint64_t random = 88172645463325252u;
	char *changed;
	int loaded = 0;

	read_file();
	changed = malloc(size);
	for (int round = 0; round < 20000; round++) {
		memcpy(changed, bytes, size);
		for (int i = 0; i < 1 + round % 3; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			changed[random % size] = (char)(random >> 40);
		}
		if (!load(&findings, changed, size))
			continue;
		loaded++;
		use_all(&findings);
		findings_release(&findings);
	}
	CHECK(loaded > 1000);
	free(changed);
}

TEST(only_regular_files_are_read)
{
	struct findings findings;

	CHECK(!findings_load_path(&findings, "/dev/zero"));
	CHECK_STR_EQ(message, "/dev/zero: it is no regular file");
	CHECK(!findings_load_path(&findings, "/"));
	CHECK_STR_EQ(message, "/: it is no regular file");
	CHECK(!findings_load_path(&findings, "/no/such"));
	CHECK_STR_EQ(message, "/no/such: No such file or directory");
}
