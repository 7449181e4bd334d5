/*
 * Return addresses of the calling thread, innermost first.
 *
 * Step by step outwards. Where the module of a return address has an .eh_frame_hdr (nearly all code does, also C without frame pointers), its
 * own table says where the caller's frame is: exact, no lock, no system call, and each address is looked up once. Elsewhere (code made at run
 * time, hand-written assembly) the frame pointer is followed, with checks. Where both fail the stack ends: nothing is guessed.
 *
 * Stack memory is read directly only inside the main thread's stack and the bounds given by unwind_set_stack(), else by copies that cannot fault.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Fills `frames` with at most `capacity` return addresses of the callers and returns their number. Frames of this library are left out (when
 * it is a library of its own), and those below `skip_below` (NULL: none). 0 if the thread is already unwinding. No lock of ours is held.
 * Never for another thread: see unwind_other().
 */
unsigned unwind_capture(uintptr_t *frames, unsigned capacity, const void *skip_below);

/* Where a thread stands that does not run. */
struct unwind_place {
	uintptr_t instruction, stack_pointer, frame_pointer;
};

/*
 * The same of a thread that stands still, from where it stands: frames[0] is that instruction, and ends[i] is the first address above the frame of frames[i]. Frames of this
 * library are among them. Never beside threads that run: for a child that is a copy of the process.
 */
unsigned unwind_other(
	struct unwind_place place, uintptr_t *frames, uintptr_t *ends, unsigned capacity);

/* Bounds of the calling thread's stack, for faster reading; (0, 0) means not known. Called when a thread is attached. */
void unwind_set_stack(uintptr_t low, uintptr_t high);

/* True: the address lies on the calling thread's stack, as far as its bounds are known. */
bool unwind_is_on_stack(uintptr_t address);
