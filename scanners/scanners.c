/*
 * The table. `registers` and `thread_storage` come before `stacks`, in whose ranges their own may lie; `mappings` is last: it gets what is left.
 */
#include "scanners/scanners.h"

const struct scanner *const scanners[SCANNER_COUNT] = {
	&scanner_registers,
	&scanner_thread_storage,
	&scanner_stacks,
	&scanner_data_segments,
	&scanner_kernel_held,
	&scanner_mappings,
};
