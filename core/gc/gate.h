/*
 * Gates: a thread that waits in a wrapped call has published where it stands, and counts as stopped by one compare-and-swap of the collector, without a
 * signal and without EINTR. The thread's half of the protocol that world.c tells; preload/ has the calls.
 */
#pragma once

#include "core/gc/thread.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Publishes the frame and lets the collector count this thread as stopped until gate_leave(). The caller has filled registers, arguments and
 * stack_pointer. If a stop is under way, waits it out first. Never fails: without a record, or inside another gated call that a raw handler
 * interrupted, the call simply runs ungated (frame->thread is NULL).
 */
void gate_enter(struct gate_frame *frame);
void gate_leave(struct gate_frame *frame);

/* Fills registers and stack_pointer of a gate_frame in the function where it stands. A macro, for they must be this function's. */
#if defined(__x86_64__)
#define gate_publish(frame) \
	do { \
		uintptr_t gate_instruction; \
		__asm__ volatile("mov %%rbx, 0(%1)\n\tmov %%rbp, 8(%1)\n\tmov %%r12, 16(%1)\n\t" \
				 "mov %%r13, 24(%1)\n\tmov %%r14, 32(%1)\n\tmov %%r15, 40(%1)\n\t" \
				 "mov %%rsp, %c2(%1)\n\tlea 0(%%rip), %0\n\tmov %0, %c3(%1)" \
				 : "=&r"(gate_instruction) \
				 : "r"(frame), "i"(offsetof(struct gate_frame, stack_pointer)), \
				 "i"(offsetof(struct gate_frame, instruction)) \
				 : "memory"); \
	} while (0)
#elif defined(__aarch64__)
/* x19-x28 and x29 are saved by the prologue of a function that clobbers them, above its stack pointer. */
#define gate_publish(frame) \
	__asm__ volatile("mov x9, sp\n\tstr x9, [%0, %1]" \
			 : \
			 : "r"(frame), "i"(offsetof(struct gate_frame, stack_pointer)) \
			 : "memory", "x9", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", \
			 "x27", "x28")
#endif

/* A handler of the program interrupts this thread: true if it was inside a gated call, which is left (waiting out a pause) until gate_resume(). */
bool gate_suspend(struct gate_frame **ret_frame);
void gate_resume(struct gate_frame *frame);

/* False: a handler of unknown origin was seen, BLOCKED threads are not to be taken for stopped. Once false, it stays so. */
bool gates_count(void);
void gates_distrust(void);
