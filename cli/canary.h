/*
 * The positive control of gasket doctor: a process that leaks on purpose, under Gasket, and what was found of that.
 */
#pragma once

#include "cli/process.h"

#include <stdbool.h>
#include <stdint.h>

enum { CANARY_BLOCKS = 100 };

struct canary {
	bool has_page;              // and answered a request
	uint64_t live_blocks;       // leaked ones found while it ran
	uint64_t exit_blocks;       // when it ended
	char site[256];             // function, file and line of the leak as reported, or ""
	bool is_named;              // it is the right function
	struct stats_page page;     // its figures while it ran; zeros without a page
	enum process_result result; // of opening that page
};

/* Runs one with that value of the option collector, its files in `directory`. False: it could not be started, or did not say that it is there. */
bool canary_run(const char *collector, const char *directory, struct canary *ret_canary);

/* The life of the canary: leaks, says so, waits for the end of its standard input. */
int canary_main(void);
