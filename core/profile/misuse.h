/*
 * Wrong frees, by kind and by who made them: a bounded table that any thread adds to. What finds no place, and what comes when very many came already, is only counted.
 */
#pragma once

#include "core/profile/findings.h"

#include <stdbool.h>
#include <stdint.h>

enum { MISUSE_COUNT_MAX = 256 };

/* Calls of one kind from one place. */
struct misuse {
	enum finding_misuse kind;
	uint32_t call;       // id of the stack of the wrong call; 0: none was taken
	uint32_t allocation; // id of the block's; 0: not known. Of one of the calls, like `address`
	uint64_t count;
	uint64_t first_ms, last_ms; // age of the process
	uintptr_t address;          // what was given to free
};

/*
 * A call was wrong. Takes the calling thread's stack (rules of stack_capture(): no lock of ours is held; async-signal-safe). Of a foreign address it is found out
 * whether it lies on a stack.
 */
void misuse_note(enum finding_misuse kind, const void *pointer, uint32_t allocation);

/* Entry number `index`; false behind the last. Any thread; an entry that is just being made has no count. */
bool misuse_get(uint32_t index, struct misuse *ret_misuse);

/* Calls that are in no entry. */
uint64_t misuse_dropped(void);

/* In a fork child: the parent's are the parent's. */
void misuse_after_fork(void);
