/*
 * Watching growth: with mode=watch, and for a while after somebody asked, there are full cycles now and then (growth_interval_ms), so that the histories of sites
 * (sites.h) have points also where neither freed memory nor the heap's size calls for cycles. Not while the program does nothing.
 *
 * The collector thread's, but for growth_wants_thread().
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stdint.h>

struct findings_writer;

/* Somebody asks: growth is watched for the next hour. */
void growth_watch(uint64_t now_ns);

/* When the next cycle is due for it, UINT64_MAX: not watched. */
uint64_t growth_due_ns(uint64_t now_ns);

/* Before that is asked: puts the cycle off while the program does nothing. */
void growth_tick(uint64_t now_ns);

/* A cycle ended. */
void growth_note_cycle(uint64_t now_ns, uint64_t cpu_ns, bool is_quick);

/* Any thread, where a span was taken: growth is to be watched and there is no collector thread, which is made for it once the process is old enough. */
bool growth_wants_thread(uint64_t heap_bytes);

/* In a fork child: it is young, and nobody has asked. */
void growth_fork_child(void);

/* The section SITES, and those that belong to it. Lock CYCLE. */
void growth_put_sites(struct findings_writer *writer);

/* A finding for each site that rises and, where not all stacks are kept, for each size that rises while no site does so as fast. Lock CYCLE. */
typedef void growth_take(const struct finding *finding, void *argument);
void growth_for_each_rising(growth_take *take, void *argument);

/* Appends them to the section LIST, which is open. */
void growth_put_findings(struct findings_writer *writer);
