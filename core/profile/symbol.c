/*
 * For each module asked about, its file is read once: section headers, then the symbol table and its strings, with pread into memory of ours (a
 * mapping of the file would fault if somebody truncated it). The functions are sorted by address; a lookup is a binary search.
 *
 * The file is found by path and believed only if its build-id is the one that was in memory.
 */
#include "core/profile/symbol.h"

#include "core/base/sort.h"
#include "core/os/memory.h"
#include "core/os/syscall.h"
#include "core/profile/module.h"

#include <elf.h>
#include <fcntl.h>

enum { FILES_MAX = 512, SECTIONS_MAX = 8192 };

#define TABLE_BYTES_MAX ((size_t)1 << 30)

/* A function of a module. */
struct function {
	uint64_t start; // address in the file
	uint32_t bytes; // 0: not told
	uint32_t name;  // offset in the strings
};

/* What was read from one module's file; zero counts when nothing could be. */
struct symbol_file {
	const struct module *module;
	struct function *functions; // sorted by start
	size_t function_count;
	size_t function_bytes; // of the mapping
	char *strings;
	size_t string_bytes;
};

/* Guard: one report at a time. */
static struct {
	struct symbol_file list[FILES_MAX];
	unsigned count;
} files;

static bool read_all(int fd, void *buffer, size_t bytes, uint64_t offset)
{
	size_t done = 0;

	while (done < bytes) {
		long got = SYSCALL(pread64, fd, (char *)buffer + done, bytes - done, offset + done);

		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

/* `bytes` at `offset` of the file in memory of ours, or NULL. */
static void *load(int fd, uint64_t offset, size_t bytes)
{
	void *memory;

	if (bytes == 0 || bytes > TABLE_BYTES_MAX)
		return 0;
	memory = os_map(bytes);
	if (memory && !read_all(fd, memory, bytes, offset)) {
		os_unmap(memory, bytes);
		return 0;
	}
	return memory;
}

static bool bytes_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (a[i] != b[i])
			return false;
	}
	return true;
}

/* True if the file has the module's build-id, or the module has none. */
static bool check_build_id(
	int fd, const struct module *module, const Elf64_Shdr *sections, unsigned count)
{
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint8_t id[MODULE_BUILD_ID_MAX];
	} note;

	if (module->build_id_bytes == 0)
		return true;
	for (unsigned i = 0; i < count; i++) {
		size_t wanted = sizeof(note.header) + 4 + module->build_id_bytes;

		if (sections[i].sh_type != SHT_NOTE || sections[i].sh_size < wanted ||
			!read_all(fd, &note, wanted, sections[i].sh_offset))
			continue;
		if (note.header.n_type == NT_GNU_BUILD_ID &&
			note.header.n_descsz == module->build_id_bytes &&
			bytes_equal(note.id, module->build_id, module->build_id_bytes))
			return true;
	}
	return false;
}

static bool starts_before(const void *a, const void *b)
{
	return ((const struct function *)a)->start < ((const struct function *)b)->start;
}

/* ---- reading a file ---- */

static void take_functions(struct symbol_file *file, const Elf64_Sym *symbols, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		unsigned type = ELF64_ST_TYPE(symbols[i].st_info);

		if ((type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) ||
			symbols[i].st_shndx == SHN_UNDEF || symbols[i].st_value == 0 ||
			symbols[i].st_name >= file->string_bytes)
			continue;
		if (type == STT_NOTYPE && symbols[i].st_size == 0 &&
			file->strings[symbols[i].st_name] != '_')
			continue;
		file->functions[file->function_count++] = (struct function){
			.start = symbols[i].st_value,
			.bytes = symbols[i].st_size < UINT32_MAX ? (uint32_t)symbols[i].st_size
								 : UINT32_MAX,
			.name = symbols[i].st_name,
		};
	}
	sort_items(file->functions, file->function_count, sizeof(struct function), starts_before);
}

static void read_symbols(
	int fd, struct symbol_file *file, const Elf64_Shdr *table, const Elf64_Shdr *strings)
{
	Elf64_Sym *symbols;
	size_t count = table->sh_size / sizeof(Elf64_Sym);

	file->strings = load(fd, strings->sh_offset, strings->sh_size);
	if (!file->strings)
		return;
	file->string_bytes = strings->sh_size;
	file->strings[file->string_bytes - 1] = 0;
	symbols = load(fd, table->sh_offset, count * sizeof(Elf64_Sym));
	if (!symbols)
		return;
	file->function_bytes = count * sizeof(struct function);
	file->functions = os_map(file->function_bytes);
	if (file->functions)
		take_functions(file, symbols, count);
	os_unmap(symbols, count * sizeof(Elf64_Sym));
}

static const Elf64_Shdr *find_table(const Elf64_Shdr *sections, unsigned count, uint32_t type)
{
	for (unsigned i = 0; i < count; i++) {
		if (sections[i].sh_type == type && sections[i].sh_entsize == sizeof(Elf64_Sym) &&
			sections[i].sh_link < count)
			return &sections[i];
	}
	return 0;
}

static void read_file(int fd, struct symbol_file *file)
{
	Elf64_Ehdr header;
	Elf64_Shdr *sections;
	const Elf64_Shdr *table;
	size_t bytes;

	if (!read_all(fd, &header, sizeof(header), 0) || header.e_shentsize != sizeof(Elf64_Shdr) ||
		header.e_shnum == 0 || header.e_shnum > SECTIONS_MAX)
		return;
	bytes = header.e_shnum * sizeof(Elf64_Shdr);
	sections = load(fd, header.e_shoff, bytes);
	if (!sections)
		return;
	table = find_table(sections, header.e_shnum, SHT_SYMTAB);
	if (!table)
		table = find_table(sections, header.e_shnum, SHT_DYNSYM);
	if (table && check_build_id(fd, file->module, sections, header.e_shnum))
		read_symbols(fd, file, table, &sections[table->sh_link]);
	os_unmap(sections, bytes);
}

static struct symbol_file *open_file(const struct module *module)
{
	struct symbol_file *file;
	long fd;

	for (unsigned i = 0; i < files.count; i++) {
		if (files.list[i].module == module)
			return &files.list[i];
	}
	if (files.count == FILES_MAX)
		return 0;
	file = &files.list[files.count++];
	*file = (struct symbol_file){.module = module};
	if (module->path[0] != '/')
		return file; // no file's: it would be looked for in the working directory
	fd = SYSCALL(openat, AT_FDCWD, module->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (syscall_failed(fd))
		return file;
	read_file((int)fd, file);
	SYSCALL(close, fd);
	return file;
}

/* The last function that starts at or before the address and, if its size is known, contains it. */
static const struct function *find_function(const struct symbol_file *file, uint64_t address)
{
	size_t low = 0, high = file->function_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (file->functions[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	// several names may share an address, and a nameless label may stand inside a function: look back a little
	for (size_t i = low; i > 0 && low - i < 16; i--) {
		const struct function *function = &file->functions[i - 1];

		if (function->bytes != 0 && address - function->start < function->bytes)
			return function;
	}
	return low > 0 && file->functions[low - 1].bytes == 0 ? &file->functions[low - 1] : 0;
}

bool symbol_find(uintptr_t address, uint32_t epoch, struct symbol *ret_symbol)
{
	const struct module *module = module_find_in_epoch(address, epoch);
	const struct symbol_file *file;
	const struct function *function;

	*ret_symbol = (struct symbol){.module = module};
	if (!module)
		return false;
	ret_symbol->offset = address - module->bias;
	if (address < module->text_low || address >= module->text_high)
		return true;
	file = open_file(module);
	function = file ? find_function(file, ret_symbol->offset) : 0;
	if (function) {
		ret_symbol->function = file->strings + function->name;
		ret_symbol->function_offset = ret_symbol->offset - function->start;
	}
	return true;
}

void symbols_close(void)
{
	for (unsigned i = 0; i < files.count; i++) {
		if (files.list[i].functions)
			os_unmap(files.list[i].functions, files.list[i].function_bytes);
		if (files.list[i].strings)
			os_unmap(files.list[i].strings, files.list[i].string_bytes);
	}
	files.count = 0;
}
