/*
 * .eh_frame_hdr is a sorted table of (function start, entry); a binary search finds the entry (FDE), which names its common part (CIE). Both hold
 * a small program that, run up to the address, yields the rule. Formats: the Linux Standard Base, "Exception Frames"; DWARF 4, section 6.4.
 *
 * Only rsp, rbp and the return address are followed: that is all compilers need to find the next frame. Anything else gives CFI_NONE, and
 * the caller tries something else.
 */
#include "core/profile/cfi.h"

#include "core/os/peek.h"
#include "core/profile/module.h"

#include <stddef.h>

/* DWARF numbers of the registers, x86-64. */
enum { REGISTER_RBP = 6, REGISTER_RSP = 7, REGISTER_RETURN = 16 };

/* Pointer encodings (DW_EH_PE_*). */
enum {
	ENCODING_ABSOLUTE = 0x00,
	ENCODING_ULEB = 0x01,
	ENCODING_UDATA2 = 0x02,
	ENCODING_UDATA4 = 0x03,
	ENCODING_UDATA8 = 0x04,
	ENCODING_SLEB = 0x09,
	ENCODING_SDATA2 = 0x0a,
	ENCODING_SDATA4 = 0x0b,
	ENCODING_SDATA8 = 0x0c,
	ENCODING_PCREL = 0x10,
	ENCODING_DATAREL = 0x30,
	ENCODING_OMIT = 0xff
};

enum { STATE_STACK_DEPTH = 8, STREAM_BYTES = 128 };

/* Bytes of the module, read ahead. */
struct stream {
	uintptr_t position;
	uintptr_t end;   // nothing beyond belongs to it
	uintptr_t start; // address of buffer[0]
	size_t filled;
	bool failed;                       // ran past the end, or the memory is gone
	uintptr_t direct_low, direct_high; // memory that may be read directly
	uint8_t buffer[STREAM_BYTES];
};

/* Memory that may be read directly, or none. */
struct direct {
	uintptr_t low, high;
};

/* One row of the unwind table. */
struct row {
	uint8_t kind; // enum cfi_kind of the CFA; CFI_NONE: a form we do not know
	bool frame_pointer_known;
	bool return_undefined;
	bool return_unknown; // the return address is elsewhere than at CFA - 8
	int64_t cfa_offset;
	int64_t frame_pointer; // CFI_SAME, CFI_AT_FRAME, or offset from the CFA
};

/* An entry with its common part. */
struct entry {
	struct stream instructions; // of the FDE
	struct stream initial;      // of the CIE
	uintptr_t start;            // first address it covers
	uintptr_t bytes;
	uint64_t code_factor;
	int64_t data_factor;
	uint8_t encoding;
	bool is_signal_frame;
	bool has_augmentation;
};

static struct stream stream_at(uintptr_t position, uintptr_t end, struct direct direct)
{
	struct stream stream; // the buffer is large and needs no zeros

	stream.position = position;
	stream.end = end;
	stream.start = 0;
	stream.filled = 0;
	stream.failed = false;
	stream.direct_low = direct.low;
	stream.direct_high = direct.high;
	return stream;
}

static bool read_at(struct direct direct, void *buffer, uintptr_t address, size_t bytes)
{
	if (address < direct.low || address + bytes > direct.high)
		return peek(buffer, address, bytes);
	__builtin_memcpy(buffer, (const void *)address, bytes);
	return true;
}

static uint8_t next_byte(struct stream *stream)
{
	size_t offset = stream->position - stream->start;

	if (stream->failed || stream->position >= stream->end) {
		stream->failed = true;
		return 0;
	}
	if (stream->position >= stream->direct_low && stream->position < stream->direct_high)
		return *(const uint8_t *)stream->position++;
	if (stream->filled == 0 || offset >= stream->filled) {
		size_t wanted = stream->end - stream->position;

		stream->start = stream->position;
		stream->filled = peek_some(stream->buffer, stream->position,
			wanted < STREAM_BYTES ? wanted : STREAM_BYTES);
		offset = 0;
		if (stream->filled == 0) {
			stream->failed = true;
			return 0;
		}
	}
	stream->position++;
	return stream->buffer[offset];
}

static uint64_t next_bytes(struct stream *stream, unsigned count)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < count; i++)
		value |= (uint64_t)next_byte(stream) << (8 * i);
	return value;
}

static uint64_t next_uleb(struct stream *stream)
{
	uint64_t value = 0;
	uint8_t byte;
	unsigned shift = 0;

	do {
		byte = next_byte(stream);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && !stream->failed);
	return value;
}

static int64_t next_sleb(struct stream *stream)
{
	uint64_t value = 0;
	uint8_t byte;
	unsigned shift = 0;

	do {
		byte = next_byte(stream);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && !stream->failed);
	if (shift < 64 && byte & 0x40)
		value |= UINT64_MAX << shift;
	return (int64_t)value;
}

/* `base` is what ENCODING_DATAREL counts from. */
static uintptr_t next_pointer(struct stream *stream, uint8_t encoding, uintptr_t base)
{
	uintptr_t here = stream->position;
	uint64_t value;

	switch (encoding & 0x0f) {
	case ENCODING_ABSOLUTE:
	case ENCODING_UDATA8:
	case ENCODING_SDATA8:
		value = next_bytes(stream, 8);
		break;
	case ENCODING_ULEB:
		value = next_uleb(stream);
		break;
	case ENCODING_SLEB:
		value = (uint64_t)next_sleb(stream);
		break;
	case ENCODING_UDATA2:
		value = next_bytes(stream, 2);
		break;
	case ENCODING_SDATA2:
		value = (uint64_t)(int16_t)next_bytes(stream, 2);
		break;
	case ENCODING_UDATA4:
		value = next_bytes(stream, 4);
		break;
	case ENCODING_SDATA4:
		value = (uint64_t)(int32_t)next_bytes(stream, 4);
		break;
	default:
		stream->failed = true;
		return 0;
	}
	if ((encoding & 0x70) == ENCODING_PCREL)
		value += here;
	else if ((encoding & 0x70) == ENCODING_DATAREL)
		value += base;
	return value;
}

/* ---- finding the entry ---- */

/* Address of the FDE whose function starts at or before `address`; 0: none. */
static uintptr_t search_table(const struct module *module, uintptr_t address, struct direct direct)
{
	uintptr_t header = module->unwind_table;
	struct stream stream = stream_at(header, header + module->unwind_table_bytes, direct);
	uint8_t version = next_byte(&stream);
	uint8_t frame_encoding = next_byte(&stream);
	uint8_t count_encoding = next_byte(&stream);
	uint8_t table_encoding = next_byte(&stream);
	uint64_t low = 0, high;
	int32_t pair[2];

	if (stream.failed || version != 1 || count_encoding == ENCODING_OMIT ||
		table_encoding != (ENCODING_DATAREL | ENCODING_SDATA4))
		return 0;
	next_pointer(&stream, frame_encoding, header);
	high = next_pointer(&stream, count_encoding, header);
	if (stream.failed || high == 0 || high > module->unwind_table_bytes / sizeof(pair))
		return 0;
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (!read_at(direct, pair, stream.position + middle * sizeof(pair), sizeof(pair)))
			return 0;
		if (header + (uintptr_t)(intptr_t)pair[0] <= address)
			low = middle;
		else
			high = middle;
	}
	if (!read_at(direct, pair, stream.position + low * sizeof(pair), sizeof(pair)) ||
		header + (uintptr_t)(intptr_t)pair[0] > address)
		return 0;
	return header + (uintptr_t)(intptr_t)pair[1];
}

/* A record's length and its end. */
static struct stream open_record(uintptr_t position, struct direct direct)
{
	struct stream stream = stream_at(position, position + 4, direct);
	uint32_t bytes = (uint32_t)next_bytes(&stream, 4);

	// 64-bit lengths do not occur in .eh_frame
	if (bytes == 0 || bytes == UINT32_MAX)
		stream.failed = true;
	stream.end = position + 4 + bytes;
	return stream;
}

static bool read_common(struct entry *entry, uintptr_t position, struct direct direct)
{
	struct stream stream = open_record(position, direct);
	char augmentation[8] = {0};
	uintptr_t data_end;
	uint8_t version;

	if (next_bytes(&stream, 4) != 0)
		return false;
	version = next_byte(&stream);
	for (unsigned i = 0; i < sizeof(augmentation); i++) {
		augmentation[i] = (char)next_byte(&stream);
		if (augmentation[i] == 0)
			break;
	}
	entry->code_factor = next_uleb(&stream);
	entry->data_factor = next_sleb(&stream);
	if (version == 1)
		next_byte(&stream);
	else
		next_uleb(&stream);
	entry->has_augmentation = augmentation[0] == 'z';
	data_end = stream.position;
	if (entry->has_augmentation) {
		uint64_t bytes = next_uleb(&stream);

		data_end = stream.position + bytes;
	}
	for (const char *letter = augmentation + 1;
		entry->has_augmentation && *letter && !stream.failed; letter++) {
		if (*letter == 'R')
			entry->encoding = next_byte(&stream);
		else if (*letter == 'P')
			next_pointer(&stream, next_byte(&stream), 0);
		else if (*letter == 'L')
			next_byte(&stream);
		else if (*letter == 'S')
			entry->is_signal_frame = true;
		else
			return false;
	}
	entry->initial = stream_at(data_end, stream.end, direct);
	return !stream.failed && augmentation[sizeof(augmentation) - 1] == 0;
}

static bool read_entry(uintptr_t position, struct direct direct, struct entry *ret_entry)
{
	struct stream stream = open_record(position, direct);
	uintptr_t here = stream.position;
	uint32_t back = (uint32_t)next_bytes(&stream, 4);

	ret_entry->encoding = ENCODING_ABSOLUTE;
	ret_entry->is_signal_frame = false;
	if (stream.failed || back == 0 || !read_common(ret_entry, here - back, direct))
		return false;
	ret_entry->start = next_pointer(&stream, ret_entry->encoding, 0);
	ret_entry->bytes = next_pointer(&stream, ret_entry->encoding & 0x0f, 0);
	if (ret_entry->has_augmentation) {
		uint64_t bytes = next_uleb(&stream);

		stream.position += bytes;
	}
	ret_entry->instructions = stream_at(stream.position, stream.end, direct);
	return !stream.failed;
}

/* ---- running its program ---- */

static void set_register(struct row *row, uint64_t number, bool known, int64_t offset)
{
	if (number == REGISTER_RBP) {
		row->frame_pointer_known = known;
		row->frame_pointer = offset;
	} else if (number == REGISTER_RETURN) {
		row->return_unknown = !known || offset != -8;
	}
}

static uint8_t kind_of_register(uint64_t number)
{
	return number == REGISTER_RSP ? CFI_STACK : number == REGISTER_RBP ? CFI_FRAME : CFI_NONE;
}

/*
 * What linkers write for the entries of the procedure linkage table, each of 16 bytes, whose last push comes before the jump:
 * CFA = rsp + 8 + ((rip & 15) >= LITERAL) * 8. The address is known.
 */
static bool linkage_expression(struct row *row, struct stream *stream, uintptr_t address)
{
	static const uint8_t before[] = {0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a},
			     behind[] = {0x2a, 0x33, 0x24, 0x22};
	uint8_t literal;

	for (unsigned i = 0; i < sizeof(before); i++) {
		if (next_byte(stream) != before[i])
			return false;
	}
	literal = (uint8_t)(next_byte(stream) - 0x30); // DW_OP_lit0
	for (unsigned i = 0; i < sizeof(behind); i++) {
		if (next_byte(stream) != behind[i])
			return false;
	}
	row->kind = CFI_STACK;
	row->cfa_offset = (address & 15) >= literal ? 16 : 8;
	return literal < 32;
}

/* DW_OP_breg6 (rbp) OFFSET, DW_OP_deref is what gcc writes for functions that realign the stack. */
static bool frame_expression(struct row *row, struct stream *stream)
{
	if (next_byte(stream) != 0x70 + REGISTER_RBP)
		return false;
	row->kind = CFI_FRAME_INDIRECT;
	row->cfa_offset = next_sleb(stream);
	return next_byte(stream) == 0x06;
}

static void cfa_expression(struct row *row, struct stream *stream, uintptr_t address)
{
	enum { LINKAGE_BYTES = 11 };
	uint64_t bytes = next_uleb(stream);
	uintptr_t end = stream->position + bytes;
	bool is_known = bytes == LINKAGE_BYTES ? linkage_expression(row, stream, address)
					       : frame_expression(row, stream);

	if (!is_known || stream->position != end)
		row->kind = CFI_NONE;
	if (end > stream->end || bytes > 4096)
		stream->failed = true;
	stream->position = end;
}

/* The same functions save the caller's rbp where their own points to: DW_OP_breg6 0. */
static void register_expression(struct row *row, struct stream *stream, bool is_address)
{
	uint64_t number = next_uleb(stream);
	uint64_t bytes = next_uleb(stream);
	uintptr_t end = stream->position + bytes;
	bool at_frame = is_address && bytes == 2 && next_byte(stream) == 0x70 + REGISTER_RBP &&
			next_byte(stream) == 0;

	set_register(row, number, at_frame && number == REGISTER_RBP, CFI_AT_FRAME);
	if (bytes > 4096)
		stream->failed = true;
	stream->position = end;
}

struct machine {
	const struct entry *entry;
	struct row row;
	struct row initial;
	struct row stack[STATE_STACK_DEPTH];
	unsigned depth;
	uintptr_t location;
	uintptr_t target;
};

/* Instructions with the operand in the low six bits. True: the program has reached the target. */
static bool run_short(struct machine *machine, uint8_t operation, struct stream *stream)
{
	uint8_t operand = operation & 0x3f;

	switch (operation >> 6) {
	case 1: // advance_loc
		machine->location += operand * machine->entry->code_factor;
		return machine->location > machine->target;
	case 2: // offset
		set_register(&machine->row, operand, true,
			(int64_t)next_uleb(stream) * machine->entry->data_factor);
		return false;
	default: // restore
		if (operand == REGISTER_RBP) {
			machine->row.frame_pointer_known = machine->initial.frame_pointer_known;
			machine->row.frame_pointer = machine->initial.frame_pointer;
		}
		return false;
	}
}

static void run_state(struct machine *machine, uint8_t operation, struct stream *stream)
{
	if (operation == 0x0a) { // remember_state
		if (machine->depth == STATE_STACK_DEPTH)
			stream->failed = true;
		else
			machine->stack[machine->depth++] = machine->row;
	} else if (machine->depth == 0) { // restore_state
		stream->failed = true;
	} else {
		machine->row = machine->stack[--machine->depth];
	}
}

/* Longer than a screen because it is one table: the operations of DWARF. True: the program has reached the target. */
static bool run_long(struct machine *machine, uint8_t operation, struct stream *stream)
{
	struct row *row = &machine->row;
	uint64_t number;

	switch (operation) {
	case 0x00: // nop
		break;
	case 0x01: // set_loc
		machine->location = next_pointer(stream, machine->entry->encoding, 0);
		return machine->location > machine->target;
	case 0x02: // advance_loc1
	case 0x03: // advance_loc2
	case 0x04: // advance_loc4
		machine->location +=
			next_bytes(stream, 1u << (operation - 2)) * machine->entry->code_factor;
		return machine->location > machine->target;
	case 0x05: // offset_extended
		number = next_uleb(stream);
		set_register(row, number, true,
			(int64_t)next_uleb(stream) * machine->entry->data_factor);
		break;
	case 0x11: // offset_extended_sf
		number = next_uleb(stream);
		set_register(row, number, true, next_sleb(stream) * machine->entry->data_factor);
		break;
	case 0x06: // restore_extended
		run_short(machine, (uint8_t)(0xc0 | (next_uleb(stream) & 0x3f)), stream);
		break;
	case 0x07: // undefined
		number = next_uleb(stream);
		if (number == REGISTER_RETURN)
			row->return_undefined = true;
		break;
	case 0x08: // same_value
		if (next_uleb(stream) == REGISTER_RBP)
			set_register(row, REGISTER_RBP, true, CFI_SAME);
		break;
	case 0x09: // register
		number = next_uleb(stream);
		next_uleb(stream);
		set_register(row, number, false, 0);
		break;
	case 0x0a:
	case 0x0b:
		run_state(machine, operation, stream);
		break;
	case 0x0c: // def_cfa
		row->kind = kind_of_register(next_uleb(stream));
		row->cfa_offset = (int64_t)next_uleb(stream);
		break;
	case 0x12: // def_cfa_sf
		row->kind = kind_of_register(next_uleb(stream));
		row->cfa_offset = next_sleb(stream) * machine->entry->data_factor;
		break;
	case 0x0d: // def_cfa_register
		row->kind = kind_of_register(next_uleb(stream));
		break;
	case 0x0e: // def_cfa_offset
		row->cfa_offset = (int64_t)next_uleb(stream);
		break;
	case 0x13: // def_cfa_offset_sf
		row->cfa_offset = next_sleb(stream) * machine->entry->data_factor;
		break;
	case 0x0f: // def_cfa_expression
		cfa_expression(row, stream, machine->target);
		break;
	case 0x10: // expression
	case 0x16: // val_expression
		register_expression(row, stream, operation == 0x10);
		break;
	case 0x14: // val_offset
	case 0x15: // val_offset_sf
		number = next_uleb(stream);
		next_uleb(stream);
		set_register(row, number, false, 0);
		break;
	case 0x2e: // GNU_args_size
		next_uleb(stream);
		break;
	default:
		stream->failed = true;
	}
	return false;
}

/* Runs until the location passes the target or the program ends. False: not understood. */
static bool run_program(struct machine *machine, struct stream *stream)
{
	while (stream->position < stream->end && !stream->failed) {
		uint8_t operation = next_byte(stream);
		bool reached;

		if (operation & 0xc0)
			reached = run_short(machine, operation, stream);
		else
			reached = run_long(machine, operation, stream);
		if (reached)
			break;
	}
	return !stream->failed;
}

static struct cfi_rule rule_of_row(const struct row *row)
{
	struct cfi_rule rule = {.kind = row->kind,
		.frame_pointer = CFI_SAME,
		.cfa_offset = (int32_t)row->cfa_offset};

	if (row->return_undefined)
		rule.kind = CFI_OUTERMOST;
	else if (row->cfa_offset != (int32_t)row->cfa_offset || !row->frame_pointer_known ||
		 row->return_unknown)
		rule.kind = CFI_NONE;
	else if (row->frame_pointer < INT16_MIN || row->frame_pointer > 0)
		rule.kind = CFI_NONE;
	else if (row->frame_pointer == CFI_AT_FRAME && row->kind != CFI_FRAME_INDIRECT)
		rule.kind = CFI_NONE;
	else
		rule.frame_pointer = (int16_t)row->frame_pointer;
	return rule;
}

bool cfi_find_rule(
	const struct module *module, uintptr_t address, bool is_direct, struct cfi_rule *ret_rule)
{
	struct direct direct = {
		is_direct ? module->unwind_low : 0, is_direct ? module->unwind_high : 0};
	struct entry entry;
	struct machine machine = {.entry = &entry, .target = address};
	uintptr_t position = module->unwind_table ? search_table(module, address, direct) : 0;

	if (position == 0 || !read_entry(position, direct, &entry) ||
		address - entry.start >= entry.bytes)
		return false;
	*ret_rule = (struct cfi_rule){.kind = entry.is_signal_frame ? CFI_SIGNAL : CFI_NONE};
	if (entry.is_signal_frame)
		return true;
	machine.location = entry.start;
	machine.row = (struct row){.frame_pointer_known = true, .frame_pointer = CFI_SAME};
	if (!run_program(&machine, &entry.initial))
		return true;
	machine.initial = machine.row;
	if (run_program(&machine, &entry.instructions))
		*ret_rule = rule_of_row(&machine.row);
	return true;
}
