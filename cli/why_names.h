/*
 * What the blocks and roots of a snapshot are called.
 */
#pragma once

#include "cli/why_graph.h"

#include <stdio.h>

struct why_names;

/* `root` as for symbolizer_create(). */
struct why_names *why_names_create(const struct findings *findings, const char *root);
void why_names_destroy(struct why_names *names);

/* "global `cache` (service+0x4010, service.c:12)", "stack of thread 4711, in serve service.c:40", ... */
void why_print_holder(FILE *out, struct why_names *names, const struct findings_holder *holder);

/* ", allocated in make_node service.c:12": the innermost frame that is not the C library's; nothing if no stack was recorded. */
void why_print_origin(FILE *out, struct why_names *names, uint32_t stack);

/*
 * A block to which a finding with that id, as reports print it, would apply; preferably one that fits its kind (unreached for a leak, freed for a dangling one). WHY_NONE: there
 * is none.
 */
uint32_t why_find_id(const struct why_graph *graph, const char *id, const char *root);
