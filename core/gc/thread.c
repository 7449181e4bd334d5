/*
 * Thread records: birth, death, the places where a record may be found.
 *
 * Records are never unmapped and their list only grows, so a signal handler, a scanner in a pause or a forked child can walk it without a lock. What
 * changes under the lock THREADS (signals blocked, so a thread that is stopped or runs a handler never holds it) is who uses a record.
 *
 * The end of a thread is seen twice. Its last key destructor calls thread_detach(): the cache goes back, the record is DYING; libc goes on to free
 * things for a while, served without a cache. When the kernel does not know the task any more, the record is reaped, by the next creation of a thread
 * or by the collector. A thread without destructor (no key was left, or it ended by a raw exit) is found the same way, later.
 *
 * Dead stacks. libc keeps the stacks of finished threads for the next ones; what lies there is garbage, full of old pointers, in ordinary private
 * memory. A scanner may skip such a range if it is certain that it is still that stack: libc may have unmapped it and the program may have mapped its
 * own memory there, unseen. So each thread, in its last destructor, leaves a random word far enough below its stack pointer that libc's last steps do
 * not reach it, and near enough that they keep the page. The word is still there: nobody has used the memory since.
 */
#include "core/gc/thread.h"

#include "core/base/atomic.h"
#include "core/heap/meta.h"
#include "core/heap/thread_cache.h"
#include "core/os/clock.h"
#include "core/os/process.h"
#include "core/os/syscall.h"
#include "core/profile/unwind.h"

#include <errno.h>

enum {
	REAP_PER_BIRTH = 4,
	FULL_REAP_BIRTHS =
		256, // births between two looks at all records, when some thread has no destructor
	DEAD_STACKS_MAX = 2048,
	NONCE_DEPTH_BYTES =
		8192, // below the stack pointer of the last destructor; libc keeps 16 KiB there
	NONCE_MARGIN_BYTES = 4096,
	FILTER_BITS = 15,
};

/* How many records have a key of each hash. From it nearly every birth learns that no other record has its key, without a walk over all. */
struct filter {
	uint16_t counts[1 << FILTER_BITS];
};

struct dead_stack {
	uintptr_t low;
	uintptr_t high; // 0: free entry
	uintptr_t nonce_address;
	uint64_t nonce;
};

__thread struct thread *thread_current __attribute__((tls_model("initial-exec")));
struct thread_hooks thread_hooks;

static struct {
	struct lock lock;           // rank THREADS; guards all below
	struct thread *records;     // all; pushed by compare-and-swap, read without the lock
	struct thread *free;        // FREE ones
	struct thread *dying_first; // DYING ones, oldest first
	struct thread *dying_last;
	uint32_t count;          // not FREE; read without the lock
	uint32_t foreign_count;  // made by the collector and not adopted by their thread yet
	uint32_t is_begun;       // thread_first_hook() was called
	uint32_t unhooked_count; // threads that will not call thread_detach()
	uint32_t births;
	struct filter tids;
	struct filter handles;
	uint64_t nonce_seed;
	uint32_t dead_next; // oldest entry of dead
	uint32_t dead_used;
	struct dead_stack dead[DEAD_STACKS_MAX];
} threads = {.lock = LOCK_INITIAL(THREADS)};

struct lock *threads_lock(void)
{
	return &threads.lock;
}

uint32_t threads_count(void)
{
	return load_relaxed(&threads.count);
}

int thread_id_now(void)
{
	return (int)SYSCALL(gettid);
}

static void lock_threads(struct signal_guard *guard)
{
	signals_block(guard);
	lock_acquire(&threads.lock);
}

static void unlock_threads(const struct signal_guard *guard)
{
	lock_release(&threads.lock);
	signals_restore(guard);
}

void threads_for_each(void (*visit)(struct thread *thread, void *argument), void *argument)
{
	for (struct thread *thread = load_acquire(&threads.records); thread;
		thread = thread->next) {
		if (load_acquire(&thread->life) != THREAD_FREE)
			visit(thread, argument);
	}
}

struct thread *thread_find(int tid)
{
	for (struct thread *thread = load_acquire(&threads.records); thread;
		thread = thread->next) {
		if (load_acquire(&thread->tid) == tid && load_acquire(&thread->life) != THREAD_FREE)
			return thread;
	}
	return 0;
}

/* ---- ids and handles ---- */

static uint16_t *filter_count(struct filter *filter, uint64_t key)
{
	return &filter->counts[key * 0x9e3779b97f4a7c15ull >> (64 - FILTER_BITS)];
}

/* A child of raw clone may find a change half made: then a count is too high, or wraps, and costs walks. Never too low. */
static void set_tid_locked(struct thread *thread, int tid)
{
	int former = thread->tid;

	if (tid != 0)
		++*filter_count(&threads.tids, (uint64_t)tid);
	store_release(&thread->tid, tid);
	if (former != 0)
		--*filter_count(&threads.tids, (uint64_t)former);
}

static void set_handle_locked(struct thread *thread, uintptr_t handle)
{
	uintptr_t former = thread->handle;

	if (handle != 0)
		++*filter_count(&threads.handles, handle);
	thread->handle = handle;
	if (former != 0)
		--*filter_count(&threads.handles, former);
}

/* ---- records ---- */

/* A handler may look at the record while it is being made ready: everything but `next` is written before `life`. */
static struct thread *record_new_locked(enum thread_life life)
{
	struct thread *thread = threads.free;

	if (thread) {
		threads.free = thread->next_free;
	} else {
		thread = meta_alloc(sizeof(*thread));
		if (!thread)
			return 0;
		do
			thread->next = load_acquire(&threads.records);
		while (!cas_seq(&threads.records, thread->next, thread));
	}
	store_relaxed(&threads.count, threads.count + 1);
	store_release(&thread->life, life);
	return thread;
}

/* All fields but the link in the list of all records become zero. */
static void record_clear(struct thread *thread)
{
	struct thread *next = thread->next;

	set_tid_locked(thread, 0);
	set_handle_locked(thread, 0);
	store_seq(&thread->gate, GATE_RUNNING);
	*thread = (struct thread){.next = next};
}

static void record_free_locked(struct thread *thread)
{
	if (thread->is_foreign)
		threads.foreign_count--;
	store_release(&thread->life, THREAD_FREE);
	record_clear(thread);
	thread->next_free = threads.free;
	threads.free = thread;
	store_relaxed(&threads.count, threads.count - 1);
}

static void dying_push_locked(struct thread *thread)
{
	thread->next_dying = 0;
	if (threads.dying_last)
		threads.dying_last->next_dying = thread;
	else
		threads.dying_first = thread;
	threads.dying_last = thread;
}

static struct thread *dying_pop_locked(void)
{
	struct thread *thread = threads.dying_first;

	if (!thread)
		return 0;
	threads.dying_first = thread->next_dying;
	if (!threads.dying_first)
		threads.dying_last = 0;
	thread->next_dying = 0;
	return thread;
}

/* ---- dead stacks ---- */

/* The descriptor above the stack is not dead: the next thread takes over the table of dynamic TLS it refers to, a block of the heap. */
static void dead_stack_add_locked(const struct thread *thread)
{
	struct dead_stack *entry = &threads.dead[threads.dead_next];
	bool is_known = thread->storage > thread->stack_low && thread->storage < thread->stack_high;

	if (thread->is_own_stack || thread->nonce == 0 || !is_known)
		return;
	*entry = (struct dead_stack){
		thread->stack_low, thread->storage, thread->nonce_address, thread->nonce};
	threads.dead_next = (threads.dead_next + 1) % DEAD_STACKS_MAX;
	if (threads.dead_used < DEAD_STACKS_MAX)
		threads.dead_used++;
}

/* A thread lives in [low, high) now. */
static void dead_stack_remove_locked(uintptr_t low, uintptr_t high)
{
	for (uint32_t i = 0; i < threads.dead_used; i++) {
		struct dead_stack *entry = &threads.dead[i];

		if (entry->low < high && low < entry->high)
			entry->high = 0;
	}
}

struct stack_users {
	const struct dead_stack *stack;
	bool is_used;
};

static bool range_contains(uintptr_t low, uintptr_t high, uintptr_t address)
{
	return address >= low && address < high;
}

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
	for (uint32_t i = 0; i < threads.dead_used; i++) {
		const struct dead_stack *stack = &threads.dead[i];
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

/* Leaves the nonce. Runs in the thread's last destructor; what is below the stack pointer is nobody's. */
static NOINLINE void leave_nonce(struct thread *thread)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t address = (here - NONCE_DEPTH_BYTES) & ~(uintptr_t)7;
	uint64_t nonce;

	if (!range_contains(thread->stack_low, thread->stack_high, here) || thread->is_own_stack)
		return;
	if (here - thread->stack_low < NONCE_DEPTH_BYTES + NONCE_MARGIN_BYTES)
		return;
	nonce = (add_relaxed(&threads.nonce_seed, 0x9e3779b97f4a7c15ull) ^ clock_now_ns()) *
		0xbf58476d1ce4e5b9ull;
	*(volatile uint64_t *)address = nonce | 1;
	thread->nonce_address = address;
	thread->nonce = nonce | 1;
}

/* ---- death ---- */

/* The task of a record that is not STARTING is gone. */
static bool task_is_gone(int tid)
{
	long process = SYSCALL(getpid);

	return SYSCALL(tgkill, process, tid, 0) == -ESRCH;
}

/* Nobody will ask for its result, and its stack is the next thread's. */
static void forget_dead_locked(struct thread *thread)
{
	dead_stack_add_locked(thread);
	record_free_locked(thread);
}

/* The task is gone, the record in no list. Returns the cache to destroy, if any, once the lock is open. */
static struct thread_cache *bury_locked(struct thread *thread)
{
	struct thread_cache *cache = thread->cache;

	thread->cache = 0;
	set_tid_locked(thread, 0);
	store_seq(&thread->owes, 0); // a signal that was not handled died with the task
	store_seq(&thread->gate, GATE_RUNNING);
	store_release(&thread->life, THREAD_DEAD);
	if (!thread->is_finished || thread->is_detached)
		forget_dead_locked(thread);
	return cache;
}

static void reap_dying(unsigned count)
{
	struct signal_guard guard;
	struct thread_cache *cache;

	while (count-- > 0) {
		struct thread *thread;

		lock_threads(&guard);
		thread = dying_pop_locked();
		cache = 0;
		if (thread && (thread->tid == 0 || task_is_gone(thread->tid)))
			cache = bury_locked(thread);
		else if (thread)
			dying_push_locked(thread);
		unlock_threads(&guard);
		if (cache)
			thread_cache_destroy(cache);
		if (!thread)
			return;
	}
}

/* Looks for LIVE records whose task ended without a word. */
static void reap_silent(void)
{
	for (struct thread *thread = load_acquire(&threads.records); thread;
		thread = thread->next) {
		struct thread_cache *cache = 0;
		struct signal_guard guard;

		if (load_relaxed(&thread->life) != THREAD_LIVE ||
			!task_is_gone(load_relaxed(&thread->tid)))
			continue;
		lock_threads(&guard);
		if (thread->life == THREAD_LIVE && thread->tid != 0 && task_is_gone(thread->tid))
			cache = bury_locked(thread);
		unlock_threads(&guard);
		if (cache)
			thread_cache_destroy(cache);
	}
}

void threads_reap(unsigned count)
{
	if (load_relaxed(&threads.dying_first))
		reap_dying(count);
	if (load_relaxed(&threads.unhooked_count) > 0 &&
		add_relaxed(&threads.births, 1) % FULL_REAP_BIRTHS == 0)
		reap_silent();
}

void threads_reap_all(void)
{
	reap_dying(threads_count());
	reap_silent();
}

/* ---- birth ---- */

struct thread *thread_announce(void *(*start_routine)(void *), void *argument, bool detached)
{
	struct signal_guard guard;
	struct thread *thread;

	process_check();
	threads_reap(REAP_PER_BIRTH);
	lock_threads(&guard);
	thread = record_new_locked(THREAD_STARTING);
	if (thread) {
		thread->start_routine = start_routine;
		thread->start_argument = argument;
		thread->is_detached = detached;
		thread->virtual_mask =
			thread_current && thread_current->virtual_mask; // masks are inherited
	}
	unlock_threads(&guard);
	return thread;
}

void thread_withdraw(struct thread *announced)
{
	struct signal_guard guard;

	lock_threads(&guard);
	record_free_locked(announced);
	unlock_threads(&guard);
}

/* Nobody can ask for the result of a thread whose handle another one has. */
static void forget_handle_locked(struct thread *thread)
{
	set_handle_locked(thread, 0);
	store_release(&thread->result, 0);
	thread->is_detached = true;
	if (thread->life == THREAD_DEAD)
		forget_dead_locked(thread);
}

/*
 * Records of threads that must be gone, since the calling thread has their id or their handle, lose both. One may be LIVE: its thread ended by a raw exit, and
 * what it owes nobody would ever pay. Such a one is buried; returns its cache, which is to be destroyed once the lock is open, before this is called again.
 */
static struct thread_cache *forget_predecessors_locked(int tid, uintptr_t handle)
{
	struct thread *self = thread_current;

	if (*filter_count(&threads.tids, (uint64_t)tid) == (self && self->tid == tid) &&
		(handle == 0 || *filter_count(&threads.handles, handle) == 0))
		return 0;
	for (struct thread *thread = load_relaxed(&threads.records); thread;
		thread = thread->next) {
		struct thread_cache *cache = 0;

		if (thread == self)
			continue;
		if (handle != 0 && thread->handle == handle)
			forget_handle_locked(thread);
		if (thread->tid != tid ||
			thread->is_foreign) // a foreign one is the collector's for this very thread
			continue;
		if (thread->life == THREAD_LIVE)
			cache = bury_locked(thread);
		else
			set_tid_locked(thread, 0);
		if (cache)
			return cache;
	}
	return 0;
}

/* Under the lock, which is open for moments. */
static void forget_predecessors(int tid, uintptr_t handle)
{
	struct thread_cache *cache;

	while ((cache = forget_predecessors_locked(tid, handle)) != 0) {
		lock_release(&threads.lock);
		thread_cache_destroy(cache);
		lock_acquire(&threads.lock);
	}
}

/* The record the collector made for the calling thread before it had one of its own. */
static struct thread *find_foreign_locked(int tid)
{
	for (struct thread *thread = load_relaxed(&threads.records);
		thread && threads.foreign_count > 0; thread = thread->next) {
		if (thread->life == THREAD_LIVE && thread->is_foreign && thread->tid == tid)
			return thread;
	}
	return 0;
}

/* Makes `thread` the calling thread's. */
static void take_record_locked(struct thread *thread, int tid)
{
	if (thread->is_foreign) {
		thread->is_foreign = false;
		threads.foreign_count--;
	}
	thread->is_main = tid == (int)SYSCALL(getpid);
	set_tid_locked(thread, tid);
	store_release(&thread->life, THREAD_LIVE);
	thread_current = thread;
}

/* Moves what the creator wrote into the record that the thread already has: the collector found it first (and may have signalled it), or a handler of the
 * program ran in it first and allocated. */
static void merge_locked(struct thread *announced, struct thread *thread)
{
	thread->start_routine = announced->start_routine;
	store_release(&thread->start_argument, announced->start_argument);
	thread->is_detached = announced->is_detached;
	thread->virtual_mask |= announced->virtual_mask;
	if (!thread->is_hooked || announced->is_own_stack) {
		thread->stack_low = announced->stack_low;
		thread->stack_high = announced->stack_high;
		thread->is_own_stack = announced->is_own_stack;
	}
	record_free_locked(announced);
}

/* The hooks call libc, so no lock is held and signals are open; what they allocate finds the record (and the cache, if it came by a malloc). */
static void call_hooks(struct thread *thread)
{
	struct signal_guard guard;

	if (thread->is_hooked || !thread_hooks.attached)
		return;
	thread->is_hooked = true;
	if (thread_hooks.stack_bounds && thread_hooks.stack_bounds(thread)) {
		lock_threads(&guard);
		dead_stack_remove_locked(thread->stack_low, thread->stack_high);
		unlock_threads(&guard);
		unwind_set_stack(thread->stack_low, thread->stack_high);
	}
	if (!thread_hooks.attached(thread))
		add_relaxed(&threads.unhooked_count, 1);
}

struct thread *thread_begin(struct thread *announced, uintptr_t handle)
{
	struct signal_guard guard;
	struct thread *thread;
	int tid = thread_id_now();

	lock_threads(&guard);
	forget_predecessors(tid, handle);
	thread = thread_current ? thread_current : find_foreign_locked(tid);
	if (thread)
		merge_locked(announced, thread);
	else
		thread = announced;
	set_handle_locked(thread, handle);
	take_record_locked(thread, tid);
	unlock_threads(&guard);
	call_hooks(thread);
	return thread;
}

/* A record for a thread that nobody announced, with signals blocked. */
static struct thread *take_new_record(void)
{
	int tid = thread_id_now();
	struct thread *thread;

	lock_acquire(&threads.lock);
	forget_predecessors(tid, 0);
	thread = find_foreign_locked(tid);
	if (!thread)
		thread = record_new_locked(THREAD_LIVE);
	if (thread) {
		thread->is_detached = true; // no result is known
		take_record_locked(thread, tid);
	}
	lock_release(&threads.lock);
	return thread;
}

struct thread *thread_adopt(int tid)
{
	struct thread *thread;

	lock_acquire(&threads.lock);
	thread = thread_find(tid); // whatever it is called now: the handler will find the same one
	if (!thread) {
		thread = record_new_locked(THREAD_LIVE);
		if (thread) {
			thread->is_foreign = true;
			thread->is_detached = true;
			threads.foreign_count++;
			set_tid_locked(thread, tid);
		}
	}
	lock_release(&threads.lock);
	return thread;
}

/* ---- caches ---- */

/* Once the thread can allocate: what needs libc. */
static void begin(struct thread *thread)
{
	if (thread_first_hook && exchange_seq(&threads.is_begun, 1u) == 0)
		thread_first_hook();
	call_hooks(thread);
}

bool thread_register(void)
{
	struct signal_guard guard;
	struct thread *thread;

	signals_block(&guard);
	thread = thread_current ? thread_current : take_new_record();
	signals_restore(&guard);
	if (thread)
		begin(thread);
	return thread != 0;
}

struct thread_cache *thread_attach(void)
{
	struct signal_guard guard;
	struct thread *thread;

	signals_block(&guard);
	thread = thread_current;
	if (!thread)
		thread = take_new_record();
	if (!thread || load_relaxed(&thread->life) == THREAD_DYING) {
		signals_restore(&guard);
		return THREAD_CACHE_NONE;
	}
	if (!thread->cache) {
		struct thread_cache *cache = thread_cache_create();

		thread->cache = cache == THREAD_CACHE_NONE ? 0 : cache;
		if (thread->cache)
			thread_cache_current = cache;
	}
	signals_restore(&guard);
	begin(thread);
	return thread_cache_current;
}

/*
 * Is the frame of the trampoline that took the cache still there? Stacks grow down: what runs inside the handler runs below its frame. When the two
 * addresses are on stacks that cannot be compared, the frame counts as alive: allocating goes on without a cache, slower and right.
 */
static NOINLINE bool handler_frame_is_live(const struct thread *thread)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t frame = thread->handler_frame;
	uintptr_t alt_low = thread->altstack_low;
	uintptr_t alt_high = alt_low + thread->altstack_bytes;
	bool here_on_stack = range_contains(thread->stack_low, thread->stack_high, here);

	if (range_contains(alt_low, alt_high, frame))
		return range_contains(alt_low, alt_high, here) ? here < frame : !here_on_stack;
	if (here_on_stack && range_contains(thread->stack_low, thread->stack_high, frame) &&
		!range_contains(alt_low, alt_high, here))
		return here < frame;
	return true;
}

struct thread_cache *thread_recover_cache(void)
{
	struct thread *thread = thread_current;

	if (!thread || !thread->cache)
		return thread_attach();
	if (thread->handler_frame != 0 && handler_frame_is_live(thread))
		return THREAD_CACHE_NONE;
	thread->handler_frame = 0;
	thread_cache_current = thread->cache;
	return thread->cache;
}

/*
 * When an outer handler already runs without the cache nothing is to be done, unless its frame is dead (and nobody has asked for the cache since).
 */
void thread_cache_take_away(struct thread_cache_loan *loan, uintptr_t frame)
{
	struct thread *thread = thread_current;

	*loan = (struct thread_cache_loan){.is_taken = false};
	if (!thread || !thread->cache)
		return;
	if (thread->handler_frame != 0 && handler_frame_is_live(thread))
		return;
	*loan = (struct thread_cache_loan){thread_cache_current, thread->handler_frame, true};
	thread->handler_frame = frame;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	thread_cache_current = THREAD_CACHE_NONE;
}

void thread_cache_give_back(const struct thread_cache_loan *loan)
{
	if (!loan->is_taken)
		return;
	thread_cache_current = loan->cache;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	thread_current->handler_frame = loan->outer_frame;
}

/* ---- end ---- */

void thread_detach(void)
{
	struct thread *thread = thread_current;
	struct thread_cache *cache;
	struct signal_guard guard;

	if (!thread || load_relaxed(&thread->life) != THREAD_LIVE)
		return;
	lock_threads(&guard);
	cache = thread->cache;
	thread->cache = 0;
	thread->handler_frame = 0;
	thread_cache_current = THREAD_CACHE_NONE;
	leave_nonce(thread);
	store_release(&thread->life, THREAD_DYING);
	dying_push_locked(thread);
	lock_release(&threads.lock);
	if (cache)
		thread_cache_destroy(cache);
	signals_restore(&guard);
}

void thread_finish(void *result)
{
	struct thread *thread = thread_current;
	struct signal_guard guard;

	if (!thread)
		return;
	lock_threads(&guard);
	store_release(&thread->result, thread->is_detached ? 0 : result);
	thread->is_finished = true;
	unlock_threads(&guard);
}

static struct thread *find_handle_locked(uintptr_t handle)
{
	for (struct thread *thread = load_relaxed(&threads.records); thread;
		thread = thread->next) {
		if (thread->life != THREAD_FREE && thread->handle == handle && handle != 0)
			return thread;
	}
	return 0;
}

void thread_detached(uintptr_t handle)
{
	struct signal_guard guard;
	struct thread *thread;

	lock_threads(&guard);
	thread = find_handle_locked(handle);
	if (thread) {
		store_release(&thread->result, 0);
		thread->is_detached = true;
		if (thread->life == THREAD_DEAD)
			forget_dead_locked(thread);
	}
	unlock_threads(&guard);
}

/* Nobody has the handle any more; a new thread may get the same one at once. */
void thread_joined(uintptr_t handle)
{
	struct signal_guard guard;
	struct thread *thread;

	lock_threads(&guard);
	thread = find_handle_locked(handle);
	if (thread)
		forget_handle_locked(thread);
	unlock_threads(&guard);
}

/* ---- fork ---- */

void threads_fork_child(bool flush_caches)
{
	struct thread *self = thread_current;

	threads.dying_first = threads.dying_last = 0;
	threads.dead_used = threads.dead_next = 0;
	threads.free = 0;
	threads.count = 0;
	threads.foreign_count = 0;
	for (struct thread *thread = threads.records; thread; thread = thread->next) {
		struct thread_cache *cache = thread->cache;

		if (thread == self)
			continue;
		thread->life = THREAD_FREE;
		record_clear(thread);
		thread->next_free = threads.free;
		threads.free = thread;
		if (cache && flush_caches)
			thread_cache_inherit(cache);
	}
	if (!self)
		return;
	threads.count = 1;
	set_tid_locked(self, thread_id_now());
	self->gate = GATE_RUNNING;
	self->owes = 0;
	self->exempt = 0;
	self->is_in_vfork = 0;
	self->is_main = true;
	self->is_foreign = false;
	self->next_dying = 0;
	if (self->life == THREAD_DYING)
		dying_push_locked(self);
}
