/*
 * Who holds what: every word of the roots that points into a block, with the name of where it lies. For snapshots, in a child that is a copy of the process; after
 * heap_graph_begin().
 */
#pragma once

#include "core/gc/roots.h"
#include "core/profile/findings.h"

struct findings_writer;

/*
 * What holds word number `index` of those that the sink of a pass was given: kind, thread and address, and nothing that must be looked up. Kind UNKNOWN: a register that the pass
 * tells of another time.
 */
struct findings_holder root_holder_of(const struct root_scan *scan, size_t index, uintptr_t target);

/* The section HOLDERS. Before the pause roots_prepare() was called. The list of modules is brought up to date, strings and stacks are added: they are written after it. */
enum roots_failure root_holders_put(struct findings_writer *writer);
