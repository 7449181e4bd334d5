/*
 * Stacks are kept once each in a tree, so that equal ones are the same pointer, and findings are looked up by those pointers. Nothing that is
 * shown depends on the order of pointers: lists are filled in the order of the files and sorted by what they hold.
 */
#include "cli/report_data.h"

#include "cli/memory.h"

#include <search.h>
#include <stdio.h>

/* ---- stacks ---- */

static int compare_stacks(const void *left, const void *right)
{
	const struct report_stack *a = left, *b = right;
	int order = report_compare(a->depth, b->depth);

	for (size_t i = 0; order == 0 && i < a->depth; i++) {
		const struct report_frame *x = &a->frames[i], *y = &b->frames[i];

		order = report_compare((uintptr_t)x->symbol, (uintptr_t)y->symbol);
		if (order == 0 && !x->symbol)
			order = report_compare(x->address, y->address);
	}
	return order;
}

/* The element of `tree` that equals `key`; else `key` itself, which is then the tree's. */
static void *keep(void **tree, void *key, int (*compare)(const void *, const void *))
{
	void **found = tsearch(key, tree, compare);

	if (!found)
		fail(EXIT_FAILED, "no memory");
	return *found;
}

static void free_stack(void *element)
{
	struct report_stack *stack = element;

	free(stack->frames);
	free(stack);
}

/* One file being added. */
struct adding {
	struct report_set *set;
	struct report *report;
	const struct findings *findings;
	struct symbol_module **modules;     // by index in the file
	const struct report_stack **stacks; // by index in the file; NULL: not looked at yet
	size_t *groups;                     // by index of the finding: of the merged one
	size_t number;                      // of the file, from 1
};

static void note_missing(struct report *report, const struct symbol_module *module)
{
	for (size_t i = 0; i < report->module_count; i++) {
		if (report->modules[i].module == module)
			report->modules[i].is_missing = true;
	}
}

static const struct symbol *find_symbol(struct adding *adding, uint64_t address, int index)
{
	struct symbol_module *module = adding->modules[index];
	const struct symbol *symbol = symbolizer_find(
		adding->set->symbolizer, module, address - adding->findings->modules[index].bias);

	if (symbol->count == 0 && !symbolizer_has_file(adding->set->symbolizer, module))
		note_missing(adding->report, module);
	return symbol;
}

static const struct report_stack *make_stack(
	struct adding *adding, const struct findings_stack *stack, const uint64_t *frames)
{
	struct report_stack *made = memory_get(1, sizeof(*made));
	const struct report_stack *kept;

	made->depth = stack->depth;
	made->frames = memory_get(made->depth, sizeof(*made->frames));
	for (size_t i = 0; i < made->depth; i++) {
		uint64_t address = frames[i] - 1;
		int module = findings_module_at(adding->findings, address, stack->epoch);

		made->frames[i].address = address;
		made->frames[i].symbol = module < 0 ? NULL : find_symbol(adding, address, module);
	}
	kept = keep(&adding->set->stacks, made, compare_stacks);
	if (kept != made)
		free_stack(made);
	return kept;
}

/* The stack of an id, NULL if there is none. */
static const struct report_stack *get_stack(struct adding *adding, uint32_t id)
{
	const struct findings_stack *stack = findings_find_stack(adding->findings, id);
	const uint64_t *frames = stack ? findings_frames(adding->findings, stack) : NULL;
	const struct report_stack **slot;

	if (!frames)
		return NULL;
	slot = &adding->stacks[stack - adding->findings->stacks];
	if (!*slot)
		*slot = make_stack(adding, stack, frames);
	return *slot;
}

/* ---- merging ---- */

/* What makes two findings, or two sites, one. */
struct group {
	uint32_t kind, detail;
	const struct report_stack *stack, *other_stack;
	size_t parent;
	uint64_t slot_bytes;
	size_t index; // in the report: no part of the key
};

static int compare_groups(const void *left, const void *right)
{
	return memcmp(left, right, offsetof(struct group, index));
}

/* Index of the element of a list of `count` that `key` stands for; `count` if it is a new one, of which key.index tells. */
static size_t find_group(void **tree, const struct group *key, size_t count)
{
	struct group *mine = memory_get(1, sizeof(*mine)), *kept;

	*mine = *key;
	mine->index = count;
	kept = keep(tree, mine, compare_groups);
	if (kept != mine)
		free(mine);
	return kept->index;
}

static void add_counts(struct finding *sum, const struct finding *more)
{
	sum->blocks += more->blocks;
	sum->bytes += more->bytes;
	sum->indirect_blocks += more->indirect_blocks;
	sum->indirect_bytes += more->indirect_bytes;
	sum->reclaimed_blocks += more->reclaimed_blocks;
	sum->reclaimed_bytes += more->reclaimed_bytes;
	sum->slope_bytes_per_s += more->slope_bytes_per_s;
	sum->slope_low_bytes_per_s += more->slope_low_bytes_per_s;
	sum->slope_high_bytes_per_s += more->slope_high_bytes_per_s;
	sum->grown_bytes += more->grown_bytes;
	if (more->cycles > sum->cycles)
		sum->cycles = more->cycles;
	if (more->first_seen_ms < sum->first_seen_ms)
		sum->first_seen_ms = more->first_seen_ms;
	if (more->last_seen_ms > sum->last_seen_ms)
		sum->last_seen_ms = more->last_seen_ms;
}

static void add_finding(struct adding *adding, size_t index, size_t parent)
{
	const struct finding *one = &adding->findings->list[index];
	struct report *report = adding->report;
	struct report_finding *finding;
	struct group key;
	size_t place;

	memset(&key, 0, sizeof(key));
	key.kind = one->kind;
	key.detail = one->detail;
	key.stack = get_stack(adding, one->stack);
	key.other_stack = get_stack(adding, one->other_stack);
	key.parent = parent;
	key.slot_bytes = key.stack ? 0 : one->slot_bytes;
	place = find_group(&report->groups, &key, report->finding_count);
	adding->groups[index] = place;
	if (place == report->finding_count) {
		report->findings = memory_grow(
			report->findings, report->finding_count, sizeof(*report->findings));
		finding = &report->findings[report->finding_count++];
		*finding = (struct report_finding){.sum = *one,
			.stack = key.stack,
			.other_stack = key.other_stack,
			.parent = parent};
		report_make_id(finding);
	} else {
		finding = &report->findings[place];
		add_counts(&finding->sum, one);
	}
	finding->processes += finding->last_report != adding->number;
	finding->last_report = adding->number;
}

static bool is_held(const struct finding *one)
{
	return one->kind == FINDING_INDIRECT ||
	       (one->kind == FINDING_POSSIBLE && one->parent != FINDINGS_NONE);
}

/* The merged finding that holds one of this file. */
static size_t parent_of(const struct adding *adding, const struct finding *one)
{
	const struct finding *list = adding->findings->list;

	if (one->parent >= adding->findings->list_count || is_held(&list[one->parent]) ||
		list[one->parent].kind !=
			(one->kind == FINDING_INDIRECT ? FINDING_LEAK : FINDING_POSSIBLE))
		return SIZE_MAX;
	return adding->groups[one->parent];
}

/* Those that hold come first, so that the others find them. */
static void add_list(struct adding *adding)
{
	const struct findings *findings = adding->findings;

	for (size_t i = 0; i < findings->list_count; i++) {
		if (findings->list[i].kind < FINDING_KIND_COUNT && !is_held(&findings->list[i]))
			add_finding(adding, i, SIZE_MAX);
	}
	for (size_t i = 0; i < findings->list_count; i++) {
		if (is_held(&findings->list[i]))
			add_finding(adding, i, parent_of(adding, &findings->list[i]));
	}
}

static void add_holder(struct adding *adding, const struct findings_holder *one)
{
	const struct findings *findings = adding->findings;
	struct report_finding *finding;
	struct report_holder *holder;

	if (one->finding >= findings->list_count || adding->groups[one->finding] == SIZE_MAX)
		return;
	finding = &adding->report->findings[adding->groups[one->finding]];
	if (finding->holder_count == REPORT_HOLDERS_MAX)
		return;
	holder = &finding->holders[finding->holder_count++];
	*holder = (struct report_holder){.kind = one->kind,
		.thread = one->thread,
		.address = one->address,
		.target = one->target,
		.name = memory_copy_text(findings_text(findings, one->name)),
		.stack = get_stack(adding, one->stack)};
	if (one->kind == FINDINGS_HOLDER_GLOBAL && one->module < findings->module_count)
		holder->symbol = find_symbol(adding, one->address, (int)one->module);
}

static void add_site(struct adding *adding, const struct findings_site *one)
{
	struct report *report = adding->report;
	struct report_site *site;
	struct group key;
	size_t place;

	memset(&key, 0, sizeof(key));
	key.stack = get_stack(adding, one->stack);
	place = find_group(&report->site_groups, &key, report->site_count);
	if (place == report->site_count) {
		report->sites =
			memory_grow(report->sites, report->site_count, sizeof(*report->sites));
		report->sites[report->site_count++] = (struct report_site){.stack = key.stack};
	}
	site = &report->sites[place];
	site->blocks += one->blocks;
	site->bytes += one->bytes;
	site->slope_bytes_per_s += one->slope_bytes_per_s;
}

static struct symbol_module *add_module(struct adding *adding, const struct findings_module *one)
{
	struct report *report = adding->report;
	size_t bytes = one->build_id_bytes <= FINDINGS_BUILD_ID_MAX ? one->build_id_bytes : 0;
	struct symbol_module *module = symbolizer_module(adding->set->symbolizer,
		findings_text(adding->findings, one->path), one->build_id, bytes);

	for (size_t i = 0; i < report->module_count; i++) {
		if (report->modules[i].module == module)
			return module;
	}
	report->modules =
		memory_grow(report->modules, report->module_count, sizeof(*report->modules));
	report->modules[report->module_count++] = (struct report_module){.module = module,
		.low = one->low,
		.high = one->high,
		.bias = one->bias,
		.is_mapped = one->is_mapped != 0};
	return module;
}

/* ---- reports ---- */

static const char *executable_of(const struct findings *findings)
{
	const char *path = findings_text(findings, findings->meta.executable);

	return *path ? path : findings_text(findings, findings->meta.command);
}

static void put_executable_first(struct report *report)
{
	for (size_t i = 1; i < report->module_count; i++) {
		struct report_module module = report->modules[i];

		if (strcmp(module.module->path, report->executable) != 0)
			continue;
		memmove(report->modules + 1, report->modules, i * sizeof(module));
		report->modules[0] = module;
		return;
	}
}

static int rank_of_verdict(uint32_t verdict)
{
	return verdict == FINDINGS_VERDICT_FULL ? 2 : verdict == FINDINGS_VERDICT_PARTIAL;
}

static void add_meta(struct findings_meta *sum, const struct findings_meta *more)
{
	if (rank_of_verdict(more->verdict) < rank_of_verdict(sum->verdict)) {
		sum->verdict = more->verdict;
		sum->no_verdict = more->no_verdict;
	}
	sum->live_blocks += more->live_blocks;
	sum->live_bytes += more->live_bytes;
	sum->dangling_blocks += more->dangling_blocks;
	sum->dangling_bytes += more->dangling_bytes;
	sum->leaked_blocks += more->leaked_blocks;
	sum->leaked_bytes += more->leaked_bytes;
	sum->reclaimed_blocks += more->reclaimed_blocks;
	sum->reclaimed_bytes += more->reclaimed_bytes;
	sum->double_frees += more->double_frees;
	sum->invalid_frees += more->invalid_frees;
	sum->dropped_stacks += more->dropped_stacks;
	sum->dropped_findings += more->dropped_findings;
	if (more->possible > sum->possible)
		sum->possible = more->possible;
	if (more->sample_bytes > sum->sample_bytes)
		sum->sample_bytes = more->sample_bytes;
}

static struct report *find_report(struct report_set *set, const struct findings *findings)
{
	const char *executable = executable_of(findings);
	struct report *report;

	for (size_t i = 0; i < set->count; i++) {
		if (!strcmp(set->reports[i].executable, executable))
			return &set->reports[i];
	}
	set->reports = memory_grow(set->reports, set->count, sizeof(*set->reports));
	report = &set->reports[set->count++];
	*report = (struct report){.executable = memory_copy_text(executable)};
	return report;
}

void report_set_init(struct report_set *set, const char *root)
{
	*set = (struct report_set){.symbolizer = symbolizer_create(root)};
}

static void take_own_suppressions(struct report *report, const struct findings *findings)
{
	const char *text = findings_text(findings, findings->meta.default_suppressions);

	// "?": the file has no such string
	if (!report->default_suppressions && *text && strcmp(text, "?") != 0)
		report->default_suppressions = memory_copy_text(text);
}

void report_set_add(struct report_set *set, const struct findings *findings)
{
	struct adding adding = {.set = set, .findings = findings};
	struct report *report = find_report(set, findings);

	adding.report = report;
	adding.modules = memory_get(findings->module_count, sizeof(*adding.modules));
	adding.stacks = memory_get(findings->stack_count, sizeof(*adding.stacks));
	adding.groups = memory_get(findings->list_count, sizeof(*adding.groups));
	for (size_t i = 0; i < findings->list_count; i++)
		adding.groups[i] = SIZE_MAX;
	take_own_suppressions(report, findings);
	if (report->process_count == 0)
		report->meta = findings->meta;
	else
		add_meta(&report->meta, &findings->meta);
	report->processes =
		memory_grow(report->processes, report->process_count, sizeof(*report->processes));
	report->processes[report->process_count++] = findings->meta.process;
	adding.number = report->process_count;
	for (size_t i = 0; i < findings->module_count; i++)
		adding.modules[i] = add_module(&adding, &findings->modules[i]);
	put_executable_first(report);
	add_list(&adding);
	for (size_t i = 0; i < findings->holder_count; i++)
		add_holder(&adding, &findings->holders[i]);
	for (size_t i = 0; i < findings->site_count; i++)
		add_site(&adding, &findings->sites[i]);
	free(adding.modules);
	free(adding.stacks);
	free(adding.groups);
}

bool report_set_add_path(struct report_set *set, const char *path)
{
	struct findings findings;

	if (!findings_load_path(&findings, path))
		return false;
	report_set_add(set, &findings);
	findings_release(&findings);
	return true;
}

uint64_t report_total_bytes(const struct report_finding *finding)
{
	return finding->sum.bytes + finding->sum.indirect_bytes;
}

uint64_t report_total_blocks(const struct report_finding *finding)
{
	return finding->sum.blocks + finding->sum.indirect_blocks;
}

static struct report_leaked sum_of(const struct report *report, uint32_t kinds)
{
	struct report_leaked sum = {0};

	for (size_t i = 0; i < report->finding_count; i++) {
		const struct report_finding *finding = &report->findings[i];

		if (finding->is_suppressed || finding->parent != SIZE_MAX ||
			!(kinds >> finding->sum.kind & 1))
			continue;
		sum.bytes += report_total_bytes(finding);
		sum.blocks += report_total_blocks(finding);
	}
	return sum;
}

struct report_leaked report_leaked(const struct report *report)
{
	return sum_of(report, 1u << FINDING_LEAK | 1u << FINDING_INDIRECT);
}

struct report_leaked report_possible(const struct report *report)
{
	return sum_of(report, 1u << FINDING_POSSIBLE);
}

/* ---- the end ---- */

static void free_report(struct report *report)
{
	for (size_t i = 0; i < report->finding_count; i++) {
		for (size_t j = 0; j < report->findings[i].holder_count; j++)
			free(report->findings[i].holders[j].name);
	}
	tdestroy(report->groups, free);
	tdestroy(report->site_groups, free);
	free(report->executable);
	free(report->default_suppressions);
	free(report->processes);
	free(report->modules);
	free(report->findings);
	free(report->sites);
}

void report_set_finish(struct report_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		free_report(&set->reports[i]);
	free(set->reports);
	tdestroy(set->stacks, free_stack);
	symbolizer_destroy(set->symbolizer);
	*set = (struct report_set){0};
}
