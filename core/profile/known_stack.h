/*
 * The stack that a thread took last, by which the next one is told sooner: a program takes most of its blocks from within functions that have not returned since.
 *
 * Kept of each frame is the state of the walk there (instruction, stack pointer and, where it matters, rbp) and which words of the stack led to the next one. A walk that comes to
 * a state it has been in goes on as it did then if these words are what they were; this is looked up, word by word, and no rule is applied nor stack hashed again. So the
 * result is that of a whole walk, always. Frames found in any other way than walk_step_known()'s are not kept, nor is anything after a module was unloaded.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	KNOWN_MAX = 96, // frames kept
	KNOWN_NEW_MAX =
		64, // frames walked at once; more than STACK_DEPTH_MAX, so that some returns later there is enough
};

/* A frame just walked. */
struct known_step {
	uintptr_t pc, sp, fp, fp_slot;
	bool uses_fp;
};

/*
 * Zero: nothing is known. One thread's. A handler of the program that interrupts its use finds it in use, and may leave it so for good at any instruction. Arrays are
 * filled from the end, the outermost frame.
 */
struct known_stack {
	uint32_t generation, epoch; // of the modules
	uintptr_t direct_high;      // end of the stack
	uint32_t kept;              // frames; 0 while they change
	uintptr_t user;             // the frame that uses this, 0: none
	bool is_whole;              // up to where the stack ends
	uint8_t passes; // so many stacks are taken without: the last ones were none of these
	uintptr_t pc[KNOWN_MAX], sp[KNOWN_MAX], fp[KNOWN_MAX];
	uintptr_t fp_slot
		[KNOWN_MAX]; // 0: no rbp was read to find the next frame, or none that mattered
	bool needs_fp[KNOWN_MAX]; // rbp of this state decides over frames further out
	uint8_t frame
		[KNOWN_MAX]; // index in `frames` of this one; if it is one of ours, of the next one's
	uint32_t id[KNOWN_MAX];      // of the stack from here, 0: not asked for yet
	uintptr_t frames[KNOWN_MAX]; // without ours
	uint64_t sum[KNOWN_MAX + 1]; // of the frames from here, stack_sum()
	struct known_step walked[KNOWN_NEW_MAX];
};

/* As stack_capture(). `known` is the calling thread's own, or was that of one that has ended. */
uint32_t known_stack_capture(struct known_stack *known, const void *skip_below);
