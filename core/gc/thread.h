/*
 * Threads of the program, as the collector knows them: one record per task that may hold a pointer.
 *
 * A record is born in one of three ways: the creator makes it (STARTING) before pthread_create, so that the start argument has a root from the
 * first moment; a thread nobody announced makes its own at its first malloc; the collector makes one for a task it finds in /proc. Records lie in
 * metadata memory, are linked once into a list that only grows, are never unmapped and are recycled: a signal handler may look at any of them at
 * any time.
 *
 *	FREE -> STARTING -> LIVE -> DYING -> (task gone) -> FREE, or DEAD while its result waits for a join -> FREE
 *	FREE -> LIVE     (first malloc, or found by the collector)
 *
 * Lock: THREADS guards life, the lists and whatever is marked [T]. [O]: written by the thread itself only; others read it while it stands still.
 * core/ calls no libc: what needs pthread is done by hooks that preload/ sets (thread_hooks).
 */
#pragma once

#include "core/base/attr.h"
#include "core/gc/cache_loan.h"
#include "core/os/lock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thread_cache;

enum thread_life { THREAD_FREE, THREAD_STARTING, THREAD_LIVE, THREAD_DYING, THREAD_DEAD };

/* Where a thread stands, for the one who wants to stop it (world.h). */
enum thread_gate { GATE_RUNNING, GATE_BLOCKED, GATE_HELD, GATE_PARKED };

/* In thread->owes: the collector is about to send the signal. */
enum { OWES_UNSENT = 0x80 };

enum { GATE_STATE_BITS = 2, GATE_STATE_MASK = (1 << GATE_STATE_BITS) - 1 };

/*
 * What a thread publishes before a call that may block: it lies in the caller's frame, so all of it is above stack_pointer. From here on the thread
 * can hold pointers only in its stack from stack_pointer up (which includes this frame), never in a vector register (none is callee-saved).
 */
struct gate_frame {
	uintptr_t registers[6]; // rbx rbp r12 r13 r14 r15
	uintptr_t arguments
		[6]; // of the call; the system call's may name a buffer that nothing else does
	uintptr_t stack_pointer;  // lowest live byte of the stack
	uintptr_t instruction;    // where that was so, for unwinding; 0: not known
	struct gate_frame *outer; // frame of an interrupted call, or NULL
	unsigned long *
		waited; // of a wait for signals: the set that it is made with, if our number was taken out of it; or NULL
	unsigned long waited_word; // the set that the program named
	struct thread *thread;     // whose gate was entered; NULL: the call runs ungated
	uint32_t stops;            // thread->stops at entry
	uint32_t handlers;         // thread->handlers at entry
};

struct thread {
	struct thread *next; // all records; constant once linked

	/* Read by the collector at any time, changed by compare-and-swap (world.c has the protocol). */
	uint32_t
		gate; // enum thread_gate; HELD and PARKED carry the number of the stop above GATE_STATE_BITS
	uint32_t
		owes; // number of the signal of ours that was sent and not handled yet, 0: none; with OWES_UNSENT just before it is sent
	uint32_t
		unpaid_looks; // in a row, by which the debt was lost; the collector's (stop_tasks.c)
	uint32_t
		exempt; // 1: must not be signalled (it is about to exec, and a pending signal would kill the new program) [O]
	int32_t tid;    // 0: not known yet (STARTING) or gone (DEAD)
	uint32_t life;  // enum thread_life [T]

	/* Where it stands. Valid while HELD (frame) or PARKED (stop_*). [O] */
	struct gate_frame *frame;
	const void *
		stop_context; // ucontext_t of the interrupted code: general registers, and the XSAVE area through its fpregs
	uintptr_t stop_pointer; // interrupted stack pointer (the red zone below it counts)
	uintptr_t
		stop_handler_sp; // the stop handler's own: the signal frame lies above it, on the same stack or on the alternate one
	uintptr_t stop_altstack_low; // uc_stack at the stop; 0 bytes: none
	size_t stop_altstack_bytes;

	/* Stack. [O] before LIVE, constant then. 0, 0: not known (a thread nobody announced). */
	uintptr_t stack_low;    // lowest usable byte (of the main thread: as far as it may grow)
	uintptr_t stack_high;   // end; storage of the thread (TCB, static TLS) lies just below it
	uintptr_t altstack_low; // as last set by the wrapped sigaltstack; [O]
	size_t altstack_bytes;
	uintptr_t storage; // the thread pointer (fs base), 0: not known

	/* Root words: the stacks and thread_storage scanners read these. */
	void *start_argument; // until the start routine has it in a register
	void *result;         // of a thread that nobody has joined yet

	void *(*start_routine)(void *); // constant after creation
	uintptr_t handle;               // pthread_t, 0: not known [T]
	bool is_detached;               // nobody will join it [T]
	bool is_finished; // its result is set (or it was cancelled): DEAD follows DYING unless detached or joined [T]
	bool is_foreign; // made by the collector for a task without a record; no cache [T]
	bool is_own_stack; // the stack came from the program (attribute): may be anything once the thread is gone
	bool is_main;
	bool has_inner_stacks; // a fibre runs, or may, on a piece of this stack: all of it is live [O]
	bool is_hooked;        // thread_hooks.attached() was called [O]
	bool will_detach;      // thread_hooks.attached() has promised thread_detach() [O]

	/* Cache. [O]; the reaper's once the task is gone. */
	struct thread_cache
		*cache; // the thread's, even while a handler of the program runs without it
	uintptr_t
		handler_frame; // address inside the frame of the trampoline that took the cache away, 0: none
	uintptr_t
		outermost_handler; // address inside the frame of the trampoline that runs a handler, over none or over a dead one; 0: none [O]
	uint32_t is_in_vfork; // a vfork child may run in this thread's place, on its record [O]

	uint32_t is_ending; // 1: its last destructor runs [O]; read by others that end

	/* Inside libc's functions for threads, which call free under the lock of libc's stacks: no thread can be made from here. [O] */
	uint32_t in_libc_threads; // nesting, by handlers

	/* Counts by which a wrapped call knows why it got EINTR. [O] */
	uint32_t stops;        // calls that our signal interrupted, and no other
	uint32_t handlers;     // handlers of the program that ran
	uint32_t virtual_mask; // 1: the program believes our signal is blocked in this thread

	/* Nonce left on the thread's stack, to recognise the stack as untouched after its death (dead_stacks.c). */
	uintptr_t nonce_address;
	uint64_t nonce;

	struct thread *next_free;  // [T]
	struct thread *next_dying; // [T]
};

/* In a pause: how the thread is stopped, HELD (look at frame) or PARKED (look at stop_*). */
static inline enum thread_gate thread_gate_state(const struct thread *thread)
{
	return (enum thread_gate)(
		__atomic_load_n(&thread->gate, __ATOMIC_SEQ_CST) & GATE_STATE_MASK);
}

/*
 * In a pause, and for as long as the world was not started after it: the thread's stack stays mapped, even if the pause is abandoned, for the thread would wait
 * before it ends (world_wait_out_abandonment()).
 */
bool thread_keeps_stack(const struct thread *thread);

/* The calling thread's record, or NULL. A task made by raw clone without TLS of its own sees its creator's: compare tid before trusting it. */
extern __thread struct thread *thread_current __attribute__((tls_model("initial-exec"))) HIDDEN;

/* Set once by preload/, perhaps after the main thread was attached by a malloc; every one may be NULL. None is called with a lock held. */
struct thread_hooks {
	/* Fills stack_low, stack_high, is_own_stack of the calling thread, without allocating. False: unknown. */
	bool (*stack_bounds)(struct thread *thread);
	/* Arranges for thread_detach() to be called as the calling thread ends. May allocate. False: it will not be called. */
	bool (*attached)(struct thread *thread);
};
extern struct thread_hooks thread_hooks HIDDEN;

/* Defined by preload/ (weak: absent in static test programs): called once, after the very first attachment, so perhaps before any constructor. */
__attribute__((weak)) void thread_first_hook(void);

/*
 * Gives the calling thread a record and a cache, if it has none. Returns its cache, or THREAD_CACHE_NONE when it cannot have one: it is dying, or no
 * memory. Called by the slow path that finds THREAD_CACHE_NONE (through thread_recover_cache) and by tests without a preload.
 */
struct thread_cache *thread_attach(void);

/*
 * Gives the calling thread a record, if it has none, but no cache: that comes with its first malloc. And calls the hooks, if they were not there before.
 * For the main thread at start, and before what the record has to know (a vfork; an alternate stack). False: no memory.
 */
bool thread_register(void);

/* The calling thread ends: flushes its cache; from now on it allocates without one. Its record becomes DYING and is reaped once the task is gone. */
void thread_detach(void);

/* ---- birth and death of announced threads (preload/threads.c) ---- */

/* A STARTING record that holds the argument; NULL: no memory. Reaps a few dead records. */
struct thread *thread_announce(void *(*start_routine)(void *), void *argument, bool detached);

/* The thread could not be created. */
void thread_withdraw(struct thread *announced);

/* The new thread takes its record (or joins it with one the collector made meanwhile). Cache comes with the first malloc. */
struct thread *thread_begin(struct thread *announced, uintptr_t handle);

/* The calling thread ends with this result, which is a root until thread_joined() or thread_detached() (or at once, if detached). */
void thread_finish(void *result);

/* After a successful join, or detach, of that handle. */
void thread_joined(uintptr_t handle);
void thread_detached(uintptr_t handle);

/* Frees records of tasks that are gone: at most `count` of those that said so are looked at; all records, the silent ones too (collector). */
void threads_reap(unsigned count);
void threads_reap_all(void);

/* ---- for the collector and its scanners ---- */

/* Every record that is not FREE, also while threads come and go. No lock. */
void threads_for_each(void (*visit)(struct thread *thread, void *argument), void *argument);

/* The record of a task, or NULL. No lock. */
struct thread *thread_find(int tid);

/* A record for a task that has none. NULL: no memory. Signals blocked. */
struct thread *thread_adopt(int tid);

/*
 * In a pause only: ranges of stacks of threads that are gone, which libc keeps for the next thread and nobody uses. Each is proved untouched since the
 * thread's end (its nonce is still there), and no stopped task has its stack pointer or bounds in it. `read_word` reads memory without faulting.
 */
void threads_dead_stacks(bool (*read_word)(uintptr_t address, uint64_t *ret_word),
	void (*visit)(uintptr_t low, uintptr_t high, void *argument), void *argument);

/*
 * How many were found dead whose gate was not RUNNING: they did not leave it by themselves. Counted before the gate of the record changes. Any thread, no lock.
 */
uint32_t threads_died_at_gate(void);

/* Records in use (not FREE). */
uint32_t threads_count(void);

/* No thread that has a record runs the program's code: each is in a call that waits. True only for this moment. Any thread, no lock. */
bool threads_all_wait(void);

/* ---- fork ---- */

/* The lock of rank THREADS. */
struct lock *threads_lock(void);

/*
 * In the child, all locks open: only the calling thread is left. Its gate is RUNNING, its debts are paid; other records are dropped. With flush_caches
 * (a fork that took all locks first) their caches are given back to the heap; without (raw clone) they are abandoned, for they may be half changed.
 */
void threads_fork_child(bool flush_caches);

/* The calling thread's id, by system call. */
int thread_id_now(void);
