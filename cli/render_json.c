/*
 * Reports as JSON. Fields are only ever added; sizes are bytes, addresses hexadecimal text (they need more than the 53 bits that readers keep).
 *
 *	{"format": "gasket-report", "version": 1, "reports": [REPORT...], "suppressions": [file line text blocks bytes used]}
 *	REPORT   executable processes[] verdict no_verdict possible reason age_ns cycles sample_bytes dropped_stacks dropped_findings
 *	         live_bytes live_blocks leaked_bytes leaked_blocks possible_bytes possible_blocks (of findings not suppressed) findings[] sites[] modules[]
 *	FINDING  id kind detail bytes blocks indirect_bytes indirect_blocks reclaimed_bytes reclaimed_blocks slot_bytes cycles first_seen_ms
 *	         last_seen_ms address slope_bytes_per_s slope_low_bytes_per_s slope_high_bytes_per_s grown_bytes processes parent suppressed stack[] call_stack[] (of the wrong call) holders[]
 *	FRAME    address module offset build_id functions[]: function file line, the one inlined last first
 */
#include "cli/figures.h"
#include "cli/json.h"
#include "cli/memory.h"
#include "cli/render.h"

static json_object *json_of_function(const struct symbol_frame *frame)
{
	json_object *object = json_object_new_object();

	if (frame->function)
		add_text(object, "function", frame->function);
	if (frame->file) {
		add_text(object, "file", frame->file);
		add_number(object, "line", frame->line);
	}
	return object;
}

static void add_symbol(json_object *object, const struct symbol *symbol)
{
	json_object *functions = json_object_new_array();

	add_text(object, "module", symbol->module->path);
	add_address(object, "offset", symbol->offset);
	if (*symbol->module->build_id)
		add_text(object, "build_id", symbol->module->build_id);
	for (size_t i = 0; i < symbol->count; i++)
		json_object_array_add(functions, json_of_function(&symbol->frames[i]));
	json_object_object_add(object, "functions", functions);
}

/* Nothing where no stack was recorded. */
static void add_stack(json_object *object, const char *name, const struct report_stack *stack)
{
	json_object *array;

	if (!stack)
		return;
	array = json_object_new_array();
	for (size_t i = 0; i < stack->depth; i++) {
		json_object *frame = json_object_new_object();

		add_address(frame, "address", stack->frames[i].address);
		if (stack->frames[i].symbol)
			add_symbol(frame, stack->frames[i].symbol);
		json_object_array_add(array, frame);
	}
	json_object_object_add(object, name, array);
}

static json_object *json_of_holder(const struct report_holder *holder)
{
	json_object *object = json_object_new_object();

	add_text(object, "kind", findings_holder_words(holder->kind));
	if (holder->thread)
		add_number(object, "thread", holder->thread);
	add_address(object, "address", holder->address);
	add_address(object, "target", holder->target);
	if (*holder->name)
		add_text(object, "name", holder->name);
	if (holder->symbol)
		add_symbol(object, holder->symbol);
	add_stack(object, "stack", holder->stack);
	return object;
}

static void add_counts(json_object *object, const struct finding *sum)
{
	add_number(object, "bytes", sum->bytes);
	add_number(object, "blocks", sum->blocks);
	add_number(object, "indirect_bytes", sum->indirect_bytes);
	add_number(object, "indirect_blocks", sum->indirect_blocks);
	add_number(object, "reclaimed_bytes", sum->reclaimed_bytes);
	add_number(object, "reclaimed_blocks", sum->reclaimed_blocks);
	add_number(object, "slot_bytes", sum->slot_bytes);
	add_number(object, "cycles", sum->cycles);
	add_number(object, "first_seen_ms", sum->first_seen_ms);
	add_number(object, "last_seen_ms", sum->last_seen_ms);
	add_address(object, "address", sum->address);
	add_number(object, "slope_bytes_per_s", sum->slope_bytes_per_s);
	add_number(object, "slope_low_bytes_per_s", sum->slope_low_bytes_per_s);
	add_number(object, "slope_high_bytes_per_s", sum->slope_high_bytes_per_s);
	add_number(object, "grown_bytes", sum->grown_bytes);
}

static json_object *json_of_finding(
	const struct report *report, const struct report_finding *finding)
{
	json_object *object = json_object_new_object();
	json_object *holders = json_object_new_array();

	add_text(object, "id", finding->id);
	add_text(object, "kind", findings_kind_word(finding->sum.kind));
	if (finding->sum.kind == FINDING_MISUSE)
		add_text(object, "detail", findings_misuse_words(finding->sum.detail));
	add_counts(object, &finding->sum);
	add_number(object, "processes", finding->processes);
	if (finding->parent != SIZE_MAX)
		add_text(object, "parent", report->findings[finding->parent].id);
	json_object_object_add(
		object, "suppressed", json_object_new_boolean(finding->is_suppressed));
	add_stack(object, "stack", finding->stack);
	add_stack(object, "call_stack", finding->other_stack);
	for (size_t i = 0; i < finding->holder_count; i++)
		json_object_array_add(holders, json_of_holder(&finding->holders[i]));
	json_object_object_add(object, "holders", holders);
	return object;
}

static json_object *json_of_findings(const struct report *report, const struct report_view *view)
{
	json_object *array = json_object_new_array();
	size_t counts[FINDING_KIND_COUNT] = {0};

	/* Suppressed ones are there, and marked. */
	for (size_t i = 0; i < report->finding_count; i++) {
		const struct report_finding *finding = &report->findings[i];

		if ((view->kinds >> finding->sum.kind & 1) == 0 ||
			(view->top && counts[finding->sum.kind]++ >= view->top))
			continue;
		json_object_array_add(array, json_of_finding(report, finding));
	}
	return array;
}

static json_object *json_of_sites(const struct report *report)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < report->site_count; i++) {
		const struct report_site *site = &report->sites[i];
		json_object *object = json_object_new_object();

		add_number(object, "bytes", site->bytes);
		add_number(object, "blocks", site->blocks);
		add_number(object, "slope_bytes_per_s", site->slope_bytes_per_s);
		add_stack(object, "stack", site->stack);
		json_object_array_add(array, object);
	}
	return array;
}

static json_object *json_of_modules(const struct report *report)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < report->module_count; i++) {
		const struct report_module *module = &report->modules[i];
		json_object *object = json_object_new_object();

		add_text(object, "path", module->module->path);
		add_text(object, "build_id", module->module->build_id);
		add_address(object, "low", module->low);
		add_address(object, "high", module->high);
		json_object_object_add(
			object, "mapped", json_object_new_boolean(module->is_mapped));
		json_object_array_add(array, object);
	}
	return array;
}

static void add_meta(json_object *object, const struct findings_meta *meta)
{
	add_text(object, "verdict", findings_verdict_words(meta->verdict));
	if (meta->verdict != FINDINGS_VERDICT_FULL)
		add_text(object, "no_verdict", word_of(STATS_NO_VERDICT_WORDS, meta->no_verdict));
	add_text(object, "possible", findings_possible_words(meta->possible));
	add_text(object, "reason", findings_reason_word(meta->reason));
	add_number(object, "age_ns", meta->age_ns);
	add_number(object, "cycles", meta->cycles);
	add_number(object, "sample_bytes", meta->sample_bytes);
	add_number(object, "dropped_stacks", meta->dropped_stacks);
	add_number(object, "dropped_findings", meta->dropped_findings);
	add_number(object, "live_bytes", meta->live_bytes);
	add_number(object, "live_blocks", meta->live_blocks);
}

static json_object *json_of_report(const struct report *report, const struct report_view *view)
{
	json_object *object = json_object_new_object(), *processes = json_object_new_array();
	struct report_leaked leaked = report_leaked(report), possible = report_possible(report);

	add_text(object, "executable", report->executable);
	for (size_t i = 0; i < report->process_count; i++)
		json_object_array_add(processes, json_object_new_int64(report->processes[i]));
	json_object_object_add(object, "processes", processes);
	add_meta(object, &report->meta);
	add_number(object, "leaked_bytes", leaked.bytes);
	add_number(object, "leaked_blocks", leaked.blocks);
	add_number(object, "possible_bytes", possible.bytes);
	add_number(object, "possible_blocks", possible.blocks);
	json_object_object_add(object, "findings", json_of_findings(report, view));
	json_object_object_add(object, "sites", json_of_sites(report));
	json_object_object_add(object, "modules", json_of_modules(report));
	return object;
}

json_object *render_json(const struct report_set *set, const struct report_view *view)
{
	json_object *object = json_object_new_object(), *reports = json_object_new_array();

	add_text(object, "format", "gasket-report");
	add_number(object, "version", 1);
	for (size_t i = 0; i < set->count; i++)
		json_object_array_add(reports, json_of_report(&set->reports[i], view));
	json_object_object_add(object, "reports", reports);
	return object;
}
