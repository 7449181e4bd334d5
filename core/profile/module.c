/*
 * A scan reads /proc/self/maps line by line. A mapping of a file from its offset 0 may be the front of a module: its ELF header and program
 * headers are read from memory (by copies that cannot fault), and when an executable mapping of the same file follows inside the addresses
 * they promise, it is one. (A file that is only looked at as data has none.) Headers may promise anything: the module has no addresses from the front of the
 * next one on, and no unwind table is read directly but where the file was seen mapped readable, without a gap. So it is entered when the next one is found.
 *
 * Records are never changed once published, but for two atomics: `is_mapped`, and `last_epoch` when another module took the place.
 */
#include "core/profile/module.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/peek.h"
#include "core/os/syscall.h"
#include "core/profile/image.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>

enum {
	MODULE_MAX = 16384,
	READ_BYTES = 8192,
	REGION_STEP = 65536,
	FRONT_BYTES =
		PATH_MAX + 256, // of a line: all before the path, and what is kept of the path
	RESCAN_NS = 1000000000,
	MISSES_AFTER_CHANGE =
		64, // scans for an unknown address after a change, before the limit of time holds
};

#define PATH_REGION_BYTES ((size_t)16 << 20)

static struct {
	struct lock lock;
	struct region records; // struct module[]; guard: lock, to grow
	struct region paths;   // guard: lock; grows down
	size_t path_bytes;     // guard: lock
	struct module *list;   // records.base once there are any
	uint32_t count;        // records that are published; release store under the lock
	uint32_t epoch;        // atomic, grows under the lock
	uint32_t
		generation; // atomic, grows under the lock, after is_mapped of some module became 0
	uint32_t changed;   // modules_changed() was called; atomic
	uint32_t scan;      // number of scans made; guard: lock
	uint64_t last_scan_ns; // atomic
	uint32_t misses;       // unknown addresses since the last change; atomic
	uintptr_t stack_low;   // the main thread's stack at the last scan; atomic
	uintptr_t stack_high;  // atomic; constant once found
} modules = {.lock = LOCK_INITIAL(LOADER)};

/* Guarded by the same lock. Apart, for what is zero at first needs no room in the file. */
static char buffer[READ_BYTES];
static uint32_t seen[MODULE_MAX]; // scan in which each was last found

/* One line of /proc/self/maps. */
struct line {
	uintptr_t start, end;
	uint64_t offset;
	uint64_t inode;
	bool is_readable, is_executable;
	const char *path; // "" without a name
};

/* A mapping that may be the front of a module. */
struct candidate {
	struct module module; // path not yet stored
	uint64_t inode;
	char path[PATH_MAX + 1];
	uintptr_t readable_low, readable_high; // mapped from the file, around the unwind table
	bool is_valid;
};

/* Of one scan. */
struct scan {
	struct candidate front; // nothing executable of it was found yet
	struct candidate found; // a module, but for where the next one begins
};

/* ---- lines ---- */

static uint64_t parse_hex(const char **cursor)
{
	uint64_t value = 0;

	for (;; (*cursor)++) {
		char c = **cursor;

		if (c >= '0' && c <= '9')
			value = value * 16 + (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (uint64_t)(c - 'a' + 10);
		else
			return value;
	}
}

static uint64_t parse_decimal(const char **cursor)
{
	uint64_t value = 0;

	for (; **cursor >= '0' && **cursor <= '9'; (*cursor)++)
		value = value * 10 + (uint64_t)(**cursor - '0');
	return value;
}

static const char *skip_spaces(const char *cursor)
{
	while (*cursor == ' ')
		cursor++;
	return cursor;
}

/* "7f12a000-7f12b000 r-xp 00001000 08:01 1234   /path" */
static bool parse_line(const char *text, struct line *ret_line)
{
	const char *cursor = text;

	ret_line->start = parse_hex(&cursor);
	if (*cursor++ != '-')
		return false;
	ret_line->end = parse_hex(&cursor);
	if (*cursor++ != ' ')
		return false;
	for (int i = 0; i < 4; i++) {
		if (cursor[i] == 0)
			return false;
	}
	ret_line->is_readable = cursor[0] == 'r';
	ret_line->is_executable = cursor[2] == 'x';
	cursor = skip_spaces(cursor + 4);
	ret_line->offset = parse_hex(&cursor);
	cursor = skip_spaces(cursor);
	parse_hex(&cursor);
	if (*cursor++ != ':')
		return false;
	parse_hex(&cursor);
	cursor = skip_spaces(cursor);
	ret_line->inode = parse_decimal(&cursor);
	ret_line->path = skip_spaces(cursor);
	return true;
}

static bool text_equals(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static size_t text_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

/*
 * Removes the " (deleted)" of a file that was replaced while it was mapped. The kernel's names may be longer than any path that can be opened: PATH_MAX
 * characters of such a one are kept, which is one too many to open some other file by it.
 */
static void copy_path(char target[PATH_MAX + 1], const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = text_length(path);

	if (length > sizeof(deleted) && text_equals(path + length - (sizeof(deleted) - 1), deleted))
		length -= sizeof(deleted) - 1;
	if (length > PATH_MAX)
		length = PATH_MAX;
	for (size_t i = 0; i < length; i++)
		target[i] = path[i];
	target[length] = 0;
}

/* ---- the table; lock held ---- */

/* The path of modules whose own found no room. */
static const char no_path[] = "<no room for the path>";

static bool same_module(const struct module *a, const struct module *b, const char *b_path)
{
	if (a->low != b->low || a->high != b->high || a->bias != b->bias ||
		a->build_id_bytes != b->build_id_bytes)
		return false;
	for (unsigned i = 0; i < a->build_id_bytes; i++) {
		if (a->build_id[i] != b->build_id[i])
			return false;
	}
	return a->path == no_path || text_equals(a->path, b_path);
}

/* The path in memory of ours, or no_path; paths are few and never freed. */
static const char *store_path(const char *path)
{
	size_t bytes = text_length(path) + 1;
	char *target;

	if (!region_grow(&modules.paths, modules.path_bytes + bytes))
		return no_path;
	modules.path_bytes += bytes;
	target = (char *)modules.paths.base - modules.path_bytes;
	for (size_t i = 0; i < bytes; i++)
		target[i] = path[i];
	return target;
}

/* What lived in these addresses does so no more. A new epoch begins if anything did. */
static void retire_overlapping(uintptr_t low, uintptr_t high)
{
	bool found = false;

	for (uint32_t i = 0; i < modules.count; i++) {
		struct module *module = &modules.list[i];

		if (module->last_epoch != UINT32_MAX || module->high <= low || module->low >= high)
			continue;
		store_relaxed(&module->last_epoch, modules.epoch);
		store_release(&module->is_mapped, 0);
		found = true;
	}
	if (!found)
		return;
	store_release(&modules.epoch, modules.epoch + 1);
	add_relaxed(&modules.generation, 1);
}

/* What is known of these addresses is retired only once there is all that is needed for what is there now. */
static void add_module(const struct candidate *candidate)
{
	struct module *module;
	const char *path;

	for (uint32_t i = 0; i < modules.count; i++) {
		module = &modules.list[i];
		if (module->last_epoch != UINT32_MAX ||
			!same_module(module, &candidate->module, candidate->path))
			continue;
		seen[i] = modules.scan;
		store_release(&module->is_mapped, 1);
		return;
	}
	if (modules.count >= MODULE_MAX ||
		!region_grow(&modules.records, (modules.count + 1) * sizeof(struct module)))
		return;
	path = store_path(candidate->path);
	retire_overlapping(candidate->module.low, candidate->module.high);
	modules.list = (struct module *)modules.records.base;
	module = &modules.list[modules.count];
	*module = candidate->module;
	module->path = path;
	module->first_epoch = modules.epoch;
	module->last_epoch = UINT32_MAX;
	module->is_mapped = 1;
	seen[modules.count] = modules.scan;
	store_release(&modules.count, modules.count + 1); // pairs with the loads of readers
}

/* The module that was found, now that it is known where the next one begins. */
static void enter_found(struct candidate *found, uintptr_t next_low)
{
	struct module *module = &found->module;

	if (!found->is_valid)
		return;
	found->is_valid = false;
	module->high = min_u64(module->high, next_low);
	module->text_high = min_u64(module->text_high, module->high);
	module->unwind_low = max_u64(module->unwind_low, found->readable_low);
	module->unwind_high = min_u64(module->unwind_high, found->readable_high);
	add_module(found);
}

/* Lines come in ascending order: a gap before the unwind table begins anew, one behind it is the end. */
static void note_readable(struct candidate *candidate, const struct line *line)
{
	if (!candidate->is_valid || !line->is_readable || line->inode != candidate->inode)
		return;
	if (candidate->readable_high != line->start) {
		if (candidate->module.unwind_table < candidate->readable_high)
			return;
		candidate->readable_low = line->start;
	}
	candidate->readable_high = line->end;
}

static void take_line(const char *text, struct scan *scan)
{
	struct candidate *front = &scan->front;
	struct line line;

	if (!parse_line(text, &line))
		return;
	if (text_equals(line.path, "[stack]")) {
		store_relaxed(&modules.stack_high, line.end);
		store_release(&modules.stack_low, line.start);
	}
	if ((line.path[0] != '/' && !text_equals(line.path, "[vdso]")))
		return;
	if (line.offset == 0 && line.is_readable) {
		front->inode = line.inode;
		front->readable_low = front->readable_high = line.start;
		copy_path(front->path, line.path);
		front->is_valid = image_read(line.start, &front->module);
	}
	note_readable(&scan->found, &line);
	note_readable(front, &line);
	if (!line.is_executable || !front->is_valid || front->inode != line.inode ||
		line.start < front->module.low || line.start >= front->module.high)
		return;
	enter_found(&scan->found, front->module.low);
	scan->found = *front;
	front->is_valid = false;
}

/* Cuts the file into lines. Of one longer than the buffer the front is taken, with whatever its end is behind. */
static bool read_lines(int fd, struct scan *scan)
{
	size_t filled = 0;

	static_assert(FRONT_BYTES < READ_BYTES - 1, "something is dropped");
	for (;;) {
		long got = SYSCALL(read, fd, buffer + filled, READ_BYTES - 1 - filled);
		size_t start = 0;

		if (got <= 0)
			return got == 0;
		filled += (size_t)got;
		for (size_t i = 0; i < filled; i++) {
			if (buffer[i] != '\n')
				continue;
			buffer[i] = 0;
			take_line(buffer + start, scan);
			start = i + 1;
		}
		for (size_t i = start; i < filled; i++)
			buffer[i - start] = buffer[i];
		filled -= start;
		if (filled == READ_BYTES - 1)
			filled = FRONT_BYTES;
	}
}

/* Where address space is short (ulimit -v) the range is only chosen. */
static bool init_locked(void)
{
	if (modules.records.base != 0)
		return true;
	modules.paths = (struct region){.capacity = PATH_REGION_BYTES, .step = REGION_STEP};
	modules.records = (struct region){
		.capacity = align_up(MODULE_MAX * sizeof(struct module), OS_PAGE_BYTES),
		.step = REGION_STEP};
	return regions_init(&modules.paths, &modules.records, true) ||
	       regions_init(&modules.paths, &modules.records, false);
}

static bool scan_locked(void)
{
	static struct scan scan; // guard: lock; too large for a small stack
	long fd;
	bool done;

	if (!init_locked())
		return false;
	fd = SYSCALL(openat, AT_FDCWD, "/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	if (syscall_failed(fd))
		fd = SYSCALL(openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (syscall_failed(fd))
		return false;
	modules.scan++;
	scan.front.is_valid = scan.found.is_valid = false;
	done = read_lines((int)fd, &scan);
	enter_found(&scan.found, UINTPTR_MAX);
	SYSCALL(close, fd);
	for (uint32_t i = 0; done && i < modules.count; i++) {
		if (seen[i] == modules.scan || !modules.list[i].is_mapped)
			continue;
		store_release(&modules.list[i].is_mapped, 0);
		add_relaxed(&modules.generation, 1);
	}
	return done;
}

/* ---- for everybody ---- */

bool modules_scan(void)
{
	struct signal_guard guard;
	bool done;

	signals_block(&guard);
	lock_acquire(&modules.lock);
	store_relaxed(&modules.changed, 0);
	done = scan_locked();
	store_relaxed(&modules.last_scan_ns, clock_now_ns());
	lock_release(&modules.lock);
	signals_restore(&guard);
	return done;
}

void modules_changed(void)
{
	store_relaxed(&modules.misses, 0);
	store_relaxed(&modules.changed, 1);
}

bool modules_have_changed(void)
{
	return load_relaxed(&modules.changed) != 0 || load_relaxed(&modules.last_scan_ns) == 0;
}

uint32_t module_epoch(void)
{
	return load_acquire(&modules.epoch);
}

uint32_t modules_generation(void)
{
	return load_acquire(&modules.generation);
}

bool module_is_there(const struct module *module)
{
	uint8_t front[MODULE_FRONT_BYTES];

	// where a sandbox lets nothing be copied
	if (!peek(front, module->unwind_table, sizeof(front))) {
		const void *table =
			(const void *)(module->unwind_table & ~(uintptr_t)(sizeof(uint64_t) - 1));

		if (!peek_is_readable(table, 2 * sizeof(uint64_t)))
			return false;
		__builtin_memcpy(front, (const void *)module->unwind_table, sizeof(front));
	}
	return __builtin_memcmp(front, module->unwind_front, sizeof(front)) == 0;
}

const struct module *module_find_known(uintptr_t address)
{
	// pairs with the release store in add_module()
	for (uint32_t i = load_acquire(&modules.count); i > 0; i--) {
		const struct module *module = &modules.list[i - 1];

		if (address >= module->low && address < module->high &&
			load_acquire(&module->is_mapped))
			return module;
	}
	return 0;
}

/* An unknown address: code made at run time, or a module that was mapped after the last look (the loader allocates before it maps). */
static bool may_scan_again(void)
{
	return add_relaxed(&modules.misses, 1) < MISSES_AFTER_CHANGE ||
	       clock_now_ns() - load_relaxed(&modules.last_scan_ns) >= RESCAN_NS;
}

const struct module *module_find(uintptr_t address)
{
	const struct module *module;

	if (modules_have_changed())
		modules_scan();
	module = module_find_known(address);
	if (module || !may_scan_again())
		return module;
	modules_scan();
	return module_find_known(address);
}

const struct module *module_find_in_epoch(uintptr_t address, uint32_t epoch)
{
	for (uint32_t i = load_acquire(&modules.count); i > 0; i--) {
		const struct module *module = &modules.list[i - 1];

		if (address >= module->low && address < module->high &&
			module->first_epoch <= epoch && epoch <= load_relaxed(&module->last_epoch))
			return module;
	}
	return 0;
}

const struct module *module_get(uint32_t index)
{
	return index < load_acquire(&modules.count) ? &modules.list[index] : 0;
}

uintptr_t modules_main_stack_end(uintptr_t address)
{
	uintptr_t low = load_acquire(&modules.stack_low), high = load_relaxed(&modules.stack_high);

	return low != 0 && address >= low && address < high ? high : 0;
}

struct lock *modules_lock(void)
{
	return &modules.lock;
}

void modules_unreserve(void)
{
	lock_acquire(&modules.lock);
	region_unreserve(&modules.records);
	region_unreserve(&modules.paths);
	lock_release(&modules.lock);
}
