/*
 * Modules that no linker makes: names and headers that say more than there is.
 */
#include "core/profile/cfi.h"
#include "core/profile/module.h"
#include "tests/harness/deep_folder.h"
#include "tests/harness/test.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, IMAGE_PAGES = 4, IMAGE_BYTES = IMAGE_PAGES * PAGE, HEADERS = 4 };

/* The front of an image of four pages. */
struct image {
	Elf64_Ehdr header;
	Elf64_Phdr headers[HEADERS];
};

static struct image plain_image(void)
{
	struct image image = {
		.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
			.e_type = ET_DYN,
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1},
		.headers[0] = {.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_filesz = IMAGE_BYTES,
			.p_memsz = IMAGE_BYTES},
	};

	return image;
}

/* Closes the file. */
static char *map_image(int file, const struct image *image)
{
	char *memory;

	CHECK_GE(file, 0);
	CHECK_EQ(ftruncate(file, IMAGE_BYTES), 0);
	CHECK_EQ(pwrite(file, image, sizeof(*image), 0), (ssize_t)sizeof(*image));
	memory = mmap(NULL, IMAGE_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	CHECK(memory != MAP_FAILED);
	CHECK_EQ(close(file), 0);
	return memory;
}

static void check_libc_is_known(void)
{
	const struct module *libc =
		module_find_known((uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version"));

	CHECK_NOT_NULL(libc);
	CHECK_NOT_NULL(strstr(libc->path, "libc.so"));
}

/* ---- names ---- */

/* The module at the bottom of so many folders, once the table was made. */
static const struct module *find_deep_module(int levels)
{
	struct image image = plain_image();
	struct deep_folder folder;
	const char *memory;
	const struct module *module;

	deep_enter(&folder, levels, 'd');
	memory = map_image(open("image", O_RDWR | O_CREAT, 0600), &image);
	CHECK(modules_scan());
	CHECK_EQ(unlink("image"), 0);
	deep_leave(&folder);
	module = module_find_known((uintptr_t)memory + PAGE);
	CHECK_NOT_NULL(module);
	CHECK_EQ(module->low, (uintptr_t)memory);
	check_libc_is_known();
	return module;
}

/* What is left of the name could not be opened, so it names no other file. */
TEST(a_path_that_is_too_long_is_cut_behind_what_can_be_opened)
{
	CHECK_EQ(strlen(find_deep_module(30)->path), (size_t)PATH_MAX);
}

TEST(a_line_longer_than_the_buffer_does_not_end_the_scan)
{
	CHECK_EQ(strlen(find_deep_module(60)->path), (size_t)PATH_MAX);
}

/* ---- headers ---- */

/* Writes what the stack below may have held. */
static __attribute__((noinline)) void soil_stack(void)
{
	volatile char dead[16384];

	for (size_t i = 0; i < sizeof(dead); i++)
		dead[i] = 0x5a;
}

/* The note's header promises an identity; its memory ends behind the name, or in the middle of the identity. */
static const struct module *find_module_with_short_note(size_t bytes)
{
	static const Elf64_Nhdr note = {4, MODULE_BUILD_ID_MAX, NT_GNU_BUILD_ID};
	struct image image = plain_image();
	const struct module *module;
	char *memory;
	int file = (int)syscall(SYS_memfd_create, "image", 0);

	image.header.e_phnum = 2;
	image.headers[1] =
		(Elf64_Phdr){.p_type = PT_NOTE, .p_vaddr = IMAGE_BYTES - bytes, .p_memsz = bytes};
	memory = map_image(dup(file), &image);
	CHECK_EQ(pwrite(file, &note, sizeof(note), (off_t)(IMAGE_BYTES - bytes)),
		(ssize_t)sizeof(note));
	CHECK_EQ(pwrite(file, "GNU", 4, (off_t)(IMAGE_BYTES - bytes + sizeof(note))), (ssize_t)4);
	soil_stack();
	CHECK(modules_scan());
	module = module_find_known((uintptr_t)memory + PAGE);
	CHECK_NOT_NULL(module);
	return module;
}

TEST(a_note_that_is_cut_is_no_identity)
{
	CHECK_EQ(find_module_with_short_note(16)->build_id_bytes, 0);
	CHECK_EQ(find_module_with_short_note(24)->build_id_bytes, 0);
	CHECK_EQ(find_module_with_short_note(16 + MODULE_BUILD_ID_MAX - 4)->build_id_bytes, 0);
	CHECK_EQ(find_module_with_short_note(16 + MODULE_BUILD_ID_MAX)->build_id_bytes,
		MODULE_BUILD_ID_MAX);
}

/* A note of zeros is twelve bytes long. */
TEST(notes_without_end_are_not_read_to_it, .limit_seconds = 20)
{
	enum { PART = 1 << 20, PARTS = 1024 };
	struct image image = plain_image();
	int zeros = (int)syscall(SYS_memfd_create, "zeros", 0);
	int file = (int)syscall(SYS_memfd_create, "image", 0);
	char *memory =
		mmap(NULL, (size_t)PARTS * PART, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	CHECK_EQ(ftruncate(zeros, PART), 0);
	for (size_t i = 0; i < PARTS; i++)
		CHECK(mmap(memory + i * PART, PART, PROT_READ, MAP_SHARED | MAP_FIXED, zeros, 0) !=
			MAP_FAILED);
	image.header.e_phnum = 2;
	image.headers[1] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_vaddr = PAGE, .p_memsz = (size_t)PARTS * PART - PAGE};
	CHECK_EQ(ftruncate(file, PAGE), 0);
	CHECK_EQ(pwrite(file, &image, sizeof(image), 0), (ssize_t)sizeof(image));
	CHECK(mmap(memory, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, 0) !=
		MAP_FAILED);
	CHECK(modules_scan());
	CHECK_NOT_NULL(module_find_known((uintptr_t)memory));
}

/* ---- a full table ---- */

/* One mapping whose file has ever another name, until there is no room for names. */
TEST(a_module_whose_name_finds_no_room_is_known_all_the_same, .limit_seconds = 120)
{
	enum { NAMES = 4300, LEVELS = 16 };
	struct image image = plain_image();
	struct deep_folder folder;
	char names[2][16] = {"image"};
	char *memory;
	uint32_t epoch;

	deep_enter(&folder, LEVELS, 'd');
	memory = map_image(open(names[0], O_RDWR | O_CREAT, 0600), &image);
	for (int i = 0; i < NAMES; i++) {
		snprintf(names[(i + 1) % 2], sizeof(names[0]), "image-%d", i);
		CHECK_EQ(rename(names[i % 2], names[(i + 1) % 2]), 0);
		CHECK(modules_scan());
		CHECK_NOT_NULL(module_find_known((uintptr_t)memory));
	}
	epoch = module_epoch();
	CHECK(modules_scan());
	CHECK_EQ(module_epoch(), epoch);
	CHECK_EQ(module_find_in_epoch((uintptr_t)memory, epoch)->path[0], '<');
	CHECK_EQ(unlink(names[NAMES % 2]), 0);
	deep_leave(&folder);
}

/* ---- addresses that are promised and not there ---- */

static char *map_nameless_image(const struct image *image)
{
	return map_image((int)syscall(SYS_memfd_create, "image", 0), image);
}

TEST(a_segment_without_end_takes_no_addresses_of_modules_behind_it)
{
	struct image image = plain_image();
	uint32_t epoch;

	image.headers[0].p_memsz = (uint64_t)1 << 46;
	map_nameless_image(&image);
	CHECK(modules_scan());
	check_libc_is_known();
	epoch = module_epoch();
	for (int i = 0; i < 10; i++)
		CHECK(modules_scan());
	CHECK_EQ(module_epoch(), epoch);
	check_libc_is_known();
}

TEST(a_segment_that_begins_before_its_file_takes_no_addresses_there)
{
	struct image image = plain_image();
	uint32_t epoch;
	char *memory;

	image.header.e_phnum = 2;
	image.headers[0].p_vaddr = (uint64_t)1 << 46;
	image.headers[1] =
		(Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R, .p_offset = PAGE, .p_memsz = PAGE};
	memory = map_nameless_image(&image);
	CHECK(modules_scan());
	CHECK_EQ(module_find_known((uintptr_t)memory)->low, (uintptr_t)memory);
	epoch = module_epoch();
	for (int i = 0; i < 10; i++)
		CHECK(modules_scan());
	CHECK_EQ(module_epoch(), epoch);
	check_libc_is_known();
}

/* Asks for a rule by a table at the start of the second page; the third cannot be read. `entry`: the rule's, from the table. */
static bool find_rule_by(int32_t entry)
{
	struct {
		uint8_t encodings[4]; // version, of the frame's address, of the count, of the pairs
		int32_t frame;
		uint32_t count;
		int32_t pairs[2];
	} table = {{1, 0x1b, 0x03, 0x3b}, 0, 1, {-PAGE, entry}};
	struct image image = plain_image();
	const struct module *module;
	struct cfi_rule rule;
	int file = (int)syscall(SYS_memfd_create, "image", 0);
	char *memory;

	image.header.e_phnum = 2;
	image.headers[0].p_filesz = (uint64_t)1 << 46;
	image.headers[1] =
		(Elf64_Phdr){.p_type = PT_GNU_EH_FRAME, .p_vaddr = PAGE, .p_memsz = sizeof(table)};
	memory = map_image(dup(file), &image);
	CHECK_EQ(pwrite(file, &table, sizeof(table), PAGE), (ssize_t)sizeof(table));
	close(file);
	CHECK_EQ(mprotect(memory + 2 * PAGE, PAGE, PROT_NONE), 0);
	CHECK(modules_scan());
	module = module_find_known((uintptr_t)memory);
	CHECK_NOT_NULL(module);
	return cfi_find_rule(module, (uintptr_t)memory, true, &rule);
}

TEST(an_unwind_table_that_names_memory_that_is_not_there)
{
	CHECK(!find_rule_by(PAGE));
}
