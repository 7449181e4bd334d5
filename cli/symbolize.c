/*
 * Each module's file is opened once, as a Dwfl of its own: libdw then finds separate debug data by itself. A file that was reported so has a
 * place of its own in libdw's addresses; `bias` leads from addresses in the file to those.
 *
 * Functions come from DWARF where there is some, else from the symbol table (which libdw also reads from .gnu_debugdata), else there is none:
 * the symbol below an address is believed only if it reaches that far.
 */
#include "cli/symbolize.h"

#include "cli/memory.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <libiberty/demangle.h>
#include <search.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INLINED_MAX = 64, DECLARATIONS_MAX = 4 };

struct symbol_file {
	Dwfl *dwfl; // NULL: no file with the build-id
	Dwfl_Module *module;
	GElf_Addr bias;
};

struct symbolizer {
	char *root; // "" for /
	char *debug_path;
	Dwfl_Callbacks callbacks;
	void *modules; // trees of <search.h>
	void *symbols;
};

/* ---- the two tables ---- */

static int compare_modules(const void *left, const void *right)
{
	const struct symbol_module *a = left, *b = right;
	int order = strcmp(a->path, b->path);

	return order ? order : strcmp(a->build_id, b->build_id);
}

static int compare_symbols(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;

	if (a->module != b->module)
		return (uintptr_t)a->module < (uintptr_t)b->module ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* The element of `tree` that equals `key`, or a new one: a copy of `bytes` of it. */
static void *find_or_add(void **tree, const void *key, size_t bytes,
	int (*compare)(const void *, const void *), bool *ret_is_new)
{
	void **found = tfind(key, tree, compare);
	void *element;

	*ret_is_new = !found;
	if (found)
		return *found;
	element = memory_get(1, bytes);
	memcpy(element, key, bytes);
	if (!tsearch(element, tree, compare))
		fail(EXIT_FAILED, "no memory");
	return element;
}

static void free_module(void *element)
{
	struct symbol_module *module = element;

	if (module->file && module->file->dwfl)
		dwfl_end(module->file->dwfl);
	free(module->file);
	free((char *)module->path);
	free(module);
}

static void free_symbol(void *element)
{
	struct symbol *symbol = element;

	for (size_t i = 0; i < symbol->count; i++) {
		free((char *)symbol->frames[i].function);
		free((char *)symbol->frames[i].linkage);
		free((char *)symbol->frames[i].file);
	}
	free(symbol->frames);
	free(symbol);
}

void symbolizer_demand_root(const char *root)
{
	struct stat status;

	if (stat(root, &status))
		fail(EXIT_FAILED, "%s: %s", root, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		fail(EXIT_FAILED, "%s: %s", root, strerror(ENOTDIR));
}

struct symbolizer *symbolizer_create(const char *root)
{
	struct symbolizer *symbolizer = memory_get(1, sizeof(*symbolizer));

	if (root)
		symbolizer_demand_root(root);
	symbolizer->root = memory_copy_text(root ? root : "");
	/* The debug link's file may stand beside the module, in .debug there, or below the root's /usr/lib/debug. */
	if (asprintf(&symbolizer->debug_path, ":.debug:%s/usr/lib/debug", symbolizer->root) < 0)
		fail(EXIT_FAILED, "no memory");
	symbolizer->callbacks = (Dwfl_Callbacks){
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
		.debuginfo_path = &symbolizer->debug_path,
	};
	return symbolizer;
}

void symbolizer_destroy(struct symbolizer *symbolizer)
{
	if (!symbolizer)
		return;
	tdestroy(symbolizer->symbols, free_symbol);
	tdestroy(symbolizer->modules, free_module);
	free(symbolizer->root);
	free(symbolizer->debug_path);
	free(symbolizer);
}

struct symbol_module *symbolizer_module(struct symbolizer *symbolizer, const char *path,
	const unsigned char *build_id, size_t build_id_bytes)
{
	struct symbol_module key = {.path = path}, *module;
	const char *slash;
	bool is_new;

	for (size_t i = 0; i < build_id_bytes && i < SYMBOL_BUILD_ID_MAX; i++)
		snprintf(key.build_id + 2 * i, 3, "%02x", build_id[i]);
	module = find_or_add(&symbolizer->modules, &key, sizeof(key), compare_modules, &is_new);
	if (is_new) {
		module->path = memory_copy_text(path);
		slash = strrchr(module->path, '/');
		module->base_name = slash ? slash + 1 : module->path;
	}
	return module;
}

/* ---- the module's file ---- */

/* The file of `report` has the build-id the module had when it was mapped. */
static bool is_same(Dwfl_Module *reported, const struct symbol_module *module)
{
	const unsigned char *bits;
	GElf_Addr where;
	int bytes = dwfl_module_build_id(reported, &bits, &where);

	if (bytes <= 0 || bytes > SYMBOL_BUILD_ID_MAX)
		return bytes == 0 && !*module->build_id;
	for (int i = 0; i < bytes; i++) {
		char digits[3];

		snprintf(digits, sizeof(digits), "%02x", bits[i]);
		if (strncmp(module->build_id + 2 * i, digits, 2) != 0)
			return false;
	}
	return module->build_id[2 * bytes] == 0;
}

/* Paths come from files of findings: nothing but a regular file is touched. */
static int open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (fd >= 0 && (fstat(fd, &status) || !S_ISREG(status.st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool open_file(
	struct symbolizer *symbolizer, const struct symbol_module *module, const char *path)
{
	struct symbol_file *file = module->file;
	int fd = open_regular(path);
	GElf_Addr bias;

	if (fd < 0)
		return false;
	file->dwfl = dwfl_begin(&symbolizer->callbacks);
	if (!file->dwfl)
		fail(EXIT_FAILED, "no memory");
	dwfl_report_begin(file->dwfl);
	file->module = dwfl_report_offline(file->dwfl, module->base_name, path, fd);
	if (!file->module)
		close(fd);
	dwfl_report_end(file->dwfl, NULL, NULL);
	if (file->module && dwfl_module_getelf(file->module, &bias) &&
		is_same(file->module, module)) {
		file->bias = bias;
		return true;
	}
	dwfl_end(file->dwfl);
	*file = (struct symbol_file){0};
	return false;
}

/* Below the root, without what the kernel adds to the path of a file that was removed. */
static bool open_by_path(struct symbolizer *symbolizer, const struct symbol_module *module)
{
	static const char mark[] = " (deleted)";
	size_t length = strlen(module->path);
	char *path;
	bool done;

	if (module->path[0] != '/')
		return false;
	if (length > sizeof(mark) && !strcmp(module->path + length - (sizeof(mark) - 1), mark))
		length -= sizeof(mark) - 1;
	if (asprintf(&path, "%s%.*s", symbolizer->root, (int)length, module->path) < 0)
		fail(EXIT_FAILED, "no memory");
	done = open_file(symbolizer, module, path);
	free(path);
	return done;
}

static bool open_by_build_id(struct symbolizer *symbolizer, const struct symbol_module *module)
{
	char *path;
	bool done;

	if (strlen(module->build_id) < 4)
		return false;
	if (asprintf(&path, "%s/usr/lib/debug/.build-id/%.2s/%s.debug", symbolizer->root,
		    module->build_id, module->build_id + 2) < 0)
		fail(EXIT_FAILED, "no memory");
	done = open_file(symbolizer, module, path);
	free(path);
	return done;
}

bool symbolizer_has_file(struct symbolizer *symbolizer, struct symbol_module *module)
{
	if (!module->file) {
		module->file = memory_get(1, sizeof(*module->file));
		if (!open_by_path(symbolizer, module))
			open_by_build_id(symbolizer, module);
	}
	return module->file->dwfl != NULL;
}

/* ---- names and lines ---- */

char *symbol_demangle(const char *name)
{
	char *plain = cplus_demangle(name, DMGL_PARAMS | DMGL_ANSI | DMGL_AUTO);

	return plain ? plain : memory_copy_text(name);
}

/* An attribute of the function itself or of what it is an instance of. */
static const char *text_attribute(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;

	return dwarf_formstring(dwarf_attr_integrate(die, name, &attribute));
}

static void set_name(struct symbol_frame *frame, const char *linkage)
{
	frame->linkage = memory_copy_text(linkage);
	frame->function = symbol_demangle(linkage);
}

/* What the function is declared as: an instance leads there by way of what it was made from. */
static Dwarf_Die declaration_of(Dwarf_Die *die)
{
	Dwarf_Die at = *die, next;
	Dwarf_Attribute attribute;

	for (int i = 0; i < DECLARATIONS_MAX; i++) {
		if (!dwarf_formref_die(dwarf_attr(&at, DW_AT_abstract_origin, &attribute), &next) &&
			!dwarf_formref_die(dwarf_attr(&at, DW_AT_specification, &attribute), &next))
			break;
		at = next;
	}
	return at;
}

/* `name` behind the namespaces and classes it is declared in. The caller frees it. */
static char *qualify(Dwarf_Die *die, const char *name)
{
	Dwarf_Die declaration = declaration_of(die), *scopes;
	int count = dwarf_getscopes_die(&declaration, &scopes);
	char *whole = memory_copy_text(name), *longer;

	for (int i = 1; i < count; i++) {
		int tag = dwarf_tag(&scopes[i]);
		const char *outer = dwarf_diename(&scopes[i]);

		if (tag != DW_TAG_namespace && tag != DW_TAG_class_type &&
			tag != DW_TAG_structure_type && tag != DW_TAG_union_type)
			continue;
		if (asprintf(&longer, "%s::%s", outer ? outer : "(anonymous)", whole) < 0)
			fail(EXIT_FAILED, "no memory");
		free(whole);
		whole = longer;
	}
	if (count > 0)
		free(scopes);
	return whole;
}

/* Functions that are only ever inlined have no name for the linker. */
static void find_name(Dwarf_Die *die, struct symbol_frame *frame)
{
	const char *name = text_attribute(die, DW_AT_linkage_name);

	if (!name)
		name = text_attribute(die, DW_AT_MIPS_linkage_name);
	if (name) {
		set_name(frame, name);
		return;
	}
	name = text_attribute(die, DW_AT_name);
	if (name) {
		frame->function = qualify(die, name);
		frame->linkage = memory_copy_text(name);
	}
}

/* Compilers are told of sources by paths from the directory they run in. The caller frees it. */
static char *whole_path(const char *name, const char *directory)
{
	char *path;

	if (name[0] == '/' || !directory)
		return memory_copy_text(name);
	if (asprintf(&path, "%s/%s", directory, name) < 0)
		fail(EXIT_FAILED, "no memory");
	return path;
}

/* Where the function was inlined: the line of the caller, which is the next frame. */
static void find_call(Dwarf_Die *die, struct symbol_frame *caller)
{
	Dwarf_Attribute attribute;
	Dwarf_Word file, line;
	Dwarf_Files *files;
	Dwarf_Die unit;
	size_t count;
	const char *name;

	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attribute), &file) ||
		dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attribute), &line) ||
		!dwarf_diecu(die, &unit, NULL, NULL) || dwarf_getsrcfiles(&unit, &files, &count))
		return;
	name = file < count ? dwarf_filesrc(files, file, NULL, NULL) : NULL;
	if (!name)
		return;
	caller->file =
		whole_path(name, dwarf_formstring(dwarf_attr(&unit, DW_AT_comp_dir, &attribute)));
	caller->line = (unsigned)line;
}

/* The line at the address itself: that of the innermost frame. */
static void find_line(Dwfl_Module *module, Dwarf_Addr address, struct symbol_frame *frame)
{
	Dwfl_Line *line = dwfl_module_getsrc(module, address);
	const char *name;
	int number;

	name = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
	if (!name)
		return;
	frame->file = whole_path(name, dwfl_line_comp_dir(line));
	frame->line = number > 0 ? (unsigned)number : 0;
}

/* The DIE around the address, innermost first, up to its unit; the caller frees them. <= 0: there are none. */
static int get_scopes(Dwfl_Module *module, Dwarf_Addr address, Dwarf_Die **ret_scopes)
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = dwfl_module_addrdie(module, address, &bias), *at, innermost;
	int count;

	if (!unit)
		return 0;
	count = dwarf_getscopes(unit, address - bias, &at);
	if (count <= 0)
		return count;
	/* From an inlined function on, those are the scopes it was written in; wanted are the ones it was inlined into. */
	innermost = at[0];
	free(at);
	return dwarf_getscopes_die(&innermost, ret_scopes);
}

static void find_in_debug_data(struct symbol *symbol, Dwfl_Module *module, Dwarf_Addr address)
{
	struct symbol_frame frames[INLINED_MAX + 1] = {0};
	Dwarf_Die *scopes;
	int count = get_scopes(module, address, &scopes);
	size_t known = 0;

	if (count <= 0)
		return;
	find_line(module, address, &frames[0]);
	for (int i = 0; i < count && known < INLINED_MAX; i++) {
		int tag = dwarf_tag(&scopes[i]);

		if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
			continue;
		find_name(&scopes[i], &frames[known]);
		if (tag == DW_TAG_inlined_subroutine)
			find_call(&scopes[i], &frames[known + 1]);
		known++;
		if (tag == DW_TAG_subprogram)
			break;
	}
	free(scopes);
	free(known ? NULL : (char *)frames[0].file);
	symbol->frames = memory_get(known, sizeof(*frames));
	symbol->count = known;
	memcpy(symbol->frames, frames, known * sizeof(*frames));
}

const char *symbolizer_table_name(
	struct Dwfl_Module *module, uint64_t address, uint64_t *ret_distance)
{
	GElf_Sym entry;
	const char *name =
		dwfl_module_addrinfo(module, address, ret_distance, &entry, NULL, NULL, NULL);

	return name && *name && *ret_distance < entry.st_size ? name : NULL;
}

/* Gives the outermost frame its name if it has none yet. */
static void find_in_symbol_table(struct symbol *symbol, Dwfl_Module *module, Dwarf_Addr address)
{
	uint64_t distance;
	const char *name = symbolizer_table_name(module, address, &distance);

	if (!name)
		return;
	if (symbol->count == 0) {
		free(symbol->frames);
		symbol->frames = memory_get(1, sizeof(*symbol->frames));
		symbol->count = 1;
		find_line(module, address, &symbol->frames[0]);
	}
	if (!symbol->frames[symbol->count - 1].function)
		set_name(&symbol->frames[symbol->count - 1], name);
}

const struct symbol *symbolizer_find(
	struct symbolizer *symbolizer, struct symbol_module *module, uint64_t offset)
{
	struct symbol key = {.module = module, .offset = offset}, *symbol;
	bool is_new;

	symbol = find_or_add(&symbolizer->symbols, &key, sizeof(key), compare_symbols, &is_new);
	if (is_new && symbolizer_has_file(symbolizer, module)) {
		Dwarf_Addr address = offset + module->file->bias;

		find_in_debug_data(symbol, module->file->module, address);
		find_in_symbol_table(symbol, module->file->module, address);
	}
	return symbol;
}

struct Dwfl_Module *symbolizer_open(
	struct symbolizer *symbolizer, struct symbol_module *module, uint64_t *ret_bias)
{
	if (!symbolizer_has_file(symbolizer, module))
		return NULL;
	*ret_bias = module->file->bias;
	return module->file->module;
}
