/*
 * A 64-bit ELF file in memory. DT_STRTAB holds an address; the PT_LOAD that contains it tells where
 * in the file that is.
 */
#include "cli/elf_file.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

bool elf_map(struct elf_file *file, int fd)
{
	struct stat status;
	void *bytes;

	if (fstat(fd, &status) || status.st_size < (off_t)sizeof(Elf64_Ehdr))
		return false;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return false;
	*file = (struct elf_file){bytes, (size_t)status.st_size, bytes};
	if (!memcmp(file->header->e_ident, ELFMAG, SELFMAG))
		return true;
	elf_unmap(file);
	return false;
}

void elf_unmap(struct elf_file *file)
{
	munmap((void *)file->bytes, file->size);
}

static bool is_inside(const struct elf_file *file, uint64_t offset, uint64_t bytes)
{
	return offset <= file->size && bytes <= file->size - offset;
}

/* Text at an offset, if it ends inside the file. */
static const char *text_at(const struct elf_file *file, uint64_t offset)
{
	if (offset >= file->size || !memchr(file->bytes + offset, 0, file->size - offset))
		return NULL;
	return (const char *)file->bytes + offset;
}

/* Program header number `index`; false past the last, or outside the file. Copied: it may be
 * unaligned. */
static bool get_segment(const struct elf_file *file, unsigned index, Elf64_Phdr *ret_segment)
{
	uint64_t offset = file->header->e_phoff + (uint64_t)index * file->header->e_phentsize;

	if (index >= file->header->e_phnum || !is_inside(file, offset, sizeof(*ret_segment)))
		return false;
	memcpy(ret_segment, file->bytes + offset, sizeof(*ret_segment));
	return true;
}

static bool find_segment(const struct elf_file *file, uint32_t type, Elf64_Phdr *ret_segment)
{
	for (unsigned i = 0; get_segment(file, i, ret_segment); i++) {
		if (ret_segment->p_type == type)
			return true;
	}
	return false;
}

const char *elf_loader(const struct elf_file *file)
{
	Elf64_Phdr segment;

	if (file->header->e_phnum == 0 || !get_segment(file, file->header->e_phnum - 1u, &segment))
		return NULL;
	return find_segment(file, PT_INTERP, &segment) ? text_at(file, segment.p_offset) : "";
}

static bool get_dynamic(const struct elf_file *file, const Elf64_Phdr *segment, uint64_t index,
	Elf64_Dyn *ret_entry)
{
	uint64_t offset = segment->p_offset + index * sizeof(*ret_entry);

	if (index >= segment->p_filesz / sizeof(*ret_entry) ||
		!is_inside(file, offset, sizeof(*ret_entry)))
		return false;
	memcpy(ret_entry, file->bytes + offset, sizeof(*ret_entry));
	return ret_entry->d_tag != DT_NULL;
}

/* Where in the file the byte at `address` stands. */
static bool offset_of(const struct elf_file *file, uint64_t address, uint64_t *ret_offset)
{
	Elf64_Phdr segment;

	for (unsigned i = 0; get_segment(file, i, &segment); i++) {
		if (segment.p_type != PT_LOAD || address < segment.p_vaddr ||
			address - segment.p_vaddr >= segment.p_filesz)
			continue;
		*ret_offset = segment.p_offset + (address - segment.p_vaddr);
		return true;
	}
	return false;
}

static bool find_names(const struct elf_file *file, const Elf64_Phdr *dynamic, uint64_t *ret_offset)
{
	Elf64_Dyn entry;

	for (uint64_t i = 0; get_dynamic(file, dynamic, i, &entry); i++) {
		if (entry.d_tag == DT_STRTAB)
			return offset_of(file, entry.d_un.d_ptr, ret_offset);
	}
	return false;
}

const char *elf_needed(const struct elf_file *file, const char *const *prefixes)
{
	Elf64_Phdr dynamic;
	Elf64_Dyn entry;
	uint64_t names;

	if (!find_segment(file, PT_DYNAMIC, &dynamic) || !find_names(file, &dynamic, &names))
		return NULL;
	for (uint64_t i = 0; get_dynamic(file, &dynamic, i, &entry); i++) {
		const char *name = NULL;

		if (entry.d_tag == DT_NEEDED)
			name = text_at(file, names + entry.d_un.d_val);
		for (size_t j = 0; name && prefixes[j]; j++) {
			if (!strncmp(name, prefixes[j], strlen(prefixes[j])))
				return name;
		}
	}
	return NULL;
}
