/*
 * The symbol table tells the name; debug data, if there is some, the place and the names of what is not in the table. It is searched from its front for each question: there
 * are few. Variables inside of functions (static ones) come last, for there all scopes are walked.
 */
#include "cli/symbolize_data.h"

#include "cli/memory.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>

enum { DEPTH_MAX = 64 };

/* A search. Addresses are those of the debug data, or offsets in thread-local storage. */
struct search {
	Dwarf_Addr address;
	bool is_thread_local;
	bool in_functions; // there, too
	Dwarf_Die found;
	Dwarf_Addr start; // of what was found
};

/* Where a variable begins. False: it has no fixed place, or one of the other sort. */
static bool find_start(const struct search *search, Dwarf_Die *die, Dwarf_Addr *ret_start)
{
	Dwarf_Attribute attribute;
	Dwarf_Op *operation;
	size_t count;
	int tls;

	if (!dwarf_attr(die, DW_AT_location, &attribute) ||
		dwarf_getlocation(&attribute, &operation, &count) || count == 0)
		return false;
	*ret_start = operation[0].number;
	if (!search->is_thread_local)
		return operation[0].atom == DW_OP_addr;
	tls = count > 1 ? operation[1].atom : 0;
	return tls == DW_OP_GNU_push_tls_address || tls == DW_OP_form_tls_address;
}

/* True: the address that is searched lies in the variable. */
static bool is_at(struct search *search, Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	Dwarf_Word bytes = 1;
	Dwarf_Die type;

	if (!find_start(search, die, &search->start) || search->start > search->address)
		return false;
	if (dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attribute), &type))
		dwarf_aggregate_size(&type, &bytes);
	return search->address - search->start < bytes;
}

static bool search_children(struct search *search, Dwarf_Die *parent, int depth);

static bool search_die(struct search *search, Dwarf_Die *die, int depth)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_variable:
		if (!is_at(search, die))
			return false;
		search->found = *die;
		return true;
	case DW_TAG_namespace:
		return search_children(search, die, depth + 1);
	case DW_TAG_subprogram:
	case DW_TAG_lexical_block:
	case DW_TAG_inlined_subroutine:
		return search->in_functions && search_children(search, die, depth + 1);
	default:
		return false;
	}
}

static bool search_children(struct search *search, Dwarf_Die *parent, int depth)
{
	Dwarf_Die child;

	if (depth == DEPTH_MAX || dwarf_child(parent, &child))
		return false;
	do {
		if (search_die(search, &child, depth))
			return true;
	} while (dwarf_siblingof(&child, &child) == 0);
	return false;
}

static bool search_units(struct search *search, Dwfl_Module *module, Dwarf_Addr address)
{
	Dwarf_Die *unit = NULL;
	Dwarf_Addr bias;

	while ((unit = dwfl_module_nextcu(module, unit, &bias))) {
		search->address = search->is_thread_local ? address : address - bias;
		if (search_children(search, unit, 0))
			return true;
	}
	return false;
}

static void find_in_debug_data(
	struct symbol_data *data, Dwfl_Module *module, Dwarf_Addr address, bool is_thread_local)
{
	struct search search = {.is_thread_local = is_thread_local};
	Dwarf_Attribute attribute;
	const char *text;
	int line = 0;

	if (!search_units(&search, module, address)) {
		search.in_functions = true;
		if (!search_units(&search, module, address))
			return;
	}
	text = dwarf_decl_file(&search.found);
	if (text)
		data->file = memory_copy_text(text);
	if (dwarf_decl_line(&search.found, &line) == 0 && line > 0)
		data->line = (unsigned)line;
	text = dwarf_formstring(dwarf_attr_integrate(&search.found, DW_AT_name, &attribute));
	if (data->name || !text)
		return;
	data->name = memory_copy_text(text);
	data->offset = search.address - search.start;
}

static void find_in_symbol_table(struct symbol_data *data, Dwfl_Module *module, Dwarf_Addr address)
{
	uint64_t distance;
	const char *name = symbolizer_table_name(module, address, &distance);

	if (!name)
		return;
	data->name = symbol_demangle(name);
	data->offset = distance;
}

struct symbol_data symbolizer_find_data(
	struct symbolizer *symbolizer, struct symbol_module *module, uint64_t offset)
{
	struct symbol_data data = {.name = NULL};
	uint64_t bias;
	Dwfl_Module *file = symbolizer_open(symbolizer, module, &bias);

	if (file) {
		find_in_symbol_table(&data, file, offset + bias);
		find_in_debug_data(&data, file, offset + bias, false);
	}
	return data;
}

/* Bytes from the begin of the executable's thread-local storage to the thread pointer; 0: it has none. */
static uint64_t storage_bytes(Dwfl_Module *module)
{
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(module, &bias);
	GElf_Phdr header;
	size_t count;

	if (!elf || elf_getphdrnum(elf, &count))
		return 0;
	for (int i = 0; i < (int)count; i++) {
		if (gelf_getphdr(elf, i, &header) && header.p_type == PT_TLS) {
			uint64_t align = header.p_align ? header.p_align : 1;

			return (header.p_memsz + align - 1) / align * align;
		}
	}
	return 0;
}

/* Their symbols have offsets for values, to which libdw may have added where it put the file. */
static void find_thread_local_symbol(
	struct symbol_data *data, Dwfl_Module *module, uint64_t offset, uint64_t bias)
{
	int count = dwfl_module_getsymtab(module);

	for (int i = 1; i < count; i++) {
		GElf_Sym entry;
		const char *name = dwfl_module_getsym(module, i, &entry, NULL);
		uint64_t start;

		if (!name || GELF_ST_TYPE(entry.st_info) != STT_TLS)
			continue;
		start = entry.st_value >= bias ? entry.st_value - bias : entry.st_value;
		if (offset - start >= entry.st_size)
			continue;
		data->name = symbol_demangle(name);
		data->offset = offset - start;
		return;
	}
}

bool symbolizer_find_thread_local(struct symbolizer *symbolizer, struct symbol_module *executable,
	uint64_t below, uint64_t *ret_offset, struct symbol_data *ret_data)
{
	uint64_t bias, bytes;
	Dwfl_Module *file = symbolizer_open(symbolizer, executable, &bias);

	bytes = file ? storage_bytes(file) : 0;
	if (below == 0 || below > bytes)
		return false;
	*ret_offset = bytes - below;
	*ret_data = (struct symbol_data){.name = NULL};
	find_thread_local_symbol(ret_data, file, *ret_offset, bias);
	find_in_debug_data(ret_data, file, *ret_offset, true);
	return true;
}

void symbol_data_release(struct symbol_data *data)
{
	free(data->name);
	free(data->file);
	*data = (struct symbol_data){.name = NULL};
}
