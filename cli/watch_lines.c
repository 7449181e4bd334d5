#include "cli/watch_lines.h"

#include "cli/figures.h"
#include "cli/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void print_time(void)
{
	char text[32];
	time_t now = time(NULL);
	struct tm parts;

	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&now, &parts));
	fputs(text, stdout);
}

static json_object *begin(const struct watch_lines *lines, const char *event)
{
	json_object *object = json_object_new_object();
	char text[32];
	time_t now = time(NULL);
	struct tm parts;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
	add_text(object, "time", text);
	json_object_object_add(object, "pid", json_object_new_int(lines->pid));
	add_text(object, "event", event);
	return object;
}

static void end(json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

static void add_site(json_object *object, const struct report_finding *finding)
{
	const struct symbol *symbol = hunt_site(finding);
	const struct symbol_frame *frame = symbol && symbol->count ? &symbol->frames[0] : NULL;

	if (!symbol)
		return;
	if (frame && frame->function)
		add_text(object, "function", frame->function);
	if (frame && frame->file) {
		add_text(object, "file", frame->file);
		add_number(object, "line", frame->line);
	}
	add_text(object, "module", symbol->module->path);
	add_address(object, "offset", symbol->offset);
}

static void tell_change_json(const struct watch_lines *lines, const struct watch_change *change)
{
	json_object *object = begin(lines, change->is_new ? "new" : "more");

	add_text(object, "id", change->finding->id);
	add_number(object, "bytes", change->bytes);
	add_number(object, "objects", change->blocks);
	add_number(object, "total_bytes", change->total_bytes);
	add_number(object, "total_objects", change->total_blocks);
	add_site(object, change->finding);
	end(object);
}

void watch_tell_change(const struct watch_lines *lines, const struct watch_change *change)
{
	if (lines->json) {
		tell_change_json(lines, change);
		return;
	}
	print_time();
	printf(" %s  %" PRIu64 " bytes in %" PRIu64 " objects  ", change->is_new ? "new " : "more",
		change->bytes, change->blocks);
	hunt_print_site(stdout, change->finding);
	printf("  %s\n", change->finding->id);
}

void watch_tell_totals(const struct watch_lines *lines, const struct hunt_result *result,
	int64_t change_bytes, uint64_t live_bytes)
{
	json_object *object;

	if (!lines->json) {
		print_time();
		printf(" leaked %s in %" PRIu64 " objects of %zu sites, %+" PRId64
		       " bytes since the last look; live %s\n",
			size_of(result->bytes).text, result->blocks, result->sites, change_bytes,
			size_of(live_bytes).text);
		return;
	}
	object = begin(lines, "look");
	add_number(object, "leaked_bytes", result->bytes);
	add_number(object, "leaked_objects", result->blocks);
	add_number(object, "sites", result->sites);
	json_object_object_add(object, "change_bytes", json_object_new_int64(change_bytes));
	add_number(object, "live_bytes", live_bytes);
	end(object);
}

void watch_tell_no_verdict(const struct watch_lines *lines, const char *reason)
{
	json_object *object;

	if (!lines->json) {
		print_time();
		printf(" no verdict: %s\n", reason);
		return;
	}
	object = begin(lines, "no-verdict");
	add_text(object, "reason", reason);
	end(object);
}

void watch_tell_end(const struct watch_lines *lines)
{
	if (lines->json) {
		end(begin(lines, "ended"));
		return;
	}
	print_time();
	printf(" %d: the process has ended\n", lines->pid);
}
