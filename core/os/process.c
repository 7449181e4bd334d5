/*
 * The page that tells a child it is one.
 */
#include "core/os/process.h"

#include "core/os/memory.h"
#include "core/os/syscall.h"

#include <sys/mman.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static const uint32_t always = 1;
const uint32_t *process_mark = &always;
void (*process_child_hook)(void);

static uint32_t *page;

void process_note(void)
{
	if (!page) {
		page = os_map(OS_PAGE_BYTES);
		if (!page)
			return;
		if (syscall_failed(SYSCALL(madvise, page, OS_PAGE_BYTES, MADV_WIPEONFORK))) {
			os_unmap(page, OS_PAGE_BYTES);
			page = 0;
			return;
		}
	}
	store_relaxed(page, 1);
	if (process_mark != page) // the page it is on may be the parent's, too
		process_mark = page;
}

/* The mark first: the repair itself passes slow paths. */
void process_repair(void)
{
	store_relaxed(page, 1);
	if (process_child_hook)
		process_child_hook();
}
