/*
 * Reads /proc/thread-self/maps (and smaps) line by line through a buffer of our own. What stands behind a mapping is told from its last column; names that
 * start with a slash are the kernel's names of files, so a program can at most make us read more than we need. A line may be longer than the buffer, for
 * folders nest without end: what is looked at stands at its front and its end, and both are kept.
 */
#include "core/os/maps.h"

#include "core/base/arith.h"
#include "core/os/memory.h"
#include "core/os/pages.h"
#include "core/os/proc.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum {
	BUFFER_BYTES = 128 * 1024,
	FRONT_BYTES = 1024, // of a line: all but the name, and more of it than is compared
	END_BYTES = 64,     // the same of the name's end
	MARGIN = 1024
};

/* The collector thread's. */
static struct {
	char *buffer;    // BUFFER_BYTES, mapped at the first reserve
	int swap_source; // tests: plus one; 0: none
} reader;

/* A cursor in one line. */
struct line {
	const char *at;
	const char *end;
};

static uint64_t take_number(struct line *line, unsigned base)
{
	uint64_t number = 0;

	for (; line->at < line->end; line->at++) {
		unsigned character = (unsigned char)*line->at;
		unsigned digit = character >= 'a' ? character - 'a' + 10 : character - '0';

		if (digit >= base)
			break;
		number = number * base + digit;
	}
	return number;
}

static void skip(struct line *line, char character)
{
	while (line->at < line->end && *line->at == character)
		line->at++;
}

static bool starts_with(const struct line *line, const char *text)
{
	const char *at = line->at;

	for (; *text; text++, at++) {
		if (at >= line->end || *at != *text)
			return false;
	}
	return true;
}

static bool ends_with(const struct line *line, const char *text)
{
	struct line tail = {line->end, line->end};
	size_t length = 0;

	while (text[length])
		length++;
	if ((size_t)(line->end - line->at) < length)
		return false;
	tail.at -= length;
	return starts_with(&tail, text);
}

/* Names in the order in which they are tried; the first that the name starts with decides. */
static const struct {
	const char *prefix;
	uint8_t private_kind;
	uint8_t shared_kind;
} names[] = {
	{"[stack]", MAPPING_STACK, MAPPING_STACK},
	{"[vdso]", MAPPING_KERNEL, MAPPING_KERNEL},
	{"[vvar", MAPPING_KERNEL, MAPPING_KERNEL},
	{"[vsyscall]", MAPPING_KERNEL, MAPPING_KERNEL},
	{"[uprobes]", MAPPING_KERNEL, MAPPING_KERNEL},
	{"[", MAPPING_ANONYMOUS, MAPPING_SHMEM}, // [heap], [anon:NAME], [anon_shmem:NAME]
	{"anon_inode:[io_uring]", MAPPING_RING, MAPPING_RING},
	{"/[aio]", MAPPING_RING, MAPPING_RING},
	{"/secretmem", MAPPING_SECRET, MAPPING_SECRET},
	{"/memfd:", MAPPING_SHMEM, MAPPING_SHMEM},
	{"/SYSV", MAPPING_SHMEM, MAPPING_SHMEM},
	{"/anon_hugepage", MAPPING_ANONYMOUS, MAPPING_SHMEM},
	{"/dev/zero", MAPPING_ANONYMOUS, MAPPING_SHMEM},
	{"/dev/shm/", MAPPING_SHMEM, MAPPING_SHMEM},
	{"/dev/hugepages/", MAPPING_SHMEM, MAPPING_SHMEM},
	{"/dev/", MAPPING_DEVICE, MAPPING_DEVICE},
	{"/drm mm object", MAPPING_DEVICE, MAPPING_DEVICE},
	{"/dmabuf:", MAPPING_DEVICE, MAPPING_DEVICE},
	{"/", MAPPING_FILE, MAPPING_FILE},
};

static uint8_t kind_of(const struct line *name, const struct mapping *mapping)
{
	if (name->at == name->end)
		return mapping->inode == 0 && !mapping->shared ? MAPPING_ANONYMOUS : MAPPING_SHMEM;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint8_t kind;

		if (!starts_with(name, names[i].prefix))
			continue;
		kind = mapping->shared ? names[i].shared_kind : names[i].private_kind;
		// nobody else can find a file that has no name any more: it serves as memory
		return kind == MAPPING_FILE && mapping->shared && ends_with(name, " (deleted)")
			       ? MAPPING_SHMEM
			       : kind;
	}
	return MAPPING_DEVICE; // socket:[...], anon_inode:[perf_event] and their like
}

/* START-END rwxp OFFSET MAJOR:MINOR INODE      NAME */
static bool parse_line(struct line *line, struct mapping *ret_mapping)
{
	struct mapping mapping = {.start = take_number(line, 16)};

	line->at++;
	mapping.end = take_number(line, 16);
	if (line->end - line->at < 6 || mapping.end <= mapping.start)
		return false;
	mapping.protection = (line->at[1] == 'r' ? PROT_READ : 0) |
			     (line->at[2] == 'w' ? PROT_WRITE : 0) |
			     (line->at[3] == 'x' ? PROT_EXEC : 0);
	mapping.shared = line->at[4] == 's';
	line->at += 6;
	take_number(line, 16);
	line->at++;
	mapping.device = (uint32_t)take_number(line, 16) << 20;
	line->at++;
	mapping.device |= (uint32_t)take_number(line, 16);
	line->at++;
	mapping.inode = take_number(line, 10);
	skip(line, ' ');
	mapping.kind = kind_of(line, &mapping);
	*ret_mapping = mapping;
	return true;
}

/* Calls take() for each complete line in buffer[0, bytes); returns how many bytes they were, or -1. */
static long take_lines(
	size_t bytes, bool (*take)(struct line *line, void *argument), void *argument)
{
	size_t taken = 0;

	for (size_t i = 0; i < bytes; i++) {
		struct line line = {reader.buffer + taken, reader.buffer + i};

		if (reader.buffer[i] != '\n')
			continue;
		if (!take(&line, argument))
			return -1;
		taken = i + 1;
	}
	return (long)taken;
}

/* The buffer holds one line, or a part of it. Returns how much is kept. */
static size_t drop_middle(void)
{
	for (size_t i = 0; i < END_BYTES; i++)
		reader.buffer[FRONT_BYTES + i] = reader.buffer[BUFFER_BYTES - END_BYTES + i];
	return FRONT_BYTES + END_BYTES;
}

/* False: unreadable, or take() has refused a line. */
static bool read_lines(
	int descriptor, bool (*take)(struct line *line, void *argument), void *argument)
{
	size_t kept = 0;

	if (!reader.buffer || syscall_failed(SYSCALL(lseek, descriptor, 0, SEEK_SET)))
		return false;
	for (;;) {
		long bytes = SYSCALL(read, descriptor, reader.buffer + kept, BUFFER_BYTES - kept);
		long taken;

		if (syscall_failed(bytes))
			return false;
		if (bytes == 0)
			return kept == 0;
		kept += (size_t)bytes;
		taken = take_lines(kept, take, argument);
		if (taken < 0)
			return false;
		kept -= (size_t)taken;
		for (size_t i = 0; i < kept; i++)
			reader.buffer[i] = reader.buffer[(size_t)taken + i];
		if (kept == BUFFER_BYTES)
			kept = drop_middle();
		pages_beat();
	}
}

static bool take_mapping(struct line *line, void *argument)
{
	struct maps *maps = argument;
	struct mapping mapping;

	if (!parse_line(line, &mapping))
		return false;
	if (maps->count < maps->capacity)
		maps->list[maps->count] = mapping;
	maps->count++;
	return true;
}

/* Without room for all of them the rest is only counted. */
static bool read_all(struct maps *maps)
{
	maps->count = 0;
	return read_lines(proc_descriptor(PROC_MAPS), take_mapping, maps) && maps->count > 0;
}

bool maps_reserve(struct maps *maps)
{
	struct mapping *list;
	size_t capacity;

	if (!reader.buffer)
		reader.buffer = os_map(BUFFER_BYTES);
	if (!reader.buffer || !read_all(maps))
		return false;
	if (maps->count + MARGIN / 2 <= maps->capacity)
		return true;
	capacity = maps->count + maps->count / 4 + MARGIN;
	list = os_map(capacity * sizeof(*list));
	if (!list)
		return false;
	maps_release(maps);
	maps->list = list;
	maps->capacity = capacity;
	return true;
}

bool maps_read(struct maps *maps)
{
	if (!read_all(maps))
		return false;
	if (maps->count <= maps->capacity)
		return true;
	maps->count = 0;
	return false;
}

const struct mapping *maps_find(const struct maps *maps, uintptr_t address)
{
	size_t low = 0;
	size_t high = maps->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (maps->list[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < maps->count && maps->list[low].start <= address ? &maps->list[low] : 0;
}

/* ---- what is swapped out ---- */

struct swap_reading {
	struct maps *maps;
	struct mapping *mapping; // the lines at hand are about this one, or NULL
	size_t count;
};

/* A mapping's line as in maps, then "Swap:                 4 kB" among others, which all begin with a capital letter. */
static bool take_swap(struct line *line, void *argument)
{
	struct swap_reading *reading = argument;

	if (line->at < line->end && (*line->at < 'A' || *line->at > 'Z')) {
		const struct mapping *found = maps_find(reading->maps, take_number(line, 16));

		reading->mapping = found ? &reading->maps->list[found - reading->maps->list] : 0;
		return true;
	}
	if (!reading->mapping || reading->mapping->swapped || !starts_with(line, "Swap:"))
		return true;
	line->at += 5;
	skip(line, ' ');
	reading->mapping->swapped =
		take_number(line, 10) > 0 &&
		(reading->mapping->shared || reading->mapping->kind == MAPPING_SHMEM);
	reading->count += reading->mapping->swapped;
	return true;
}

bool maps_swap_is_used(void)
{
	struct sysinfo info;

	if (reader.swap_source || !sandbox_allows(SANDBOX_SWAP))
		return true;
	return syscall_failed(SYSCALL(sysinfo, &info)) || info.freeswap != info.totalswap;
}

bool maps_note_swapped(struct maps *maps, size_t *ret_count)
{
	struct swap_reading reading = {.maps = maps};

	if (!read_lines(reader.swap_source ? reader.swap_source - 1 : proc_descriptor(PROC_SMAPS),
		    take_swap, &reading))
		return false;
	*ret_count = reading.count;
	return true;
}

void maps_set_swap_source(int descriptor)
{
	reader.swap_source = descriptor + 1;
}

void maps_release(struct maps *maps)
{
	if (maps->list)
		os_unmap(maps->list, maps->capacity * sizeof(*maps->list));
	*maps = (struct maps){0};
}
