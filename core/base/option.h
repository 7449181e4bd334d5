/*
 * GASKET_OPTIONS=key=value:key=value (or with commas). option.def is the only list; this header makes the struct and the parser from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTION_AUTO UINT64_MAX /* "not set": the default is computed */

enum option_mode { MODE_SEAL, MODE_WATCH, MODE_FAST };
enum option_free { FREE_HINT, FREE_TRUST, FREE_IGNORE };
enum option_leaks { LEAKS_RECLAIM, LEAKS_REPORT, LEAKS_OFF };
enum option_collector {
	COLLECTOR_AUTO,
	COLLECTOR_STW,
	COLLECTOR_OFF,
	COLLECTOR_CONCURRENT,
	COLLECTOR_SNAPSHOT
};
enum option_quick_cycles { QUICK_CYCLES_AUTO, QUICK_CYCLES_OFF, QUICK_CYCLES_ALWAYS };
enum option_stacks { STACKS_OFF, STACKS_SAMPLED, STACKS_SUSPECTS, STACKS_ALL };
enum option_report_format { REPORT_FORMAT_TEXT, REPORT_FORMAT_FINDINGS };
enum option_report_possible { REPORT_POSSIBLE_OFF, REPORT_POSSIBLE_ON };
enum option_switch { SWITCH_ON, SWITCH_OFF };

enum { OPTION_TEXT_BYTES = 256 };

/* Written once at start, before other threads exist, then read anywhere; `free`, `leaks` and `collector` are changed only inside a pause or by
 * the collector thread on a command (readers take the old or the new value). */
struct options {
#define OPTION_CHOICE(name, initial, values, help) uint64_t name;
#define OPTION_NUMBER(name, initial, low, high, help) uint64_t name;
#define OPTION_TEXT(name, initial, help) char name[OPTION_TEXT_BYTES];
#include "core/base/option.def"
#undef OPTION_CHOICE
#undef OPTION_NUMBER
#undef OPTION_TEXT
};

extern struct options options __attribute__((visibility("hidden")));

/* Sets every option to its default (mode=seal). */
void options_reset(void);

/*
 * Parses `text` (need not end in 0; `length` bytes) on top of the present values; `mode` is applied before single keys wherever it stands.
 * For each bad key or value calls complain(message) with one line naming it and keeps the value it had. Thread-unsafe: start-up only.
 */
void options_parse(const char *text, size_t length, void (*complain)(const char *message));
