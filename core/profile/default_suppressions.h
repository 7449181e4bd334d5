/*
 * Suppressions that the program itself has given (__lsan_default_suppressions), as text: kept for whoever writes a report's file. They are applied where
 * names are known, which is outside.
 */
#pragma once

/* Keeps a copy, of at most 64 KiB; a later one replaces it. NULL: none. By a thread of the program, one at a time, outside of collections. */
void default_suppressions_set(const char *text);

/* The text, or "". */
const char *default_suppressions(void);
