/*
 * What belongs to a thread beside stack and registers: its static TLS, thread control block and descriptor (in one piece, at the thread pointer),
 * where also pthread keys, the robust list and the table of dynamic TLS (DTV) are; a start argument that the new thread has not picked up yet, and a
 * result that nobody has joined. DTV and dynamic TLS blocks come from malloc, thus are heap blocks that the control block refers to, or from the
 * loader's own early memory, which is read as a mapping.
 *
 * How large static TLS is, only libc knows. Its nearest part (the program's own variables come first below the thread pointer) is claimed here, the
 * rest stays with the stack or mapping in which it lies: all of it is read, this is but a matter of names.
 */
#include "scanners/scanners.h"

#include "core/gc/thread.h"

enum {
	STATIC_TLS_BYTES = 1024,
	DESCRIPTOR_BYTES =
		2304, // struct pthread, about; of the main thread, whose storage has no known end
};

static void claim_thread(struct thread *thread, void *argument)
{
	struct root_scan *scan = argument;
	uintptr_t storage = thread->storage;

	if (storage == 0)
		return;
	if (storage > thread->stack_low && storage < thread->stack_high &&
		thread_keeps_stack(thread))
		root_claim_stack(scan, storage - STATIC_TLS_BYTES, thread->stack_high);
	else if (storage > thread->stack_low && storage < thread->stack_high)
		root_claim(scan, storage - STATIC_TLS_BYTES, thread->stack_high);
	else
		root_claim(scan, storage - STATIC_TLS_BYTES, storage + DESCRIPTOR_BYTES);
}

static bool claim_storage(struct root_scan *scan)
{
	threads_for_each(claim_thread, scan);
	return scan->failure == ROOTS_NOT_FAILED && root_claims_done(scan);
}

static void scan_words(struct thread *thread, void *argument)
{
	uintptr_t words[] = {(uintptr_t)thread->start_argument, (uintptr_t)thread->result};

	root_scan_words_of(argument, thread->tid, 0, words, sizeof(words) / sizeof(words[0]));
}

static bool scan_storage(struct root_scan *scan)
{
	threads_for_each(scan_words, scan);
	return true;
}

const struct scanner scanner_thread_storage = {
	.name = "thread_storage", .claim = claim_storage, .scan = scan_storage};
