/*
 * Messages. Nothing is printed unless asked for or wrong, each message is one write of one line, and fd 2 is used only while it is still the
 * file it was at start (a daemon may have reopened it as data); else the file named by log=PATH; else the message is only counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Remembers what fd 2 is, once, before the program runs. */
void log_init(void);

/* Names the file that replaces fd 2 (NULL or "": none). It is opened for each message. The text is kept by the caller. */
void log_set_path(const char *path);

/* Writes "gasket: TEXT\n" (formatted as format_text does). Async-signal-safe; any thread. */
__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

/* Writes text as it is, to where messages go. False when there was nowhere to write. */
bool log_write(const char *text, size_t bytes);

/* Asked in a thread of the program, whose fd 2 it is: is it still what it was, or is there log=PATH? */
bool log_has_place(void);

/* From now on fd 2 is written by nobody, not by its duplicate either: the program has put something else there. */
void log_forbid_stderr(void);

/* Messages that found no place. */
uint64_t log_dropped_count(void);

/*
 * The collector thread has a descriptor table of its own, where fd 2 is closed: it passes a private duplicate here when messages were asked
 * for (gctrace=1), or -1.
 */
void log_set_thread_descriptor(int thread_id, int descriptor);

/* Messages of the collector thread wait here when it has no descriptor of its own; a program thread writes them. Cheap when there are none. */
void log_flush_pending(void);
