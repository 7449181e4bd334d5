/*
 * Call frame information: what a module's .eh_frame says about the frame of one address. x86-64.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct module;

enum cfi_kind {
	CFI_NONE,           // nothing known, or more than we understand
	CFI_STACK,          // CFA = rsp + cfa_offset
	CFI_FRAME,          // CFA = rbp + cfa_offset
	CFI_FRAME_INDIRECT, // CFA = *(rbp + cfa_offset): a function that realigns its stack
	CFI_SIGNAL,         // the kernel's signal frame lies at rsp
	CFI_OUTERMOST,      // no caller: the return address is declared undefined
};

/* Values of frame_pointer that are no offset: the register is unchanged; it is saved where rbp points (with CFI_FRAME_INDIRECT). */
enum { CFI_SAME = INT16_MIN, CFI_AT_FRAME = INT16_MIN + 1 };

/* How to get from one frame to its caller's. CFA is the stack pointer of the caller after the call returned. Fits 8 bytes. */
struct cfi_rule {
	uint8_t kind; // enum cfi_kind
	uint8_t unused;
	int16_t frame_pointer; // the caller's rbp is at CFA + this, or CFI_SAME, CFI_AT_FRAME
	int32_t cfa_offset;
};

/*
 * The rule for `address` (of an instruction, so a return address minus 1). False: no entry covers the address. No lock, no memory.
 * `is_direct`: the module cannot be unloaded meanwhile, for the address is known to be on the calling thread's stack, and is read directly; else
 * by copies that cannot fault, at the price of some twenty system calls.
 */
bool cfi_find_rule(
	const struct module *module, uintptr_t address, bool is_direct, struct cfi_rule *ret_rule);
