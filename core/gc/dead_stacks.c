/*
 * Stacks of threads that are gone.
 *
 * Libc keeps the stacks of finished threads for the next ones; what lies there is garbage, full of old pointers, in ordinary private
 * memory. A scanner may skip such a range if it is certain that it is still that stack: libc may have unmapped it and the program may have mapped its
 * own memory there, unseen. So each thread, in its last destructor, leaves a random word far enough below its stack pointer that libc's last steps do
 * not reach it, and near enough that they keep the page. The word is still there: nobody has used the memory since.
 *
 * The list is a ring: the newest DEAD_STACKS_MAX are known. It is read in a pause without the lock, for nobody who holds that stands still.
 */
#include "core/gc/dead_stacks.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/os/clock.h"

enum {
	DEAD_STACKS_MAX = 2048,
	NONCE_DEPTH_BYTES =
		8192, // below the stack pointer of the last destructor; libc keeps 16 KiB there
	NONCE_MARGIN_BYTES = 4096,
};

struct dead_stack {
	uintptr_t low;
	uintptr_t high; // 0: free entry
	uintptr_t nonce_address;
	uint64_t nonce;
};

static struct {
	uint64_t nonce_seed; // atomic
	uint32_t next;       // oldest entry of list; guard: THREADS, as of all that follow
	uint32_t used;
	struct dead_stack list[DEAD_STACKS_MAX];
} dead_stacks;

NOINLINE void dead_stacks_leave_nonce(struct thread *thread)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t address = (here - NONCE_DEPTH_BYTES) & ~(uintptr_t)7;
	uint64_t nonce;

	if (!range_contains(thread->stack_low, thread->stack_high, here) || thread->is_own_stack)
		return;
	if (here - thread->stack_low < NONCE_DEPTH_BYTES + NONCE_MARGIN_BYTES)
		return;
	nonce = (add_relaxed(&dead_stacks.nonce_seed, 0x9e3779b97f4a7c15ull) ^ clock_now_ns()) *
		0xbf58476d1ce4e5b9ull;
	*(volatile uint64_t *)address = nonce | 1;
	thread->nonce_address = address;
	thread->nonce = nonce | 1;
}

/* The descriptor above the stack is not dead: the next thread takes over the table of dynamic TLS it refers to, a block of the heap. */
void dead_stacks_add_locked(const struct thread *thread)
{
	struct dead_stack *entry = &dead_stacks.list[dead_stacks.next];
	bool is_known = thread->storage > thread->stack_low && thread->storage < thread->stack_high;

	if (thread->is_own_stack || thread->nonce == 0 || !is_known)
		return;
	*entry = (struct dead_stack){
		thread->stack_low, thread->storage, thread->nonce_address, thread->nonce};
	dead_stacks.next = (dead_stacks.next + 1) % DEAD_STACKS_MAX;
	if (dead_stacks.used < DEAD_STACKS_MAX)
		dead_stacks.used++;
}

void dead_stacks_remove_locked(uintptr_t low, uintptr_t high)
{
	for (uint32_t i = 0; i < dead_stacks.used; i++) {
		struct dead_stack *entry = &dead_stacks.list[i];

		if (entry->low < high && low < entry->high)
			entry->high = 0;
	}
}

struct stack_users {
	const struct dead_stack *stack;
	bool is_used;
};

/* A task whose bounds are unknown may have its stack anywhere. */
static void look_for_user(struct thread *thread, void *argument)
{
	struct stack_users *users = argument;
	const struct dead_stack *stack = users->stack;
	const struct gate_frame *frame = load_acquire(&thread->frame);
	bool is_held =
		thread_gate_state(thread) == GATE_HELD && frame; // none: the pause was abandoned

	if (load_relaxed(&thread->tid) ==
		0) // starting (not stopped: then its task has another record), or dead
		return;
	users->is_used |= thread->stack_high == 0;
	users->is_used |= thread->stack_low < stack->high && stack->low < thread->stack_high;
	users->is_used |= range_contains(stack->low, stack->high, thread->stop_pointer);
	users->is_used |= range_contains(stack->low, stack->high, thread->stop_handler_sp);
	users->is_used |= is_held && range_contains(stack->low, stack->high, frame->stack_pointer);
}

void threads_dead_stacks(bool (*read_word)(uintptr_t address, uint64_t *ret_word),
	void (*visit)(uintptr_t low, uintptr_t high, void *argument), void *argument)
{
	for (uint32_t i = 0; i < dead_stacks.used; i++) {
		const struct dead_stack *stack = &dead_stacks.list[i];
		struct stack_users users = {.stack = stack};
		uint64_t word;

		if (stack->high == 0 || !read_word(stack->nonce_address, &word) ||
			word != stack->nonce)
			continue;
		threads_for_each(look_for_user, &users);
		if (!users.is_used)
			visit(stack->low, stack->high, argument);
	}
}

void dead_stacks_forget(void)
{
	if (dead_stacks.used > 0)
		dead_stacks.used = dead_stacks.next = 0;
}
