/*
 * Ids are made by the code that makes them for reports: it is given a list of findings in which each stack of the blocks stands once for every kind, and its answer is searched.
 */
#include "cli/why_names.h"

#include "cli/memory.h"
#include "cli/render.h"
#include "cli/symbolize_data.h"

#include <inttypes.h>

enum { STATE_HINTED = 2 }; // enum slot_state: freed, waits for proof

struct why_names {
	const struct findings *findings;
	struct symbolizer *symbolizer;
	struct symbol_module **modules; // as in the file
};

struct why_names *why_names_create(const struct findings *findings, const char *root)
{
	struct why_names *names = memory_get(1, sizeof(*names));

	names->findings = findings;
	names->symbolizer = symbolizer_create(root);
	names->modules = memory_get(findings->module_count, sizeof(*names->modules));
	for (size_t i = 0; i < findings->module_count; i++) {
		const struct findings_module *module = &findings->modules[i];
		size_t bytes = module->build_id_bytes <= FINDINGS_BUILD_ID_MAX
				       ? module->build_id_bytes
				       : 0;

		names->modules[i] = symbolizer_module(names->symbolizer,
			findings_text(findings, module->path), module->build_id, bytes);
	}
	return names;
}

void why_names_destroy(struct why_names *names)
{
	if (!names)
		return;
	symbolizer_destroy(names->symbolizer);
	free(names->modules);
	free(names);
}

/* ---- frames ---- */

static void print_file_line(FILE *out, const char *file, unsigned line)
{
	const char *slash = strrchr(file, '/');

	print_printable(out, slash ? slash + 1 : file);
	fprintf(out, ":%u", line);
}

/* "serve service.c:40", as much of it as is known. */
static void print_symbol(FILE *out, const struct symbol *symbol)
{
	const struct symbol_frame *frame = symbol->count ? &symbol->frames[0] : NULL;

	if (frame && frame->function) {
		fputc(' ', out);
		print_printable(out, frame->function);
	}
	fputc(' ', out);
	if (frame && frame->file) {
		print_file_line(out, frame->file, frame->line);
		return;
	}
	fputc('(', out);
	print_printable(out, symbol->module->base_name);
	fprintf(out, "+0x%" PRIx64 ")", symbol->offset);
}

/* The symbol of frame `index`, or NULL. */
static const struct symbol *symbol_of_frame(struct why_names *names,
	const struct findings_stack *stack, const uint64_t *frames, size_t index)
{
	uint64_t address = frames[index] - 1;
	int module = findings_module_at(names->findings, address, stack->epoch);

	return module < 0 ? NULL
			  : symbolizer_find(names->symbolizer, names->modules[module],
				    address - names->findings->modules[module].bias);
}

/* Of the stack, the innermost frame that says something; NULL: none does. */
static const struct symbol *telling_symbol(struct why_names *names, uint32_t id)
{
	const struct findings_stack *stack = findings_find_stack(names->findings, id);
	const uint64_t *frames = stack ? findings_frames(names->findings, stack) : NULL;
	const struct symbol *first = NULL;

	for (size_t i = 0; frames && i < stack->depth; i++) {
		struct report_frame frame = {
			frames[i] - 1, symbol_of_frame(names, stack, frames, i)};

		if (frame.symbol && !report_frame_is_plumbing(&frame))
			return frame.symbol;
		first = first ? first : frame.symbol;
	}
	return first;
}

void why_print_origin(FILE *out, struct why_names *names, uint32_t stack)
{
	const struct symbol *symbol = telling_symbol(names, stack);

	if (!symbol)
		return;
	fputs(", allocated in", out);
	print_symbol(out, symbol);
}

/* ---- roots ---- */

/* "`name`+8 " if it is known. */
static void print_variable(FILE *out, const struct symbol_data *data)
{
	if (!data->name)
		return;
	fputs(" `", out);
	print_printable(out, data->name);
	fputc('`', out);
	if (data->offset)
		fprintf(out, "+%" PRIu64, data->offset);
}

static void print_declaration(FILE *out, const struct symbol_data *data)
{
	if (!data->file)
		return;
	fputs(", ", out);
	print_file_line(out, data->file, data->line);
}

static void print_global(FILE *out, struct why_names *names, const struct findings_holder *holder)
{
	const struct findings_module *module;
	struct symbol_data data;
	uint64_t offset;

	if (holder->module >= names->findings->module_count) {
		fprintf(out, "global at 0x%" PRIx64, holder->address);
		return;
	}
	module = &names->findings->modules[holder->module];
	offset = holder->address - module->bias;
	data = symbolizer_find_data(names->symbolizer, names->modules[holder->module], offset);
	fputs("global", out);
	print_variable(out, &data);
	fputs(" (", out);
	print_printable(out, names->modules[holder->module]->base_name);
	fprintf(out, "+0x%" PRIx64, offset);
	print_declaration(out, &data);
	fputc(')', out);
	symbol_data_release(&data);
}

/* The executable as a module of the file, or NULL. */
static struct symbol_module *find_executable(const struct why_names *names)
{
	const char *path = findings_text(names->findings, names->findings->meta.executable);

	for (size_t i = 0; i < names->findings->module_count; i++) {
		if (!strcmp(names->modules[i]->path, path))
			return names->modules[i];
	}
	return NULL;
}

/* Of the executable's variables names are known; those of libraries lie further below the thread pointer, in an order that only the loader knows. */
static void print_thread_local(
	FILE *out, struct why_names *names, const struct findings_holder *holder)
{
	struct symbol_module *executable = find_executable(names);
	struct symbol_data data;
	uint64_t offset;

	if (!executable || !symbolizer_find_thread_local(
				   names->symbolizer, executable, holder->stack, &offset, &data)) {
		fprintf(out, "thread-local storage of thread %" PRIu32 " (0x%" PRIx64,
			holder->thread, holder->address);
		if (holder->stack)
			fprintf(out, ", 0x%" PRIx32 " below the thread pointer", holder->stack);
		fputc(')', out);
		return;
	}
	fputs("thread-local", out);
	print_variable(out, &data);
	fprintf(out, " of thread %" PRIu32 " (", holder->thread);
	print_printable(out, executable->base_name);
	fprintf(out, ", TLS+0x%" PRIx64, offset);
	print_declaration(out, &data);
	fputc(')', out);
	symbol_data_release(&data);
}

static void print_stack_word(
	FILE *out, struct why_names *names, const struct findings_holder *holder)
{
	const struct symbol *symbol = telling_symbol(names, holder->stack);

	fprintf(out, "stack of thread %" PRIu32, holder->thread);
	if (symbol) {
		fputs(", in", out);
		print_symbol(out, symbol);
	}
	fprintf(out, " (0x%" PRIx64 ")", holder->address);
}

void why_print_holder(FILE *out, struct why_names *names, const struct findings_holder *holder)
{
	switch (holder->kind) {
	case FINDINGS_HOLDER_GLOBAL:
		print_global(out, names, holder);
		return;
	case FINDINGS_HOLDER_STACK:
		print_stack_word(out, names, holder);
		return;
	case FINDINGS_HOLDER_REGISTER:
		fprintf(out, "register of thread %" PRIu32, holder->thread);
		return;
	case FINDINGS_HOLDER_THREAD_STORAGE:
		print_thread_local(out, names, holder);
		return;
	case FINDINGS_HOLDER_MAPPING:
		fputs("mapping ", out);
		print_printable(out, findings_text(names->findings, holder->name));
		break;
	case FINDINGS_HOLDER_KERNEL:
		fputs("the kernel (epoll data, a timer, an alternate stack or the like)", out);
		break;
	default:
		fputs("an unknown root", out);
	}
	if (holder->address)
		fprintf(out, " (0x%" PRIx64 ")", holder->address);
}

/* ---- ids ---- */

/* The kinds whose ids are made of the allocation's stack alone. */
static const uint32_t kinds[] = {
	FINDING_LEAK, FINDING_INDIRECT, FINDING_POSSIBLE, FINDING_DANGLING, FINDING_GROWING};
enum { KIND_COUNT = sizeof(kinds) / sizeof(*kinds) };

static bool fits(const struct why_graph *graph, uint32_t kind, uint32_t block)
{
	bool is_freed = graph->findings->blocks[block].state == STATE_HINTED;
	bool is_leak = kind == FINDING_LEAK || kind == FINDING_INDIRECT;

	return (kind == FINDING_DANGLING) == is_freed && is_leak == !why_is_reached(graph, block);
}

struct site {
	uint32_t stack;
	uint64_t bytes;             // 0 with a stack
	uint32_t block[KIND_COUNT]; // one that fits, else any
};

static int compare_sites(const void *left, const void *right)
{
	const struct site *a = left, *b = right;

	if (a->stack != b->stack)
		return a->stack < b->stack ? -1 : 1;
	return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static struct site site_of(const struct findings_block *block)
{
	return (struct site){.stack = block->stack, .bytes = block->stack ? 0 : block->bytes};
}

/* Each stack of the blocks, or size of those without, once. */
static struct site *list_sites(const struct why_graph *graph, size_t *ret_count)
{
	const struct findings *findings = graph->findings;
	struct site *sites = memory_get(findings->block_count, sizeof(*sites));
	size_t count = 0;

	for (size_t i = 0; i < findings->block_count; i++)
		sites[i] = site_of(&findings->blocks[i]);
	qsort(sites, findings->block_count, sizeof(*sites), compare_sites);
	for (size_t i = 0; i < findings->block_count; i++) {
		if (count == 0 || compare_sites(&sites[count - 1], &sites[i]) != 0)
			sites[count++] = sites[i];
	}
	for (size_t i = 0; i < count; i++)
		memset(sites[i].block, 0xff, sizeof(sites[i].block));
	for (uint32_t i = 0; i < findings->block_count; i++) {
		struct site key = site_of(&findings->blocks[i]);
		struct site *site = bsearch(&key, sites, count, sizeof(key), compare_sites);

		for (size_t k = 0; k < KIND_COUNT; k++) {
			if (site->block[k] == WHY_NONE || (!fits(graph, kinds[k], site->block[k]) &&
								  fits(graph, kinds[k], i)))
				site->block[k] = i;
		}
	}
	*ret_count = count;
	return sites;
}

/* For each site and kind, a finding whose address is a block's. */
static struct finding *list_findings(
	const struct why_graph *graph, const struct site *sites, size_t count)
{
	struct finding *list = memory_get(count * KIND_COUNT, sizeof(*list));

	for (size_t i = 0; i < count * KIND_COUNT; i++) {
		const struct site *site = &sites[i / KIND_COUNT];
		uint32_t block = site->block[i % KIND_COUNT];

		list[i] = (struct finding){
			.kind = kinds[i % KIND_COUNT],
			.stack = site->stack,
			.parent = FINDINGS_NONE,
			.slot_bytes = site->bytes,
			.address = graph->findings->blocks[block].address,
			.blocks = 1,
		};
	}
	return list;
}

uint32_t why_find_id(const struct why_graph *graph, const char *id, const char *root)
{
	struct findings findings = *graph->findings;
	struct report_set set;
	uint64_t address = 0;
	struct site *sites;
	size_t count;

	sites = list_sites(graph, &count);
	findings.list = list_findings(graph, sites, count);
	findings.list_count = count * KIND_COUNT;
	report_set_init(&set, root);
	report_set_add(&set, &findings);
	for (size_t i = 0; set.count > 0 && i < set.reports[0].finding_count; i++) {
		if (!strcmp(set.reports[0].findings[i].id, id))
			address = set.reports[0].findings[i].sum.address;
	}
	report_set_finish(&set);
	free(findings.list);
	free(sites);
	return address ? why_block_at(graph, address) : WHY_NONE;
}
