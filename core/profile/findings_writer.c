#include "core/profile/findings_writer.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/os/memory.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"

#include <string.h>

enum { BUFFER_BYTES = 64 << 10, STRING_BYTES_FIRST = 16 << 10 };

static void flush(struct findings_writer *writer)
{
	if (writer->limit != 0 && writer->offset > writer->limit)
		writer->has_failed = true;
	if (!writer->has_failed && !whole_file_write(&writer->file, writer->buffer, writer->used))
		writer->has_failed = true;
	writer->used = 0;
}

static void put_bytes(struct findings_writer *writer, const void *bytes, size_t count)
{
	const char *next = bytes;

	writer->offset += count;
	while (count > 0) {
		size_t part = min_u64(count, BUFFER_BYTES - writer->used);

		memcpy(writer->buffer + writer->used, next, part);
		writer->used += part;
		next += part;
		count -= part;
		if (writer->used == BUFFER_BYTES)
			flush(writer);
	}
}

static void align(struct findings_writer *writer)
{
	static const char zeros[FINDINGS_ALIGN];

	put_bytes(writer, zeros, -writer->offset % FINDINGS_ALIGN);
}

bool findings_open(struct findings_writer *writer, const char *pattern)
{
	static const struct findings_header empty;

	memset(writer, 0, sizeof(*writer));
	writer->buffer = os_map(BUFFER_BYTES);
	if (!writer->buffer)
		return false;
	if (!whole_file_open(&writer->file, pattern)) {
		os_unmap(writer->buffer, BUFFER_BYTES);
		return false;
	}
	put_bytes(writer, &empty, sizeof(empty));
	return true;
}

void findings_begin(
	struct findings_writer *writer, enum findings_section_kind kind, size_t record_bytes)
{
	align(writer);
	writer->sections[writer->section_count++] = (struct findings_section){
		.kind = kind, .record_bytes = (uint32_t)record_bytes, .offset = writer->offset};
}

void findings_put(struct findings_writer *writer, const void *records, size_t count)
{
	struct findings_section *section = &writer->sections[writer->section_count - 1];

	put_bytes(writer, records, count * section->record_bytes);
	section->count += count;
}

/* ---- strings ---- */

static bool grow_strings(struct findings_writer *writer, size_t least)
{
	size_t capacity = writer->string_capacity ? writer->string_capacity : STRING_BYTES_FIRST;
	char *larger;

	while (capacity < least)
		capacity *= 2;
	larger = os_map(capacity);
	if (!larger)
		return false;
	if (writer->strings) {
		memcpy(larger, writer->strings, writer->string_bytes);
		os_unmap(writer->strings, writer->string_capacity);
	} else {
		writer->string_bytes = 1; // the empty string
	}
	writer->strings = larger;
	writer->string_capacity = capacity;
	return true;
}

uint32_t findings_string(struct findings_writer *writer, const char *text)
{
	size_t bytes = text ? strlen(text) + 1 : 0, place = max_u64(writer->string_bytes, 1);

	if (bytes <= 1 || place + bytes > UINT32_MAX ||
		(place + bytes > writer->string_capacity && !grow_strings(writer, place + bytes)))
		return 0;
	memcpy(writer->strings + place, text, bytes);
	writer->string_bytes = place + bytes;
	return (uint32_t)place;
}

static void put_strings(struct findings_writer *writer)
{
	findings_begin(writer, FINDINGS_STRINGS, 1);
	findings_put(writer, writer->strings, writer->string_bytes);
	if (writer->strings)
		os_unmap(writer->strings, writer->string_capacity);
}

/* ---- modules and stacks ---- */

static void put_modules(struct findings_writer *writer)
{
	const struct module *module;

	findings_begin(writer, FINDINGS_MODULES, sizeof(struct findings_module));
	for (uint32_t i = 0; (module = module_get(i)); i++) {
		struct findings_module record = {
			.path = findings_string(writer, module->path),
			.first_epoch = module->first_epoch,
			.last_epoch = load_relaxed(&module->last_epoch),
			.is_mapped = load_relaxed(&module->is_mapped),
			.low = module->low,
			.high = module->high,
			.bias = module->bias,
			.build_id_bytes = module->build_id_bytes,
		};

		static_assert(sizeof(record.build_id) == sizeof(module->build_id), "same limit");
		memcpy(record.build_id, module->build_id, sizeof(record.build_id));
		findings_put(writer, &record, 1);
	}
}

void findings_put_stacks(struct findings_writer *writer)
{
	const struct stack *stack;
	uint64_t first_frame = 0;
	uint32_t id, last = 0;

	put_modules(writer);
	findings_begin(writer, FINDINGS_STACKS, sizeof(struct findings_stack));
	for (id = stack_table_next(0); id != 0; id = stack_table_next(id)) {
		stack = stack_table_get(id);
		findings_put(writer,
			&(struct findings_stack){.id = id,
				.epoch = stack->epoch,
				.depth = stack->depth,
				.first_frame = first_frame},
			1);
		first_frame += stack->depth;
		last = id;
	}
	findings_begin(writer, FINDINGS_FRAMES, sizeof(uint64_t));
	for (id = last ? stack_table_next(0) : 0; id != 0 && id <= last;
		id = stack_table_next(id)) {
		stack = stack_table_get(id);
		findings_put(writer, stack->frames, stack->depth);
	}
}

/* ---- the end ---- */

static void put_table(struct findings_writer *writer)
{
	struct findings_header header = {
		.magic = FINDINGS_MAGIC,
		.header_bytes = sizeof(header),
		.section_bytes = sizeof(struct findings_section),
		.section_count = writer->section_count,
	};

	align(writer);
	header.section_offset = writer->offset;
	put_bytes(
		writer, writer->sections, writer->section_count * sizeof(struct findings_section));
	flush(writer);
	header.file_bytes = writer->offset;
	writer->has_failed = writer->has_failed ||
			     !whole_file_write_at(&writer->file, 0, &header, sizeof(header));
}

void findings_abandon(struct findings_writer *writer)
{
	if (writer->strings)
		os_unmap(writer->strings, writer->string_capacity);
	os_unmap(writer->buffer, BUFFER_BYTES);
	whole_file_close(&writer->file, false);
}

bool findings_close(struct findings_writer *writer)
{
	put_strings(writer);
	put_table(writer);
	os_unmap(writer->buffer, BUFFER_BYTES);
	return whole_file_close(&writer->file, !writer->has_failed);
}
