/*
 * Registers of stopped threads.
 *
 * A thread that was signalled stands in our handler: the kernel saved its registers in the signal frame, general ones in the ucontext, vector ones in
 * the XSAVE area the ucontext points to. Both are read as words; what the kernel left unwritten there gives false roots at most. The frame lies below
 * the thread's live stack, or on an alternate stack, and is read by plain loads: the thread stands on it. It is claimed too, so that nobody else reads it
 * as part of whatever it lies in.
 *
 * A thread that waits in a wrapped call has published its callee-saved registers and the call's arguments (a system call may name a buffer that
 * nothing else does); vector registers are not callee-saved, so none can hold anything.
 */
#include "scanners/scanners.h"

#include "core/base/atomic.h"
#include "core/gc/thread.h"

#include <string.h>
#include <ucontext.h>

struct area {
	const void *start;
	size_t bytes;
};

#if defined(__x86_64__)
enum {
	FXSAVE_BYTES = 512,
	VECTOR_BYTES_MAX = 64 * 1024,
	/* struct _fpx_sw_bytes, in the part of the FXSAVE area that is software's */
	SOFTWARE_OFFSET = 464,
	SOFTWARE_MAGIC = 0x46505853,
};

static struct area find_vector(const ucontext_t *context)
{
	const char *start = (const char *)context->uc_mcontext.fpregs;
	uint32_t software[2]; // magic, bytes of the whole area with what follows it

	if (!start)
		return (struct area){0, 0};
	memcpy(software, start + SOFTWARE_OFFSET, sizeof(software));
	if (software[0] == SOFTWARE_MAGIC && software[1] <= VECTOR_BYTES_MAX)
		return (struct area){start, software[1]};
	return (struct area){start, FXSAVE_BYTES};
}
#elif defined(__aarch64__)
/* The vector registers are in the ucontext itself, a list of records; SVE's extra space is named by one of them. */
static struct area find_vector(const ucontext_t *context)
{
	enum { EXTRA_MAGIC = 0x45585401 };
	const unsigned char *at = context->uc_mcontext.__reserved;
	const unsigned char *end = at + sizeof(context->uc_mcontext.__reserved);

	while (end - at >= 32) {
		uint32_t head[2];
		uint64_t extra[2];

		memcpy(head, at, sizeof(head));
		if (head[0] == 0 || head[1] == 0)
			break;
		if (head[0] == EXTRA_MAGIC) {
			memcpy(extra, at + sizeof(head), sizeof(extra));
			return (struct area){(const void *)extra[0], (uint32_t)extra[1]};
		}
		at += head[1];
	}
	return (struct area){0, 0};
}
#endif

static void scan_area(struct root_scan *scan, const struct thread *thread, struct area area)
{
	root_scan_words_of(scan, thread->tid, (uintptr_t)area.start, area.start,
		area.bytes / sizeof(uintptr_t));
}

static void claim_area(struct root_scan *scan, struct area area)
{
	root_claim(scan, (uintptr_t)area.start, (uintptr_t)area.start + area.bytes);
}

static void claim_thread(struct thread *thread, void *argument)
{
	const ucontext_t *context = load_acquire(&thread->stop_context);

	if (thread_gate_state(thread) != GATE_PARKED)
		return;
	if (!context) {
		root_fail(argument, ROOTS_THREAD_UNREADABLE, 0);
		return;
	}
	claim_area(argument, (struct area){context, sizeof(*context)});
	claim_area(argument, find_vector(context));
}

static bool claim_registers(struct root_scan *scan)
{
	threads_for_each(claim_thread, scan);
	return scan->failure == ROOTS_NOT_FAILED && root_claims_done(scan);
}

/* In an abandoned pause a thread may go on at any moment, and takes back what it has published. */
static void scan_thread(struct thread *thread, void *argument)
{
	enum thread_gate gate = thread_gate_state(thread);
	const struct gate_frame *frame = load_acquire(&thread->frame);
	const ucontext_t *context = load_acquire(&thread->stop_context);

	if (gate != GATE_HELD && gate != GATE_PARKED)
		return; // its task is gone
	if (gate == GATE_HELD ? !frame : !context) {
		root_fail(argument, ROOTS_THREAD_UNREADABLE, 0);
		return;
	}
	if (gate == GATE_HELD) {
		scan_area(argument, thread,
			(struct area){frame, offsetof(struct gate_frame, stack_pointer)});
	} else {
		scan_area(argument, thread, (struct area){context, sizeof(*context)});
		scan_area(argument, thread, find_vector(context));
	}
}

static bool scan_registers(struct root_scan *scan)
{
	threads_for_each(scan_thread, scan);
	return scan->failure == ROOTS_NOT_FAILED;
}

const struct scanner scanner_registers = {
	.name = "registers", .claim = claim_registers, .scan = scan_registers};
