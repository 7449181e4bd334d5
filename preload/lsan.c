/*
 * LeakSanitizer's interface, so that a program with <sanitizer/lsan_interface.h> works as it is: marks of blocks and roots, checks on demand, and the three
 * functions that a program may define.
 *
 * Those are looked for twice. By the loader, at start; and, as a program mostly does not export its functions, in the symbol table of its file, when the first
 * check comes (which may be in a signal handler: system calls only). They are called in the check, in the program's thread, as functions that return
 * constants. Of the options only detect_leaks is obeyed: GASKET_OPTIONS says the rest.
 *
 * Checks do nothing while leak detection is off, as there: report=off and exitcode=0, or no collector.
 */
#include "preload/lsan.h"
#include "preload/libc_versions.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/option.h"
#include "core/gc/ignored.h"
#include "core/gc/leak_check.h"
#include "core/gc/root_regions.h"
#include "core/os/log.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "core/profile/default_suppressions.h"
#include "preload/start.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>

void __lsan_disable(void);
void __lsan_enable(void);
void __lsan_ignore_object(const void *pointer);
void __lsan_register_root_region(const void *start, size_t bytes);
void __lsan_unregister_root_region(const void *start, size_t bytes);
void __lsan_do_leak_check(void);
int __lsan_do_recoverable_leak_check(void);

enum wanted { TURNED_OFF, OPTIONS, SUPPRESSIONS, WANTED_COUNT };

static const char *const names[WANTED_COUNT] = {
	[TURNED_OFF] = "__lsan_is_turned_off",
	[OPTIONS] = "__lsan_default_options",
	[SUPPRESSIONS] = "__lsan_default_suppressions",
};

/* Addresses of the program's functions, 0: not found. Written at start and by the first check; atomic. */
static struct {
	uintptr_t functions[WANTED_COUNT];
	uint32_t file_was_read;
} program;

/* ---- marks ---- */

EXPORT void __lsan_disable(void)
{
	alloc_ignore_begin();
}

EXPORT void __lsan_enable(void)
{
	alloc_ignore_end();
}

EXPORT void __lsan_ignore_object(const void *pointer)
{
	ignored_add(pointer);
}

EXPORT void __lsan_register_root_region(const void *start, size_t bytes)
{
	if (alloc_init() && options.collector != COLLECTOR_OFF)
		root_regions_add((uintptr_t)start, bytes);
}

EXPORT void __lsan_unregister_root_region(const void *start, size_t bytes)
{
	if (alloc_init() && options.collector != COLLECTOR_OFF &&
		!root_regions_remove((uintptr_t)start, bytes))
		log_line(
			"a root region of %lu byte(s) at 0x%lx that is not registered was to be removed",
			(uint64_t)bytes, (uint64_t)(uintptr_t)start);
}

/* ---- checks ---- */

EXPORT void __lsan_do_leak_check(void)
{
	start_check_leaks();
}

EXPORT int __lsan_do_recoverable_leak_check(void)
{
	uint64_t leaks = 0;

	if (leak_check_is_wanted() && lsan_check_is_wanted())
		leaks = leak_check_now(options.report, 0);
	log_flush_pending();
	return leaks > 0;
}

/* ---- the program's functions ---- */

void lsan_init(void)
{
	for (int i = 0; i < WANTED_COUNT; i++)
		program.functions[i] = (uintptr_t)dlsym(RTLD_DEFAULT, names[i]);
}

/* A file that is mapped to be read. */
struct file {
	const char *start;
	size_t bytes;
};

/* What lies at offset, or NULL if it reaches beyond the end. */
static const void *part_of(const struct file *file, uint64_t offset, uint64_t bytes)
{
	return offset <= file->bytes && bytes <= file->bytes - offset ? file->start + offset : 0;
}

/* What the loader has added to the addresses in the program's file. */
static uintptr_t bias_of_program(const ElfW(Ehdr) * header, const ElfW(Phdr) * segments)
{
	for (size_t i = 0; i < header->e_phnum; i++) {
		if (segments[i].p_type == PT_PHDR)
			return getauxval(AT_PHDR) - segments[i].p_vaddr;
	}
	return 0;
}

static void note_symbol(const char *name, uintptr_t address)
{
	for (int i = 0; i < WANTED_COUNT; i++) {
		if (program.functions[i] == 0 && strcmp(name, names[i]) == 0)
			store_relaxed(&program.functions[i], address);
	}
}

static void read_symbols(const struct file *file, const ElfW(Shdr) * table,
	const ElfW(Shdr) * strings, uintptr_t bias)
{
	const ElfW(Sym) *symbols = part_of(file, table->sh_offset, table->sh_size);
	const char *text = part_of(file, strings->sh_offset, strings->sh_size);
	static const char prefix[] = "__lsan_";

	// the last byte ends the last string
	if (!symbols || !text || strings->sh_size == 0 || text[strings->sh_size - 1] != 0)
		return;
	for (size_t i = 0; i < table->sh_size / sizeof(*symbols); i++) {
		const ElfW(Sym) *symbol = &symbols[i];

		if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF &&
			symbol->st_name < strings->sh_size &&
			strncmp(text + symbol->st_name, prefix, sizeof(prefix) - 1) == 0)
			note_symbol(text + symbol->st_name, bias + symbol->st_value);
	}
}

static void read_tables(const struct file *file)
{
	const ElfW(Ehdr) *header = part_of(file, 0, sizeof(*header));
	const ElfW(Phdr) * segments;
	const ElfW(Shdr) * sections;

	if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
		header->e_ident[EI_CLASS] != ELFCLASS64 ||
		header->e_shentsize != sizeof(*sections) ||
		header->e_phentsize != sizeof(*segments))
		return;
	segments = part_of(file, header->e_phoff, (uint64_t)header->e_phnum * sizeof(*segments));
	sections = part_of(file, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections));
	for (size_t i = 0; segments && sections && i < header->e_shnum; i++) {
		if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < header->e_shnum)
			read_symbols(file, &sections[i], &sections[sections[i].sh_link],
				bias_of_program(header, segments));
	}
}

/* The kernel lets nobody cut a file that is being executed: reading by loads is safe. */
static void read_own_file(void)
{
	struct stat status = {0};
	struct file file;
	long fd, memory;

	if (!sandbox_allows(SANDBOX_COLLECTOR))
		return;
	fd = SYSCALL(openat, AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (syscall_failed(fd))
		return;
	memory = syscall_failed(SYSCALL(fstat, fd, &status)) || status.st_size <= 0
			 ? -1
			 : SYSCALL(mmap, 0, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	SYSCALL(close, fd);
	if (syscall_failed(memory))
		return;
	file = (struct file){(const char *)memory, (size_t)status.st_size};
	read_tables(&file);
	SYSCALL(munmap, memory, status.st_size);
}

/* One call of a function of the program; 0: there is none. The result may be a string's address. */
static uintptr_t call(enum wanted wanted)
{
	uintptr_t (*function)(void) = (uintptr_t(*)(void))load_relaxed(&program.functions[wanted]);

	return function ? function() : 0;
}

/* Options are separated by colons or white space; the last one counts. */
static bool options_turn_off(const char *text)
{
	static const char key[] = "detect_leaks=";
	bool off = false;

	for (const char *at = text; (at = strstr(at, key)) != 0; at++) {
		if (at == text || strchr(": \t\n,", at[-1]))
			off = at[sizeof(key) - 1] == '0' || at[sizeof(key) - 1] == 'f';
	}
	return off;
}

bool lsan_check_is_wanted(void)
{
	const char *text;

	if (cas_seq(&program.file_was_read, 0u, 1u))
		read_own_file();
	// an int: the upper half of the register is nobody's
	if ((int)call(TURNED_OFF) != 0)
		return false;
	text = (const char *)call(OPTIONS);
	if (text && options_turn_off(text))
		return false;
	default_suppressions_set((const char *)call(SUPPRESSIONS));
	return true;
}
