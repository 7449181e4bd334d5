/*
 * Ids of findings: what goes into them is told in report_data.h. Nothing but the names and the numbers here decides them, and reports, differences and `gasket why` find
 * a finding again by its id, in other builds, too: whoever changes this makes all ids that were written down worthless.
 */
#include "cli/report_data.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>

bool report_frame_is_plumbing(const struct report_frame *frame)
{
	static const char *const modules[] = {"libgasket.so*", "libc.so*", "libc-2.*",
		"libpthread*", "libstdc++.so*", "libc++*.so*", "libgcc_s.so*", "ld-linux-*",
		"ld-2.*", "ld-musl-*"};
	static const char *const functions[] = {"_start", "operator new*", "std::*", "void* std::*",
		"__gnu_cxx::*", "malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign",
		"strdup", "strndup"};
	const struct symbol *symbol = frame->symbol;
	const char *function;

	if (!symbol)
		return false;
	for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		if (!fnmatch(modules[i], symbol->module->base_name, 0))
			return true;
	}
	function = symbol->count ? symbol->frames[symbol->count - 1].function : NULL;
	for (size_t i = 0; function && i < sizeof(functions) / sizeof(*functions); i++) {
		if (!fnmatch(functions[i], function, 0))
			return true;
	}
	return false;
}

static uint64_t add_to_hash(uint64_t hash, const char *text)
{
	const uint64_t prime = 0x100000001b3;

	do
		hash = (hash ^ (unsigned char)*text) * prime; // FNV-1a, the closing 0 included
	while (*text++);
	return hash;
}

static uint64_t add_frame_to_hash(uint64_t hash, const struct report_frame *frame)
{
	const struct symbol *symbol = frame->symbol;
	char place[24];

	if (!symbol)
		return add_to_hash(hash, "?");
	hash = add_to_hash(hash, symbol->module->base_name);
	for (size_t i = 0; i < symbol->count; i++) {
		if (symbol->frames[i].function)
			hash = add_to_hash(hash, symbol->frames[i].function);
	}
	if (symbol->count == 0) {
		/* Without a name only the place tells one stack from another. */
		snprintf(place, sizeof(place), "+0x%" PRIx64, symbol->offset);
		hash = add_to_hash(hash, place);
	}
	return hash;
}

static uint64_t add_stack_to_hash(uint64_t hash, const struct report_stack *stack)
{
	bool any = false;

	for (size_t i = 0; stack && i < stack->depth; i++) {
		if (report_frame_is_plumbing(&stack->frames[i]))
			continue;
		hash = add_frame_to_hash(hash, &stack->frames[i]);
		any = true;
	}
	for (size_t i = 0; !any && stack && i < stack->depth; i++)
		hash = add_frame_to_hash(hash, &stack->frames[i]);
	return add_to_hash(hash, "|");
}

void report_make_id(struct report_finding *finding)
{
	uint64_t hash = 0xcbf29ce484222325; // FNV's start
	char number[48];

	hash = add_to_hash(hash, findings_kind_word(finding->sum.kind));
	hash = add_to_hash(hash, findings_misuse_words(finding->sum.detail));
	hash = add_stack_to_hash(hash, finding->stack);
	hash = add_stack_to_hash(hash, finding->other_stack);
	if (!finding->stack) {
		snprintf(number, sizeof(number), "%" PRIu64, finding->sum.slot_bytes);
		hash = add_to_hash(hash, number);
	}
	/* Twelve digits of it, the rest folded in. */
	snprintf(finding->id, sizeof(finding->id), "%012" PRIx64,
		(hash ^ hash >> 48) & 0xffffffffffff);
}
