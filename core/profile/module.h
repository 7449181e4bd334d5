/*
 * The modules (program, shared libraries, vDSO) the process has or ever had: path, build-id, range of addresses, unwind tables. Read from
 * /proc/self/maps and the program headers in memory; kept after dlclose, so that a leak in an unloaded plugin is still named.
 *
 * The table is append-only and is read without a lock; scans add to it under the lock LOADER. When a module is found where another one was,
 * the epoch grows by one; address and epoch together name one module for ever.
 */
#pragma once

#include "core/os/lock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MODULE_BUILD_ID_MAX = 32,
	MODULE_FRONT_BYTES = 12, // of .eh_frame_hdr: up to the number of its entries
};

/* One mapped ELF file. Constant once published, but for `last_epoch` and `is_mapped`. */
struct module {
	const char *
		path; // as the kernel names it; "[vdso]" for the vDSO; "<...>" when it could not be kept
	uintptr_t low, high; // addresses of its PT_LOAD segments, from the first to behind the last
	uintptr_t text_low, text_high; // its executable addresses
	uintptr_t bias;                // address - address in the file
	uintptr_t unwind_table;        // address of .eh_frame_hdr, 0: none
	size_t unwind_table_bytes;
	uintptr_t unwind_low,
		unwind_high; // the segment it lies in, as far as it was found readable
	uint8_t unwind_front
		[MODULE_FRONT_BYTES]; // first bytes of the table, by which it is known again
	uint32_t first_epoch;         // module_epoch() when it was found
	uint32_t
		last_epoch; // the last in which these addresses meant it; UINT32_MAX: they still do. Atomic
	uint32_t is_mapped;     // 0 after it was unloaded. Atomic
	uint8_t build_id_bytes; // 0: none
	uint8_t build_id[MODULE_BUILD_ID_MAX];
};

/* The module mapped at `address` now; scans for new ones when there is none. NULL: not code of a module. No lock of ours may be held. */
const struct module *module_find(uintptr_t address);

/* As module_find(), but never scans. */
const struct module *module_find_known(uintptr_t address);

/* The module that was mapped at `address` in `epoch`, or NULL. */
const struct module *module_find_in_epoch(uintptr_t address, uint32_t epoch);

/* Module number `index`, or NULL behind the last. */
const struct module *module_get(uint32_t index);

/* Its unwind table lies where it was seen to be readable. */
static inline bool module_has_table(const struct module *module)
{
	return module->unwind_table - module->unwind_low < module->unwind_high - module->unwind_low;
}

/*
 * The table of a module that has one is there still, and is that module's: libc unloads libraries without our knowledge, and puts others into their place. A
 * system call or two.
 */
bool module_is_there(const struct module *module);

/* Grows whenever a module was unloaded: what was remembered of its addresses may be something else's by now. */
uint32_t modules_generation(void);

/* The present epoch; 0 before the first scan. */
uint32_t module_epoch(void);

/* Modules were or may have been loaded or unloaded (after dlopen and dlclose): the next module_find() looks again. Any thread, tiny. */
void modules_changed(void);

/* modules_changed() was called since the last scan, or there was no scan yet. */
bool modules_have_changed(void);

/* Looks now. False if /proc/self/maps cannot be read. */
bool modules_scan(void);

/* For fork. */
struct lock *modules_lock(void);

/* End of the main thread's stack if `address` lies in what was mapped of it at the last scan, else 0. */
uintptr_t modules_main_stack_end(uintptr_t address);

/* Gives reserved address space back: the process limits it. Signals are blocked. */
void modules_unreserve(void);
