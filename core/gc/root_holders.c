/*
 * The pass over the roots (roots.h) with a sink that names what it gets. Memory comes in the order of addresses, so what was looked up for one word (mapping, module,
 * thread, frames of its stack) mostly serves the next.
 *
 * - A global is what lies in a module's addresses; data of other private mappings of files is told by the mapping's name.
 * - A stack's words are told apart by frames: the thread is unwound from where it stands, and a word belongs to the frame that ends above it.
 * - Registers come twice, as words and as the memory in which they were saved: the second time they are left out.
 */
#include "core/gc/root_holders.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/sort.h"
#include "core/gc/heap_graph.h"
#include "core/gc/mapping_names.h"
#include "core/gc/thread.h"
#include "core/gc/words.h"
#include "core/heap/heap.h"
#include "core/os/memory.h"
#include "core/profile/findings_writer.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/unwind.h"

#include <string.h>
#include <ucontext.h>

/* Addresses that belong to a thread. */
struct claim {
	uintptr_t start, end;
	const struct thread *thread;
};

/* The child's; one thread. */
static struct {
	struct findings_writer *writer;
	struct root_scan scan;
	struct claim *claims; // by address
	size_t claim_count, claim_capacity;
	const struct module *module; // the last one met, or NULL
	struct mapping_names names;
	const struct thread *unwound; // whose frames these are
	unsigned frame_count;
	uintptr_t frames[STACK_DEPTH_MAX], ends[STACK_DEPTH_MAX];
	uint32_t stacks[STACK_DEPTH_MAX]; // id from this frame outwards; 0: not made yet
} holders;

/* ---- threads ---- */

static bool claim_is_less(const void *a, const void *b)
{
	return ((const struct claim *)a)->start < ((const struct claim *)b)->start;
}

static void claim_thread(struct thread *thread, void *argument)
{
	(void)argument;
	if (holders.claim_count < holders.claim_capacity && thread->stack_high != 0)
		holders.claims[holders.claim_count++] =
			(struct claim){thread->stack_low, thread->stack_high, thread};
	// the main thread's own words, which lie apart from its stack
	if (holders.claim_count < holders.claim_capacity && thread->storage != 0 &&
		thread->storage - thread->stack_low >= thread->stack_high - thread->stack_low)
		holders.claims[holders.claim_count++] =
			(struct claim){align_down(thread->storage, OS_PAGE_BYTES) - OS_PAGE_BYTES,
				thread->storage + OS_PAGE_BYTES, thread};
}

static bool list_threads(void)
{
	holders.claim_capacity = 2 * (size_t)threads_count() + 16;
	holders.claims = os_map(holders.claim_capacity * sizeof(*holders.claims));
	if (!holders.claims)
		return false;
	threads_for_each(claim_thread, 0);
	sort_items(holders.claims, holders.claim_count, sizeof(*holders.claims), claim_is_less);
	return true;
}

static const struct thread *thread_at(uintptr_t address)
{
	size_t low = 0, high = holders.claim_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (holders.claims[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && address < holders.claims[low - 1].end ? holders.claims[low - 1].thread
								: 0;
}

/* ---- frames ---- */

#if defined(__x86_64__)
static struct unwind_place place_of(const struct thread *thread)
{
	const struct gate_frame *frame = thread->frame;
	const ucontext_t *context = thread->stop_context;

	if (thread_gate_state(thread) == GATE_HELD && frame)
		return (struct unwind_place){
			frame->instruction, frame->stack_pointer, frame->registers[1]};
	if (thread_gate_state(thread) == GATE_PARKED && context)
		return (struct unwind_place){
			(uintptr_t)context->uc_mcontext.gregs[REG_RIP],
			(uintptr_t)context->uc_mcontext.gregs[REG_RSP],
			(uintptr_t)context->uc_mcontext.gregs[REG_RBP],
		};
	return (struct unwind_place){0, 0, 0};
}
#else
static struct unwind_place place_of(const struct thread *thread)
{
	(void)thread;
	return (struct unwind_place){0, 0, 0};
}
#endif

static void unwind_thread(const struct thread *thread)
{
	struct unwind_place place = place_of(thread);

	holders.unwound = thread;
	holders.frame_count = place.instruction == 0 ? 0
						     : unwind_other(place, holders.frames,
							       holders.ends, STACK_DEPTH_MAX);
	holders.frames[0]++; // as a return address: readers look at the byte before
	memset(holders.stacks, 0, sizeof(holders.stacks));
}

/* The calls from the frame with that address outwards; 0: not known. */
static uint32_t stack_at(const struct thread *thread, uintptr_t address)
{
	unsigned at = 0;

	if (thread != holders.unwound)
		unwind_thread(thread);
	while (at < holders.frame_count && holders.ends[at] <= address)
		at++;
	if (at == holders.frame_count)
		return 0;
	if (holders.stacks[at] == 0)
		holders.stacks[at] = stack_table_add(
			&holders.frames[at], holders.frame_count - at, module_epoch());
	return holders.stacks[at];
}

/* ---- modules ---- */

static bool is_in_module(const struct module *module, uintptr_t address)
{
	return module && range_contains(module->low, module->high, address);
}

/* Index of the module, or FINDINGS_NONE. */
static uint32_t module_at(uintptr_t address)
{
	if (!is_in_module(holders.module, address))
		holders.module = module_find_known(address);
	return holders.module ? (uint32_t)(holders.module - module_get(0)) : FINDINGS_NONE;
}

/* ---- the sink ---- */

static const struct {
	const char *scanner;
	uint32_t kind; // enum findings_holder_kind
} kinds[] = {
	{"registers", FINDINGS_HOLDER_REGISTER},
	{"thread_storage", FINDINGS_HOLDER_THREAD_STORAGE},
	{"stacks", FINDINGS_HOLDER_STACK},
	{"data_segments", FINDINGS_HOLDER_GLOBAL},
	{"kernel_held", FINDINGS_HOLDER_KERNEL},
};

static uint32_t kind_of_scanner(uint32_t scanner)
{
	const char *name = roots_scanner_name(scanner);

	for (size_t i = 0; name && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].scanner, name) == 0)
			return kinds[i].kind;
	}
	return FINDINGS_HOLDER_MAPPING;
}

/* Of a word in memory. */
static void name_memory(struct findings_holder *holder)
{
	const struct thread *thread = 0;

	if (holder->kind == FINDINGS_HOLDER_STACK || holder->kind == FINDINGS_HOLDER_THREAD_STORAGE)
		thread = thread_at(holder->address);
	if (thread) {
		holder->thread = (uint32_t)thread->tid;
		if (holder->kind == FINDINGS_HOLDER_STACK)
			holder->stack = stack_at(thread, holder->address);
		else if (thread->storage - holder->address < UINT32_MAX)
			holder->stack = (uint32_t)(thread->storage - holder->address);
		return;
	}
	if (holder->kind == FINDINGS_HOLDER_GLOBAL)
		holder->module = module_at(holder->address);
	holder->kind =
		holder->module != FINDINGS_NONE ? FINDINGS_HOLDER_GLOBAL : FINDINGS_HOLDER_MAPPING;
	if (holder->kind == FINDINGS_HOLDER_MAPPING)
		holder->name = mapping_name_at(&holders.names, holders.writer, holder->address);
}

struct findings_holder root_holder_of(const struct root_scan *scan, size_t index, uintptr_t target)
{
	struct findings_holder holder = {
		.kind = kind_of_scanner(scan->scanner),
		.finding = FINDINGS_NONE,
		.module = FINDINGS_NONE,
		.thread = (uint32_t)scan->thread,
		.address = scan->address ? scan->address + index * scan->stride : 0,
		.target = target,
	};

	if (holder.kind == FINDINGS_HOLDER_REGISTER && scan->thread == 0)
		holder.kind = FINDINGS_HOLDER_UNKNOWN;
	// words that a thread has of its own lie nowhere, or are its registers
	if (holder.address == 0 && holder.kind == FINDINGS_HOLDER_STACK)
		holder.kind = FINDINGS_HOLDER_REGISTER;
	return holder;
}

static void put_holder(struct findings_holder holder)
{
	if (holder.kind == FINDINGS_HOLDER_UNKNOWN)
		return;
	if (holder.address != 0 && holder.kind != FINDINGS_HOLDER_REGISTER)
		name_memory(&holder);
	findings_put(holders.writer, &holder, 1);
}

static void take_words(void *argument, const uintptr_t *words, size_t count)
{
	const uintptr_t base = heap.base, used = heap.used;
	const struct root_scan *scan = argument;
	uint32_t block;

	for (size_t i = 0; i < count; i++) {
		uintptr_t target = words[i] & WORD_ADDRESS_MASK;

		if (target - base < used && heap_graph_find(target, &block))
			put_holder(root_holder_of(scan, i, target));
	}
}

enum roots_failure root_holders_put(struct findings_writer *writer)
{
	holders.writer = writer;
	modules_scan();
	findings_begin(writer, FINDINGS_HOLDERS, sizeof(struct findings_holder));
	if (!list_threads())
		return ROOTS_NOT_PREPARED;
	holders.scan.sink = take_words;
	holders.scan.sink_argument = &holders.scan;
	return roots_scan(&holders.scan) ? ROOTS_NOT_FAILED : holders.scan.failure;
}
