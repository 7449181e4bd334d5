/*
 * The symbol table tells the name; debug data, if there is some, the place and the names of what is not in the table. It is searched from its front for each question: there
 * are few. Variables inside of functions (static ones) come last, for there all scopes are walked.
 */
#include "cli/symbolize_data.h"

#include "cli/memory.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

enum { DEPTH_MAX = 64 };

/* A search. Addresses are those of the debug data. */
struct search {
	Dwarf_Addr address;
	bool in_functions; // there, too
	Dwarf_Die found;
	Dwarf_Addr start; // of what was found
};

/* True: the variable has a fixed address, and the one that is searched lies in it. */
static bool is_at(struct search *search, Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	Dwarf_Word bytes = 1;
	Dwarf_Op *operation;
	Dwarf_Die type;
	size_t count;

	if (!dwarf_attr(die, DW_AT_location, &attribute) ||
		dwarf_getlocation(&attribute, &operation, &count) || count == 0 ||
		operation[0].atom != DW_OP_addr || operation[0].number > search->address)
		return false;
	if (dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attribute), &type))
		dwarf_aggregate_size(&type, &bytes);
	search->start = operation[0].number;
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
		search->address = address - bias;
		if (search_children(search, unit, 0))
			return true;
	}
	return false;
}

static void find_in_debug_data(struct symbol_data *data, Dwfl_Module *module, Dwarf_Addr address)
{
	struct search search = {.in_functions = false};
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
		find_in_debug_data(&data, file, offset + bias);
	}
	return data;
}

void symbol_data_release(struct symbol_data *data)
{
	free(data->name);
	free(data->file);
	*data = (struct symbol_data){.name = NULL};
}
