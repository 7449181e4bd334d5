/*
 * The text grows in one mapping of ours, which is doubled when full; when the kernel gives no more, the text is cut and says so. Numbers first,
 * names last: names come from files and may be anything, so control characters in them become '?'.
 */
#include "core/profile/report.h"

#include "core/base/format.h"
#include "core/base/sort.h"
#include "core/os/log.h"
#include "core/os/memory.h"
#include "core/os/syscall.h"
#include "core/os/whole_file.h"
#include "core/profile/stack_table.h"
#include "core/profile/symbol.h"
#include "core/profile/module.h"

#include <stdarg.h>

enum { LINE_BYTES = 1024, TEXT_BYTES_FIRST = 65536 };

static const char rule_line[] =
	"=================================================================\n";

/* The report under construction. */
struct text {
	char *start;
	size_t length;
	size_t capacity; // 0: no memory at all
	bool is_cut;
};

static bool text_grow(struct text *text, size_t least)
{
	size_t capacity = text->capacity ? 2 * text->capacity : TEXT_BYTES_FIRST;
	char *larger;

	while (capacity < least)
		capacity *= 2;
	larger = os_map(capacity);
	if (!larger)
		return false;
	for (size_t i = 0; i < text->length; i++)
		larger[i] = text->start[i];
	if (text->start)
		os_unmap(text->start, text->capacity);
	text->start = larger;
	text->capacity = capacity;
	return true;
}

static void text_append(struct text *text, const char *bytes, size_t count)
{
	if (text->is_cut)
		return;
	if (text->length + count > text->capacity && !text_grow(text, text->length + count)) {
		text->is_cut = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		text->start[text->length++] = bytes[i];
}

__attribute__((format(printf, 2, 3))) static void text_add(
	struct text *text, const char *format, ...)
{
	char line[LINE_BYTES];
	va_list list;
	size_t length;

	va_start(list, format);
	length = format_text_list(line, sizeof(line), format, list);
	va_end(list);
	text_append(text, line, length);
}

static void text_release(struct text *text)
{
	if (text->start)
		os_unmap(text->start, text->capacity);
}

/* As text_add("%s"), for names from files. */
static void text_add_name(struct text *text, const char *name)
{
	for (; *name; name++) {
		char character = *name >= ' ' || *name < 0 ? *name : '?';

		text_append(text, &character, 1);
	}
}

/* ---- frames ---- */

static void add_frame(struct text *text, unsigned index, uintptr_t frame, uint32_t epoch)
{
	struct symbol symbol;
	uintptr_t address = frame - 1; // inside the call instruction

	if (!symbol_find(address, epoch, &symbol)) {
		text_add(text, "    #%u 0x%lx  (<unknown module>)\n", index, address);
		return;
	}
	text_add(text, "    #%u 0x%lx ", index, address);
	if (symbol.function) {
		text_add(text, "in ");
		text_add_name(text, symbol.function);
	}
	text_add(text, " (");
	text_add_name(text, symbol.module->path);
	text_add(text, "+0x%lx)\n", symbol.offset);
}

static void add_stack(struct text *text, uint32_t id, uint64_t slot_bytes)
{
	const struct stack *stack = stack_table_get(id);

	if (!stack) {
		text_add(text, "    (no stack was recorded; slots of %lu bytes)\n", slot_bytes);
		return;
	}
	for (unsigned i = 0; i < stack->depth; i++)
		add_frame(text, i, stack->frames[i], stack->epoch);
}

/* ---- the report ---- */

/* Direct before indirect, then more bytes, then more blocks, then something fixed. */
static bool is_before(const void *left, const void *right)
{
	const struct leak_entry *a = left, *b = right;

	if (a->is_indirect != b->is_indirect)
		return a->is_indirect < b->is_indirect;
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes;
	if (a->blocks != b->blocks)
		return a->blocks > b->blocks;
	return a->stack < b->stack;
}

static void add_entry(struct text *text, const struct leak_entry *entry)
{
	text_add(text, "%s leak of %lu byte(s) in %lu object(s) allocated from:\n",
		entry->is_indirect ? "Indirect" : "Direct", entry->bytes, entry->blocks);
	add_stack(text, entry->stack, entry->slot_bytes);
	if (entry->reclaimed_blocks != 0)
		text_add(text,
			"    (%lu byte(s) in %lu object(s) of these were taken back while the program ran)\n",
			entry->reclaimed_bytes, entry->reclaimed_blocks);
	text_add(text, "\n");
}

/* In the words of cli/render_text.c. */
static void add_growing(struct text *text, const struct finding *finding)
{
	text_add(text,
		"Growing by %lu byte(s) per second (%lu to %lu), %lu so far: %lu byte(s) in %lu object(s) allocated from:\n",
		finding->slope_bytes_per_s, finding->slope_low_bytes_per_s,
		finding->slope_high_bytes_per_s, finding->grown_bytes, finding->bytes,
		finding->blocks);
	add_stack(text, finding->stack, finding->slot_bytes);
	text_add(text, "\n");
}

/* Notes that are worth a report of their own. Nearly every program has left a pointer to freed memory somewhere. */
static bool has_news(const struct leak_notes *notes)
{
	return (notes->double_frees | notes->invalid_frees | notes->growing_count |
		       notes->incomplete) != 0;
}

static void add_notes(struct text *text, const struct leak_notes *notes)
{
	if (notes->growing_dropped)
		text_add(text, "Gasket: %lu more site(s) grow.\n", notes->growing_dropped);
	if (notes->double_frees)
		text_add(text, "Gasket: %lu free(s) of a block that was free already: ignored.\n",
			notes->double_frees);
	if (notes->invalid_frees)
		text_add(text, "Gasket: %lu free(s) of an address that is no block: ignored.\n",
			notes->invalid_frees);
	if (notes->dangling_blocks)
		text_add(text,
			"Gasket: %lu freed block(s), %lu byte(s), to which something still refers: kept.\n",
			notes->dangling_blocks, notes->dangling_bytes);
	if (notes->incomplete)
		text_add(text,
			"Gasket: the last collection gave no verdict; leaks may be missing.\n");
	if (has_news(notes) || notes->dangling_blocks)
		text_add(text, "\n");
}

static void build(struct text *text, const struct leak_entry *entries, size_t count,
	const struct leak_notes *notes)
{
	uint64_t blocks = 0, bytes = 0;

	if (count > 0) {
		text_add(text, "\n%s", rule_line);
		text_add(text, "==%lu==ERROR: Gasket: detected memory leaks\n\n",
			(uint64_t)SYSCALL(getpid));
	}
	for (size_t i = 0; i < count; i++) {
		add_entry(text, &entries[i]);
		blocks += entries[i].blocks;
		bytes += entries[i].bytes;
	}
	for (size_t i = 0; i < notes->growing_count; i++)
		add_growing(text, notes->growing[i]);
	add_notes(text, notes);
	if (count > 0)
		text_add(text, "SUMMARY: Gasket: %lu byte(s) leaked in %lu allocation(s).\n", bytes,
			blocks);
}

/* ---- output ---- */

static bool text_equals(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static bool write_file(const char *pattern, const char *bytes, size_t count)
{
	struct whole_file file;

	if (whole_file_open(&file, pattern) &&
		whole_file_close(&file, whole_file_write(&file, bytes, count)))
		return true;
	log_line("the report could not be written to %s", file.path);
	return false;
}

bool report_write(
	const char *where, struct leak_entry *entries, size_t count, const struct leak_notes *notes)
{
	static const char cut[] = "Gasket: the report was cut: no memory.\n";
	struct text text = {0};
	bool done;

	if (count == 0 && !has_news(notes))
		return true;
	sort_items(entries, count, sizeof(entries[0]), is_before);
	build(&text, entries, count, notes);
	symbols_close();
	if (text_equals(where, "stderr"))
		done = log_write(text.start, text.length);
	else
		done = write_file(where, text.start, text.length);
	if (text.is_cut)
		log_write(cut, sizeof(cut) - 1);
	text_release(&text);
	return done;
}

/* ---- one line about a site ---- */

static const char *last_part(const char *path)
{
	const char *part = path;

	for (; *path; path++) {
		if (*path == '/')
			part = path + 1;
	}
	return part;
}

/* Libraries that allocate for their callers. */
static bool is_plumbing(const char *path)
{
	static const char *const names[] = {
		"libc.so", "libc-2", "libstdc++", "libc++", "ld-linux", "libgcc_s"};
	const char *part = last_part(path);

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		unsigned k = 0;

		while (names[i][k] && names[i][k] == part[k])
			k++;
		if (names[i][k] == 0)
			return true;
	}
	return false;
}

size_t report_name_site(uint32_t id, char *buffer, size_t capacity)
{
	const struct stack *stack = stack_table_get(id);
	struct symbol symbol;
	size_t length;

	for (unsigned i = 0; stack && i < stack->depth; i++) {
		if (!symbol_find(stack->frames[i] - 1, stack->epoch, &symbol) ||
			is_plumbing(symbol.module->path))
			continue;
		length = format_text(buffer, capacity, "%s%s (%s+0x%lx)",
			symbol.function ? "in " : "at", symbol.function ? symbol.function : "",
			symbol.module->path, symbol.offset);
		symbols_close();
		return length;
	}
	symbols_close();
	return format_text(buffer, capacity, "by an unknown site");
}
