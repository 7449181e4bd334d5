/*
 * `snapshot=now`: a file of findings (core/profile/findings.h) with every block of the heap, what refers to what, and what the roots refer to.
 *
 * The program stands still only while a child is made that is a copy of it (copy.h). The child reads its copy, roots included, and writes the file beside the public page;
 * the collector thread goes on meanwhile, and answers the request when the child has ended. Memory: 16 bytes for each 64 slots, and what the program writes
 * meanwhile is there twice. The file may take half of the room there is where it lies.
 *
 * What the copy does not show as it was: memory that is shared (read a little later), and memory that the program keeps from its children (MADV_DONTFORK,
 * MADV_WIPEONFORK): references from there are missed.
 *
 * Collector thread, no lock held.
 */
#pragma once

#include "core/profile/stats_page.h"

#include <stddef.h>
#include <stdint.h>

/* Begins one. STATS_REPLY_NONE: it is under way, the answer comes later; else the answer, with a line in `text`. */
enum stats_reply heap_file_begin(const struct stats_command *command, char *text, size_t capacity);

/* Answers if the child has ended. */
void heap_file_look(void);

/* When to look again; UINT64_MAX: none is under way. */
uint64_t heap_file_next_look_ns(uint64_t now);

/* The collector thread ends: so does the child. */
void heap_file_stop(void);

/* In a fork child: none is under way. */
void heap_file_fork_child(void);
