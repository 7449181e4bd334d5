/*
 * Program headers say where the segments, the unwind table and the notes are. They are read from memory, not from the file, which may be gone or another by
 * now; a segment that is not mapped where they promise it reads as nothing.
 *
 * Our own image is the one that holds __ehdr_start; its headers need no caution.
 */
#include "core/profile/image.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/os/memory.h"
#include "core/os/peek.h"

#include <elf.h>
#include <stddef.h>

enum {
	HEADER_MAX = 64, // program headers looked at
	NOTE_MAX = 64,   // notes looked at in each segment of them
};

static void read_build_id(struct module *module, uintptr_t address, size_t bytes)
{
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint8_t id[MODULE_BUILD_ID_MAX];
	} note;

	for (unsigned i = 0; i < NOTE_MAX && bytes >= sizeof(note.header) + 4; i++) {
		size_t got = peek_some(&note, address, bytes < sizeof(note) ? bytes : sizeof(note));
		size_t step;

		if (got < sizeof(note.header) + 4)
			return;
		if (note.header.n_type == NT_GNU_BUILD_ID && note.header.n_namesz == 4 &&
			note.name[0] == 'G' && note.header.n_descsz <= MODULE_BUILD_ID_MAX) {
			if (got < sizeof(note.header) + 4 + note.header.n_descsz)
				return;
			for (size_t k = 0; k < note.header.n_descsz; k++)
				module->build_id[k] = note.id[k];
			module->build_id_bytes = (uint8_t)note.header.n_descsz;
			return;
		}
		step = sizeof(note.header) + ((note.header.n_namesz + 3u) & ~3u) +
		       ((note.header.n_descsz + 3u) & ~3u);
		if (step > bytes)
			return;
		address += step;
		bytes -= step;
	}
}

/* Sets bias and ranges from the loadable segments. False: none, or none with code. */
static bool place_segments(
	struct module *module, uintptr_t start, const Elf64_Phdr *headers, unsigned count)
{
	uintptr_t low = UINTPTR_MAX, high = 0, text_low = UINTPTR_MAX, text_high = 0;
	bool found = false;

	for (unsigned i = 0; i < count; i++) {
		if (headers[i].p_type != PT_LOAD)
			continue;
		if (headers[i].p_offset < OS_PAGE_BYTES && !found) {
			module->bias =
				start - (headers[i].p_vaddr & ~(uintptr_t)(OS_PAGE_BYTES - 1));
			found = true;
		}
		if (headers[i].p_vaddr < low)
			low = headers[i].p_vaddr;
		if (headers[i].p_vaddr + headers[i].p_memsz > high)
			high = headers[i].p_vaddr + headers[i].p_memsz;
		if (headers[i].p_flags & PF_X) {
			text_low = headers[i].p_vaddr < text_low ? headers[i].p_vaddr : text_low;
			text_high = headers[i].p_vaddr + headers[i].p_memsz;
		}
	}
	module->text_low = module->bias + text_low;
	module->text_high = module->bias + text_high;
	module->low = max_u64(module->bias + low, start);
	module->high = module->bias + high;
	return found && module->high > module->low && module->text_high > module->text_low;
}

/* The readable segment around the unwind table; the entries the table names lie in it, too. */
static void find_segment(
	struct module *module, const Elf64_Phdr *headers, unsigned count, uintptr_t address)
{
	for (unsigned i = 0; i < count; i++) {
		if (headers[i].p_type != PT_LOAD || !(headers[i].p_flags & PF_R) ||
			address - headers[i].p_vaddr >= headers[i].p_filesz)
			continue;
		module->unwind_low = module->bias + headers[i].p_vaddr;
		module->unwind_high = module->unwind_low + headers[i].p_filesz;
	}
}

bool image_read(uintptr_t start, struct module *ret_module)
{
	Elf64_Ehdr header;
	Elf64_Phdr headers[HEADER_MAX];
	unsigned count;

	*ret_module = (struct module){0};
	if (!peek(&header, start, sizeof(header)) || header.e_ident[0] != 0x7f ||
		header.e_ident[1] != 'E' || header.e_ident[2] != 'L' || header.e_ident[3] != 'F' ||
		header.e_ident[EI_CLASS] != ELFCLASS64 ||
		header.e_phentsize != sizeof(Elf64_Phdr) ||
		(header.e_type != ET_DYN && header.e_type != ET_EXEC))
		return false;
	count = header.e_phnum < HEADER_MAX ? header.e_phnum : HEADER_MAX;
	if (!peek(headers, start + header.e_phoff, count * sizeof(headers[0])) ||
		!place_segments(ret_module, start, headers, count))
		return false;
	for (unsigned i = 0; i < count; i++) {
		uintptr_t address = ret_module->bias + headers[i].p_vaddr;

		if (headers[i].p_type == PT_GNU_EH_FRAME) {
			ret_module->unwind_table = address;
			ret_module->unwind_table_bytes = headers[i].p_memsz;
			find_segment(ret_module, headers, count, headers[i].p_vaddr);
			peek(ret_module->unwind_front, address, sizeof(ret_module->unwind_front));
		} else if (headers[i].p_type == PT_NOTE && ret_module->build_id_bytes == 0) {
			read_build_id(ret_module, address, headers[i].p_memsz);
		}
	}
	return true;
}

/* ---- our own ---- */

/* The ELF header of whatever image this code is linked into. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

/* Atomic. */
struct own_code own_code;

/* They lie behind the one object of the image that the compiler knows. */
static const Elf64_Phdr *own_headers(void)
{
	uintptr_t image = (uintptr_t)&__ehdr_start;

	__asm__("" : "+r"(image));
	return (const Elf64_Phdr *)(image + __ehdr_start.e_phoff);
}

/* An image with an interpreter is a program: then this code is linked into a test. */
static bool image_is_library(void)
{
	const Elf64_Phdr *headers = own_headers();

	for (unsigned i = 0; i < __ehdr_start.e_phnum; i++) {
		if (headers[i].p_type == PT_INTERP)
			return false;
	}
	return __ehdr_start.e_type == ET_DYN;
}

/* The executable addresses of this library; empty if it is none. */
void image_find_own_code(void)
{
	const Elf64_Phdr *headers = own_headers();
	uintptr_t base = (uintptr_t)&__ehdr_start;

	store_relaxed(&own_code.low, (uintptr_t)1);
	for (unsigned i = 0; image_is_library() && i < __ehdr_start.e_phnum; i++) {
		if (headers[i].p_type != PT_LOAD || !(headers[i].p_flags & PF_X))
			continue;
		store_relaxed(&own_code.bytes, headers[i].p_memsz);
		store_release(&own_code.low, base + headers[i].p_vaddr);
	}
}
