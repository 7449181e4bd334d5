/*
 * One step of a walk along a stack, inlined where stacks are taken. A part of unwind.h.
 *
 * Nearly all steps go by a rule that is remembered and read nothing but the calling thread's own stack: those are made here, in some twenty instructions. All others
 * (an address met for the first time, signal frames, code without tables, memory that may be anything) are walk_step_slow()'s.
 */
#pragma once

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/profile/cfi.h"
#include "core/profile/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WALK_RULE_BITS = 14,
	WALK_WINDOW_WORDS = 64,
	WALK_OWN_MAX = 32, // frames of ours, and below skip_below, on top of the caller's
};

/* A remembered rule; both words relaxed atomics. */
struct walk_rule {
	uint64_t key; // name_of(address) ^ rule
	uint64_t rule;
};
extern struct walk_rule walk_rules[1u << WALK_RULE_BITS] HIDDEN;

/* Where a walk stands. */
struct walk {
	uintptr_t pc;
	uintptr_t sp; // the CFA of the frame before
	uintptr_t fp;
	bool is_exact; // pc is an instruction itself (top, or interrupted by a signal), not a return address
	bool is_guessed; // some step followed a frame pointer, so pc may be anything
	uint64_t salt;   // walk_salt() when it began
	uintptr_t direct_low, direct_high; // memory that may be read directly
	uintptr_t window_start;            // address of window[0]
	size_t window_bytes;
	uintptr_t window[WALK_WINDOW_WORDS];
};

/* How a step by walk_step_known() got its result. */
struct walk_step {
	uintptr_t fp_slot; // where the caller's rbp was read; 0: it is the same
	bool uses_fp;      // the frame was found by rbp
};

/* Registers at one instruction of the caller, into which this is inlined. */
static ALWAYS_INLINE void walk_read_registers(
	uintptr_t *ret_pc, uintptr_t *ret_sp, uintptr_t *ret_fp)
{
	__asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2"
			 : "=&r"(*ret_pc), "=&r"(*ret_sp), "=&r"(*ret_fp));
}

/* Begins a walk of the calling thread at these registers. */
void walk_start(struct walk *walk, uintptr_t pc, uintptr_t sp, uintptr_t fp);

/* One step outwards, of any kind. False: the stack ends. */
bool walk_step_slow(struct walk *walk);

/* The rule of the instruction where the walk stands; remembered from now on, if it can be. */
struct cfi_rule walk_find_rule(const struct walk *walk);

/* Is the frame that was just found by `walk` one of ours on top of the caller's, or anywhere? `count`: frames found that are not. */
static ALWAYS_INLINE bool walk_is_skipped(
	const struct walk *walk, unsigned count, uintptr_t skip_below)
{
	// only at first: further out there may be a stack that lies below this one
	return (count == 0 && walk->sp <= skip_below) || module_is_own(walk->pc);
}

/* One step by a remembered rule, all from the thread's own stack. False: it is none of these, and nothing has changed. */
static ALWAYS_INLINE bool walk_step_known(struct walk *walk, struct walk_step *ret_step)
{
	uintptr_t address = walk->pc - !walk->is_exact;
	const struct walk_rule *known =
		&walk_rules[(address * 0x9e3779b97f4a7c15ull) >> (64 - WALK_RULE_BITS)];
	uint64_t rule = load_relaxed(&known->rule);
	uint8_t kind = (uint8_t)rule;
	intptr_t saved = (int16_t)(rule >> 16);
	uintptr_t cfa, slot = 0;

	if ((load_relaxed(&known->key) ^ rule) != (address ^ walk->salt) || walk->is_guessed ||
		(kind != CFI_STACK && kind != CFI_FRAME))
		return false;
	cfa = (kind == CFI_STACK ? walk->sp : walk->fp) +
	      (uintptr_t)(intptr_t)(int32_t)(rule >> 32);
	// frames lie one above the other; direct_low and direct_high are (0, 0) where nothing may be read
	if (cfa <= walk->sp || walk->sp < walk->direct_low || cfa > walk->direct_high ||
		(cfa & 7) != 0)
		return false;
	if (saved != CFI_SAME) {
		slot = cfa + (uintptr_t)saved;
		if (slot < walk->direct_low || slot > cfa - sizeof(uintptr_t) || (slot & 7) != 0)
			return false;
	}
	if (*(const volatile uintptr_t *)(cfa - sizeof(uintptr_t)) == 0)
		return false;
	walk->pc = *(const volatile uintptr_t *)(cfa - sizeof(uintptr_t));
	if (slot != 0)
		walk->fp = *(const volatile uintptr_t *)slot;
	walk->sp = cfa;
	walk->is_exact = false;
	*ret_step = (struct walk_step){.fp_slot = slot, .uses_fp = kind == CFI_FRAME};
	return true;
}

/* One step outwards. False: the stack ends. */
static ALWAYS_INLINE bool walk_step(struct walk *walk)
{
	struct walk_step step;

	return walk_step_known(walk, &step) || walk_step_slow(walk);
}
