/*
 * Stopping the world: the protocol.
 *
 * One word says what is going on: `world.word` = phase | number of the stop << PHASE_BITS. A stop is *in force* while the phase is STOPPING, PAUSED or
 * DONE. One word per thread says where the thread stands: `gate` = state | number << GATE_STATE_BITS, the number only with HELD and PARKED: it names
 * the stop for which the thread stands still. All accesses are sequentially consistent.
 *
 *	thread      enter    publish the frame; RUNNING -> BLOCKED; if a stop is in force wait until it is not           (1)
 *	            leave    BLOCKED -> RUNNING; or HELD,n -> RUNNING if stop n is not in force, else wait               (2)
 *	            handler  if a stop n is in force: RUNNING -> PARKED,n; wait until n is not in force; PARKED,n -> RUNNING
 *	                     (BLOCKED or HELD: nothing to do, the thread comes to (1) or (2) by itself)
 *	collector   stop     word = STOPPING,n; each task: BLOCKED -> HELD,n, or else one signal and wait for PARKED,n
 *	                     all tasks that /proc lists are HELD,n or PARKED,n: STOPPING,n -> PAUSED,n
 *	            commit   PAUSED,n -> DONE,n
 *	            start    word = RUNS,n; wake everybody: each thread lets itself go
 *	anybody     abandon  the heartbeat stood still for WORLD_LOOKS_MAX looks: STOPPING/PAUSED/DONE,n -> ABANDONED,n; wake everybody
 *
 * Why (1) is enough (Dekker): the collector writes the word, then reads the gate; the thread writes the gate, then reads the word. Either the collector
 * sees BLOCKED and no signal is sent, or the thread sees the stop and waits *outside* the system call, where a signal can interrupt nothing. So no call
 * is interrupted by us, but for a signal that was delayed by a raw signal mask; the wrapper repeats such a call.
 *
 * Why the numbers: a thread that was told "stop 7 is over" may be preempted before it acts on it. Its compare-and-swap on the gate names stop 7; if stop
 * 8 holds it meanwhile, the swap fails. The same for an abandonment decided in stop 7 and executed in stop 8.
 *
 * Why a commit: all that was read counts only if nobody went on meanwhile. Threads go on only after the word left PAUSED,n, and the collector's
 * compare-and-swap PAUSED,n -> DONE,n proves that it had not.
 *
 * Gates count only if every handler in the kernel's table is known to be ours (or libc's own for cancellation and setuid): another one was installed
 * behind our back and may run on a thread that we take for stopped. Then BLOCKED threads are signalled like the others.
 *
 * A task is accounted for when it is stopped, or has no user state: io_uring's and vhost's workers, zombies, tasks that are exiting. The list of tasks
 * is read until one reading contains no task that is not accounted for and is as long as the kernel's own count of tasks: all listed ones stand still,
 * so one that was not listed would be counted. Those without user state may end meanwhile (and the walk may end early at one that does): they must still
 * be there after the count, or the list is read again.
 *
 * Time is counted in wake-ups of the collector that brought nothing: when the whole process is frozen or throttled, no time passes.
 *
 * Locks: none while stopping, but THREADS for moments. The handler takes none, calls no libc and touches no thread-local storage but thread_current.
 */
#include "core/gc/world.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/os/clock.h"
#include "core/os/futex.h"
#include "core/os/memory.h"
#include "core/os/proc.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <signal.h>
#include <sys/ucontext.h>

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

enum {
	PHASE_BITS = 3,
	PHASE_MASK = (1 << PHASE_BITS) - 1,
	NUMBER_MASK = (1 << 29) - 1,
	SIGNAL_COUNT = 64,
	SIGNAL_HIGH =
		62, // 64 is valgrind's, SIGRTMAX - n are agreed between programs; 32 and 33 are libc's
	SIGNAL_LOW = 36,
	SIGNAL_CANCEL = 32,
	SIGNAL_SETXID = 33,
	TICK_NS = 1000000,
	TICKS_PER_STATE_CHECK = 4,
	LISTINGS_MAX = 1000,
	FREE_LISTINGS = 4, // each further one costs a tick
	PASSED_MAX = 1024, // tasks without user state; with more of them there is no verdict
	HANDLER_STACK_BYTES = 1024, // what the handler needs besides the signal frame
	SIGNAL_FRAME_BYTES = 4096,  // where the kernel does not say how large its frame is
};

/* What rt_sigaction takes. */
struct kernel_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

uint64_t world_heartbeat;
struct world_stats world_stats;
struct world_hooks world_hooks;

static struct {
	uint32_t word;           // phase | number << PHASE_BITS
	uint32_t answers;        // threads that parked, ever; the collector sleeps on it
	uint32_t answers_wanted; // the collector sleeps until `answers` is this
	int32_t signal;          // stop signal, 0: not chosen, -1: none is free
	uint32_t gates_count;    // 0: a handler of unknown origin was seen
	uint32_t foreign_task;   // world_note_foreign_task()
	enum world_failure failure;
} world = {.gates_count = 1};

/* The collector's memory for one stop. */
static struct {
	struct thread **index;   // open addressing by task id; NULL: free
	struct thread **pending; // asked, not stopped yet
	size_t capacity;         // of each, a power of two
	size_t pending_count;
	size_t index_count;
	uint32_t number;
	int self;
	int process;
	bool not_sent;
	struct task_walk walk;
	uint32_t passed_count;
	int passed[PASSED_MAX];
} stop;

static uint32_t phase_of(uint32_t word)
{
	return word & PHASE_MASK;
}

static uint32_t number_of(uint32_t word)
{
	return word >> PHASE_BITS;
}

static uint32_t make_word(enum world_phase phase, uint32_t number)
{
	return (uint32_t)phase | number << PHASE_BITS;
}

static uint32_t make_gate(enum thread_gate state, uint32_t number)
{
	return (uint32_t)state | number << GATE_STATE_BITS;
}

static uint32_t gate_state(uint32_t gate)
{
	return gate & GATE_STATE_MASK;
}

static bool word_is_in_force(uint32_t word)
{
	uint32_t phase = phase_of(word);

	return phase == WORLD_STOPPING || phase == WORLD_PAUSED || phase == WORLD_DONE;
}

/* A gate HELD or PARKED for a stop that is not over. */
static bool gate_is_in_force(uint32_t gate, uint32_t word)
{
	return word_is_in_force(word) && gate >> GATE_STATE_BITS == number_of(word);
}

static void wake_all(void)
{
	futex_wake(&world.word, INT32_MAX);
}

/* ---- waiting, and the way out when the collector does not live any more ---- */

struct watch {
	uint32_t word; // what was seen at the last look
	uint64_t beat;
	uint64_t time_ns;
	unsigned looks;
};

/* One look: true if the heart did not beat since the last one, a full time ago. */
static bool heart_stands_still(struct watch *watch, uint32_t word)
{
	uint64_t beat = load_relaxed(&world_heartbeat);
	uint64_t now = clock_now_ns();

	if (watch->time_ns == 0 || watch->word != word || watch->beat != beat) {
		*watch = (struct watch){word, beat, now, 0};
		return false;
	}
	if (now - watch->time_ns < WORLD_LOOK_MS * NS_PER_MS)
		return false;
	watch->time_ns = now;
	return ++watch->looks >= WORLD_LOOKS_MAX;
}

/* Sleeps while world.word == word, at most one look; abandons a stop whose collector is gone. */
static void wait_for_change(struct watch *watch, uint32_t word)
{
	if (heart_stands_still(watch, word)) {
		if (cas_seq(&world.word, word, make_word(WORLD_ABANDONED, number_of(word)))) {
			add_relaxed(&world_stats.abandoned, 1);
			wake_all();
		}
		return;
	}
	futex_wait(&world.word, word, WORLD_LOOK_MS * NS_PER_MS);
}

/* ---- gates ---- */

/* RUNNING -> BLOCKED, and (1) of the head. */
static void gate_block(struct thread *thread)
{
	struct watch watch = {.time_ns = 0};
	uint32_t word;

	store_seq(&thread->gate, GATE_BLOCKED); // from RUNNING, which only the thread itself leaves
	while (word_is_in_force(word = load_seq(&world.word)))
		wait_for_change(&watch, word);
}

/* BLOCKED or HELD -> RUNNING: (2) of the head. */
static void gate_unblock(struct thread *thread)
{
	struct watch watch = {.time_ns = 0};

	for (;;) {
		uint32_t gate = load_seq(&thread->gate);
		uint32_t word = load_seq(&world.word);

		if (gate_state(gate) == GATE_RUNNING)
			return;
		if (gate_state(gate) == GATE_HELD && gate_is_in_force(gate, word))
			wait_for_change(&watch, word);
		else if (cas_seq(&thread->gate, gate, GATE_RUNNING))
			return;
	}
}

/*
 * Is the record in thread_current this task's? A vfork child and a task made by raw clone run on somebody else's. A frame on the record's own stack
 * proves it; any other (fibre, alternate stack, unknown bounds) costs a system call.
 */
static bool record_is_mine(struct thread *thread, const void *frame)
{
	uintptr_t address = (uintptr_t)frame;

	if (load_relaxed(&thread->is_in_vfork)) {
		if (thread_id_now() != thread->tid)
			return false;
		store_relaxed(&thread->is_in_vfork, 0);
		return true;
	}
	if (address >= thread->stack_low && address < thread->stack_high)
		return true;
	return thread_id_now() == thread->tid;
}

void gate_enter(struct gate_frame *frame)
{
	struct thread *thread = thread_current;

	frame->thread = 0;
	if (!thread || !record_is_mine(thread, frame))
		return;
	if (gate_state(load_relaxed(&thread->gate)) != GATE_RUNNING) {
		add_relaxed(&world_stats.ungated, 1);
		return;
	}
	frame->thread = thread;
	frame->outer = thread->frame;
	frame->stops = thread->stops;
	frame->handlers = thread->handlers;
	store_release(&thread->frame, frame);
	gate_block(thread);
}

void gate_leave(struct gate_frame *frame)
{
	struct thread *thread = frame->thread;

	if (!thread)
		return;
	gate_unblock(thread);
	thread->frame = frame->outer;
	if (UNLIKELY(load_relaxed(&thread->exempt)))
		store_seq(&thread->exempt, 0);
}

bool gate_suspend(struct gate_frame **ret_frame)
{
	struct thread *thread = thread_current;

	if (!thread || gate_state(load_relaxed(&thread->gate)) == GATE_RUNNING ||
		!record_is_mine(thread, __builtin_frame_address(0)))
		return false;
	*ret_frame = thread->frame;
	gate_unblock(thread);
	return true;
}

void gate_resume(struct gate_frame *frame)
{
	struct thread *thread = thread_current;

	store_release(&thread->frame, frame);
	gate_block(thread);
}

void gate_forbid_signals(void)
{
	struct thread *thread = thread_current;
	uint64_t number = 1ull << ((load_relaxed(&world.signal) - 1) & (SIGNAL_COUNT - 1));
	uint64_t former;

	if (!thread || thread->tid != thread_id_now())
		return;
	store_seq(&thread->exempt, 1); // the collector looks at it again after it has set `owes`
	if (load_seq(&thread->owes) == 0)
		return;
	SYSCALL(rt_sigprocmask, SIG_UNBLOCK, &number, &former, sizeof(former));
	while (load_seq(&thread->owes) != 0)
		SYSCALL(sched_yield);
	SYSCALL(rt_sigprocmask, SIG_SETMASK, &former, 0, sizeof(former));
}

/* ---- the handler ---- */

static uintptr_t stack_pointer_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#else
	return (uintptr_t)context->uc_mcontext.sp;
#endif
}

static void note_stop(struct thread *thread, const ucontext_t *context)
{
	bool has_altstack = (context->uc_stack.ss_flags & SS_DISABLE) == 0;

	thread->stop_context = context;
	thread->stop_pointer = stack_pointer_of(context);
	thread->stop_altstack_low = has_altstack ? (uintptr_t)context->uc_stack.ss_sp : 0;
	thread->stop_altstack_bytes = has_altstack ? context->uc_stack.ss_size : 0;
}

static void answer(void)
{
	uint32_t answers = add_seq(&world.answers, 1) + 1;

	if (answers >= load_seq(&world.answers_wanted))
		futex_wake(&world.answers, 1);
}

/* Stands still in stop `number`, from gate value `former`. */
static void stand_still(struct thread *thread, uint32_t former, uint32_t number)
{
	uint32_t parked = make_gate(GATE_PARKED, number);
	struct watch watch = {.time_ns = 0};
	uint32_t word;

	store_seq(&thread->gate,
		parked); // from RUNNING; or from BLOCKED while gates do not count, so nobody else changes it
	answer();
	while (gate_is_in_force(parked, word = load_seq(&world.word)))
		wait_for_change(&watch, word);
	store_seq(&thread->gate, former);
}

static void park(struct thread *thread, const ucontext_t *context)
{
	thread->stop_handler_sp = (uintptr_t)__builtin_frame_address(0) - HANDLER_STACK_BYTES / 4;
	note_stop(thread, context);
	for (;;) {
		uint32_t word = load_seq(&world.word);
		uint32_t gate = load_seq(&thread->gate);

		if (!word_is_in_force(word))
			break;
		if (gate_state(gate) != GATE_RUNNING && load_seq(&world.gates_count))
			break;
		if (gate_state(gate) == GATE_HELD && gate_is_in_force(gate, word))
			break;
		stand_still(thread, gate, number_of(word));
	}
	thread->stop_context = 0;
	thread->stop_pointer = 0;
	thread->stop_handler_sp = 0;
}

/* The record of this very task; thread_current may be somebody else's. */
static struct thread *own_record(void)
{
	struct thread *thread = thread_current;
	int tid = thread_id_now();

	return thread && load_relaxed(&thread->tid) == tid ? thread : thread_find(tid);
}

static bool read_action(int number, struct kernel_action *ret_action)
{
	return !syscall_failed(
		SYSCALL(rt_sigaction, number, 0, ret_action, sizeof(ret_action->mask)));
}

/* Does the interrupted code see EINTR when it goes on? A call that the kernel makes again has its number in that register, or the program counter on it. */
static bool call_was_interrupted(const ucontext_t *context)
{
#if defined(__x86_64__)
	return context->uc_mcontext.gregs[REG_RAX] == -EINTR;
#else
	return (long)context->uc_mcontext.regs[0] == -EINTR;
#endif
}

/* Is the interrupted code about to make a call (again) that waits, and that any program expects to fail with EINTR? */
static bool call_is_made_again(const ucontext_t *context)
{
#if defined(__x86_64__)
	static const uint16_t slow[] = {SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvfrom,
		SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_accept, SYS_accept4, SYS_connect,
		SYS_wait4, SYS_waitid, SYS_flock, SYS_fcntl, SYS_open, SYS_openat,
		SYS_mq_timedreceive, SYS_mq_timedsend};
	const uint8_t *code = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];

	for (size_t i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
		if (context->uc_mcontext.gregs[REG_RAX] == slow[i])
			return code[0] == 0x0f && code[1] == 0x05; // syscall
	}
#endif
	return false;
}

static void interrupt_call(ucontext_t *context)
{
#if defined(__x86_64__)
	context->uc_mcontext.gregs[REG_RAX] = -EINTR;
	context->uc_mcontext.gregs[REG_RIP] += 2;
#else
	(void)context;
#endif
}

/*
 * Did a signal of the program come while this handler kept it waiting? It is delivered next. (One that the kernel keeps without effect is none.) True also
 * in *ret_restarts if all handlers that wait want calls to be made again.
 */
static bool program_signal_waits(const ucontext_t *context, bool *ret_restarts)
{
	uint64_t pending = 0, blocked;
	bool waits = false;

	*ret_restarts = true;
	__builtin_memcpy(&blocked, &context->uc_sigmask, sizeof(blocked));
	SYSCALL(rt_sigpending, &pending, sizeof(pending));
	for (pending &= ~blocked; pending != 0; pending &= pending - 1) {
		struct kernel_action action;

		if (!read_action(__builtin_ctzll(pending) + 1, &action) ||
			action.handler == (void *)SIG_DFL || action.handler == (void *)SIG_IGN)
			continue;
		waits = true;
		*ret_restarts &= (action.flags & SA_RESTART) != 0;
	}
	return waits;
}

/*
 * Whose is the interruption of a call? Ours alone: it is counted, and the wrapper makes the call again. If the program's signal came while the thread stood
 * still, the call ends as it would have without us: with EINTR, also where the kernel was told to make it again.
 */
static void settle_interruption(struct thread *thread, ucontext_t *context)
{
	bool is_waiting = gate_state(load_seq(&thread->gate)) != GATE_RUNNING;
	bool was_interrupted = call_was_interrupted(context), restarts;

	if (!was_interrupted && !(is_waiting && call_is_made_again(context)))
		return;
	if (!program_signal_waits(context, &restarts)) {
		if (was_interrupted)
			thread->stops++;
	} else if (!was_interrupted && !restarts) {
		interrupt_call(context);
	}
}

static void handle_stop_signal(int number, siginfo_t *info, void *context)
{
	struct thread *thread = own_record();
	bool from_here = info->si_code == SI_TKILL && info->si_pid == (int)SYSCALL(getpid);

	if (thread && from_here && cas_seq(&thread->owes, 1, 0)) {
		park(thread, context);
		settle_interruption(thread, context);
	} else if (world_hooks.foreign_signal &&
		   world_hooks.foreign_signal(number, info, context) && thread) {
		settle_interruption(thread, context);
	}
}

#if defined(__x86_64__)
/* Where the handler returns to. Byte for byte what unwinders and debuggers know as a signal frame's return. */
void world_signal_return(void) __attribute__((visibility("hidden")));
__asm__(".text\n\t"
	".p2align 4\n\t"
	".hidden world_signal_return\n\t"
	".globl world_signal_return\n\t"
	".type world_signal_return, @function\n"
	"\tnop\n"
	"world_signal_return:\n\t"
	"mov $15, %rax\n\t"
	"syscall\n\t"
	".size world_signal_return, . - world_signal_return\n");
#endif

/* While it runs every signal is blocked but libc's for setuid, which waits for all threads; synchronous faults kill as they should. */
static bool install_handler(int number)
{
	struct kernel_action action = {
		.handler = handle_stop_signal,
		.flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
		.mask = ~(1ull << (SIGNAL_SETXID - 1)),
	};

#if defined(__x86_64__)
	action.flags |= SA_RESTORER;
	action.restorer = world_signal_return;
#endif
	return !syscall_failed(SYSCALL(rt_sigaction, number, &action, 0, sizeof(action.mask)));
}

/* ---- the signal's number ---- */

static bool signal_is_free(int number)
{
	struct kernel_action action;

	if (world_hooks.signal_is_claimed && world_hooks.signal_is_claimed(number))
		return false;
	return read_action(number, &action) && action.handler == (void *)SIG_DFL;
}

/* A free number other than `except`, or 0. */
static int find_free_signal(int except)
{
	int wished = (int)options.stop_signal;

	if (wished != 0 && wished != except && wished != SIGKILL && wished != SIGSTOP &&
		signal_is_free(wished))
		return wished;
	for (int number = SIGNAL_HIGH; number >= SIGNAL_LOW; number--) {
		if (number != except && signal_is_free(number))
			return number;
	}
	return 0;
}

int world_signal(void)
{
	int number = load_acquire(&world.signal);

	if (number == 0) {
		int found = find_free_signal(0);

		cas_seq(&world.signal, 0, found ? found : -1);
		number = load_acquire(&world.signal);
	}
	return number > 0 ? number : 0;
}

bool world_prepare(void)
{
	struct kernel_action action;
	int number = world_signal();

	if (number == 0 || !read_action(number, &action))
		return false;
	if (action.handler == handle_stop_signal)
		return true;
	if (action.handler != (void *)SIG_DFL && action.handler != (void *)SIG_IGN) {
		// taken behind our back: leave it to whoever took it
		int other = find_free_signal(number);

		if (other == 0)
			return false;
		store_seq(&world.signal, other);
		return install_handler(other);
	}
	return install_handler(number);
}

static void note_debt(struct thread *thread, void *argument)
{
	*(bool *)argument |= load_seq(&thread->owes) != 0;
}

bool world_move_signal(int number)
{
	int other;

	if (load_seq(&world.signal) != number)
		return true;
	other = find_free_signal(number);
	return other != 0 && install_handler(other) && cas_seq(&world.signal, number, other);
}

/* The collector reads world.signal after it has set STOPPING: once the word is seen at rest, later stops use the new number. */
bool world_yield_signal(int number)
{
	enum { ATTEMPTS = 200 };
	struct kernel_action former = {.handler = 0};

	if (load_seq(&world.signal) != number)
		return true;
	if (!world_move_signal(number))
		return false;
	for (int i = 0; i < ATTEMPTS; i++) {
		static uint32_t never;
		bool somebody_owes = false;

		threads_for_each(note_debt, &somebody_owes);
		if (!word_is_in_force(load_seq(&world.word)) && !somebody_owes)
			return !syscall_failed(
				SYSCALL(rt_sigaction, number, &former, 0, sizeof(former.mask)));
		futex_wait(&never, 0, TICK_NS);
	}
	return false;
}

bool world_is_stop_handler(uintptr_t handler)
{
	return handler == (uintptr_t)handle_stop_signal;
}

void world_note_foreign_task(void)
{
	store_relaxed(&world.foreign_task, 1);
}

/* ---- stopping: the dispositions ---- */

static bool handler_is_known(const struct kernel_action *action)
{
	if (action->handler == (void *)SIG_DFL || action->handler == (void *)SIG_IGN ||
		action->handler == handle_stop_signal)
		return true;
	return world_hooks.handler_is_known &&
	       world_hooks.handler_is_known((uintptr_t)action->handler);
}

/*
 * May BLOCKED threads be taken for stopped? Once not, never again: a thread may have left a call by a long jump and stand there BLOCKED. Asked before anybody
 * is stopped, and again when all stand still: a handler that was set in between may be running on a thread that is HELD.
 */
static void read_back_handlers(void)
{
	for (int number = 1; number <= SIGNAL_COUNT && load_seq(&world.gates_count); number++) {
		struct kernel_action action;

		if (number == SIGKILL || number == SIGSTOP || number == SIGNAL_CANCEL ||
			number == SIGNAL_SETXID)
			continue;
		if (read_action(number, &action) && !handler_is_known(&action))
			store_seq(&world.gates_count, 0);
	}
}

/* ---- stopping: which task is whose ---- */

static size_t index_slot(int tid)
{
	return ((uint32_t)tid * 0x9e3779b1u) & (stop.capacity - 1);
}

static void index_add(struct thread *thread, void *argument)
{
	int tid = load_acquire(&thread->tid);
	size_t slot;

	(void)argument;
	if (tid == 0 || stop.index_count + 1 >= stop.capacity)
		return;
	slot = index_slot(tid);
	while (stop.index[slot])
		slot = (slot + 1) & (stop.capacity - 1);
	stop.index[slot] = thread;
	stop.index_count++;
}

static struct thread *index_find(int tid)
{
	for (size_t slot = index_slot(tid); stop.index[slot];
		slot = (slot + 1) & (stop.capacity - 1)) {
		if (load_acquire(&stop.index[slot]->tid) == tid)
			return stop.index[slot];
	}
	return 0;
}

/* Room for all records there are and as many new ones again; more end the stop. */
static bool reserve_memory(void)
{
	size_t wanted = 1024;

	while (wanted < 8 * (size_t)threads_count())
		wanted *= 2;
	if (wanted > stop.capacity) {
		if (stop.index)
			os_unmap(stop.index, 2 * stop.capacity * sizeof(stop.index[0]));
		stop.capacity = 0;
		stop.index = os_map(2 * wanted * sizeof(stop.index[0]));
		if (!stop.index)
			return false;
		stop.capacity = wanted;
		stop.pending = stop.index + wanted;
	}
	for (size_t i = 0; i < stop.capacity; i++)
		stop.index[i] = 0;
	stop.index_count = 0;
	return true;
}

/* ---- stopping: one thread ---- */

enum answer { ANSWER_STOPPED, ANSWER_PENDING, ANSWER_GONE };

static bool altstack_is_too_small(const struct thread *thread)
{
	size_t frame = world_hooks.signal_frame_bytes ? world_hooks.signal_frame_bytes
						      : SIGNAL_FRAME_BYTES;
	size_t bytes = load_relaxed(&thread->altstack_bytes);

	return bytes != 0 && bytes < frame + HANDLER_STACK_BYTES;
}

/* `owes` first, then `exempt` again: pairs with gate_forbid_signals(). */
static enum answer send_signal(struct thread *thread, int tid)
{
	int number = load_seq(&world.signal);
	long result;

	if (load_seq(&thread->owes) || load_seq(&thread->exempt) || altstack_is_too_small(thread))
		return ANSWER_PENDING;
	store_seq(&thread->owes, 1);
	if (load_seq(&thread->exempt)) {
		store_seq(&thread->owes, 0);
		return ANSWER_PENDING;
	}
	result = SYSCALL(tgkill, stop.process, tid, number);
	if (!syscall_failed(result)) {
		world_stats.signals++;
		return ANSWER_PENDING;
	}
	store_seq(&thread->owes, 0);
	stop.not_sent |= result == -EAGAIN;
	return result == -ESRCH ? ANSWER_GONE : ANSWER_PENDING;
}

static enum answer ask(struct thread *thread)
{
	int tid = load_acquire(&thread->tid);
	uint32_t gate = load_seq(&thread->gate);
	uint32_t held = make_gate(GATE_HELD, stop.number);
	bool gates_count = load_seq(&world.gates_count);

	if (tid == 0 || tid == stop.self)
		return ANSWER_GONE;
	if (gate == make_gate(GATE_PARKED, stop.number) || (gate == held && gates_count))
		return ANSWER_STOPPED;
	if (gates_count && (gate_state(gate) == GATE_BLOCKED || gate_state(gate) == GATE_HELD)) {
		if (!cas_seq(&thread->gate, gate, held))
			return ANSWER_PENDING;
		world_stats.held++;
		return ANSWER_STOPPED;
	}
	return send_signal(thread, tid);
}

/* No user state: an io_uring or vhost worker, a zombie, a task on its way out of the kernel's list. */
static bool task_has_no_user_state(int tid)
{
	char state;
	unsigned flags;

	if (!task_read_state(tid, &state, &flags))
		return false; // gone, or unreadable: the next listing tells
	return (flags & (TASK_IO_WORKER | TASK_USER_WORKER | TASK_EXITING)) != 0 || state == 'Z' ||
	       state == 'X';
}

static bool pending_add(struct thread *thread)
{
	if (stop.pending_count == stop.capacity)
		return false;
	stop.pending[stop.pending_count++] = thread;
	return true;
}

static void ask_first(struct thread *thread, void *argument)
{
	bool *ret_full = argument;

	if (load_relaxed(&thread->life) != THREAD_DEAD && ask(thread) == ANSWER_PENDING)
		*ret_full |= !pending_add(thread);
}

/* Drops from `pending` who has stopped or gone. */
static void ask_pending(bool look_at_state)
{
	size_t kept = 0;

	for (size_t i = 0; i < stop.pending_count; i++) {
		struct thread *thread = stop.pending[i];
		enum answer result = ask(thread);

		if (result == ANSWER_PENDING && look_at_state) {
			int tid = load_relaxed(&thread->tid);

			if (syscall_failed(SYSCALL(tgkill, stop.process, tid, 0)) ||
				task_has_no_user_state(tid))
				continue;
		}
		if (result == ANSWER_PENDING)
			stop.pending[kept++] = thread;
	}
	stop.pending_count = kept;
}

/* Waits until nobody is pending. *ticks is what is left of the time. */
static bool wait_for_pending(uint64_t *ticks)
{
	for (uint64_t quiet = 1; stop.pending_count > 0; world_beat()) {
		uint32_t answers = load_seq(&world.answers);
		size_t before = stop.pending_count;

		store_seq(&world.answers_wanted, answers + (uint32_t)before);
		ask_pending(quiet % TICKS_PER_STATE_CHECK == 0);
		if (stop.pending_count == 0)
			break;
		if (load_seq(&world.word) != make_word(WORLD_STOPPING, stop.number))
			return false;
		futex_wait(&world.answers, answers, TICK_NS);
		if (load_seq(&world.answers) != answers || stop.pending_count < before)
			continue;
		quiet++;
		if ((*ticks)-- == 0)
			return false;
	}
	return true;
}

/* ---- stopping: all of them ---- */

enum listing { LISTING_COMPLETE, LISTING_GREW, LISTING_FAILED };

/* A task that need not be stopped, but may end at any moment. */
static enum listing pass_over(int tid)
{
	if (stop.passed_count == PASSED_MAX)
		return LISTING_GREW;
	stop.passed[stop.passed_count++] = tid;
	return LISTING_COMPLETE;
}

/* Whoever was passed over is still there, so the count that was just taken includes them. */
static bool passed_are_there(void)
{
	for (uint32_t i = 0; i < stop.passed_count; i++) {
		if (syscall_failed(SYSCALL(tgkill, stop.process, stop.passed[i], 0)))
			return false;
	}
	return true;
}

/* One listed task other than the collector. */
static enum listing look_at_task(int tid)
{
	struct thread *thread = index_find(tid);

	if (!thread) {
		if (task_has_no_user_state(tid))
			return pass_over(tid);
		thread = thread_adopt(tid);
		if (!thread || stop.index_count * 2 > stop.capacity) {
			world.failure = WORLD_NO_MEMORY;
			return LISTING_FAILED;
		}
		index_add(thread, 0);
	}
	switch (ask(thread)) {
	case ANSWER_STOPPED:
		return LISTING_COMPLETE;
	case ANSWER_GONE:
		return LISTING_GREW; // listed, gone now: look again
	case ANSWER_PENDING:
		break;
	}
	if (task_has_no_user_state(tid))
		return pass_over(tid);
	if (!pending_add(thread))
		return LISTING_FAILED;
	return LISTING_GREW;
}

/* COMPLETE: every task there is stands still. */
static enum listing list_tasks(void)
{
	enum listing result = LISTING_COMPLETE;
	uint32_t listed = 0, counted;
	int tid;

	stop.passed_count = 0;
	if (!task_walk_begin(&stop.walk))
		return LISTING_FAILED;
	while (task_walk_next(&stop.walk, &tid)) {
		enum listing one = tid == stop.self ? LISTING_COMPLETE : look_at_task(tid);

		listed++;
		if (one == LISTING_FAILED)
			return one;
		if (one == LISTING_GREW)
			result = one;
		if (listed % 64 == 0)
			world_beat();
	}
	if (stop.walk.failed || !task_count(&counted))
		return LISTING_FAILED;
	return result == LISTING_COMPLETE && (listed != counted || !passed_are_there())
		       ? LISTING_GREW
		       : result;
}

static bool stop_everybody(uint64_t ticks)
{
	bool is_full = false;

	threads_for_each(index_add, 0);
	threads_for_each(ask_first, &is_full);
	if (is_full)
		world.failure = WORLD_NO_MEMORY;
	for (int i = 0; i < LISTINGS_MAX && !is_full; i++) {
		if (!wait_for_pending(&ticks))
			return false;
		switch (list_tasks()) {
		case LISTING_COMPLETE:
			return true;
		case LISTING_FAILED:
			if (world.failure == WORLD_NO_ANSWER)
				world.failure = WORLD_NO_PROC;
			return false;
		case LISTING_GREW:
			break;
		}
		if (i >= FREE_LISTINGS && ticks-- == 0)
			return false;
	}
	return false;
}

static bool stop_fails(enum world_failure failure)
{
	world.failure = failure;
	world_stats.failures[failure]++;
	return false;
}

static bool may_stop(void)
{
	if (load_relaxed(&world.foreign_task))
		return stop_fails(WORLD_FOREIGN_TASK);
	if (!proc_open())
		return stop_fails(WORLD_NO_PROC);
	if (!reserve_memory())
		return stop_fails(WORLD_NO_MEMORY);
	return true;
}

static bool gates_counted_to_the_end(bool gates_count)
{
	if (gates_count)
		read_back_handlers();
	return !gates_count || load_seq(&world.gates_count);
}

static bool stop_and_pause(uint64_t timeout_ns)
{
	uint32_t stopping = make_word(WORLD_STOPPING, stop.number);
	bool gates_count = load_seq(&world.gates_count);

	world.failure = WORLD_NO_ANSWER;
	if (!stop_everybody(max_u64(timeout_ns / TICK_NS, 1)) ||
		!gates_counted_to_the_end(gates_count)) {
		if (load_seq(&world.word) != stopping)
			return stop_fails(WORLD_WAS_ABANDONED);
		if (stop.pending_count > 0)
			world_stats.last_silent_tid = stop.pending[0]->tid;
		return stop_fails(world.failure == WORLD_NO_ANSWER && stop.not_sent
					  ? WORLD_NOT_SENT
					  : world.failure);
	}
	if (!cas_seq(&world.word, stopping, make_word(WORLD_PAUSED, stop.number)))
		return stop_fails(WORLD_WAS_ABANDONED);
	world.failure = WORLD_NOT_FAILED;
	world_stats.stops++;
	return true;
}

bool world_stop(uint64_t timeout_ns)
{
	struct signal_guard guard;
	bool is_stopped;

	signals_block(&guard);
	threads_reap_all();
	is_stopped = may_stop();
	if (is_stopped) {
		stop.number = (number_of(world.word) + 1) & NUMBER_MASK;
		stop.self = thread_id_now();
		stop.process = (int)SYSCALL(getpid);
		stop.pending_count = 0;
		stop.not_sent = false;
		world_beat();
		store_seq(&world.word, make_word(WORLD_STOPPING, stop.number));
		read_back_handlers();
		world_stats.foreign_handlers += !load_seq(&world.gates_count);
		is_stopped =
			world_prepare() ? stop_and_pause(timeout_ns) : stop_fails(WORLD_NO_SIGNAL);
		if (!is_stopped)
			world_start();
	}
	signals_restore(&guard);
	return is_stopped;
}

bool world_is_abandoned(void)
{
	return phase_of(load_seq(&world.word)) == WORLD_ABANDONED;
}

void world_wait_out_abandonment(void)
{
	enum { WAITS = 200 };
	uint32_t word;

	for (int i = 0; i < WAITS && phase_of(word = load_seq(&world.word)) == WORLD_ABANDONED; i++)
		futex_wait(&world.word, word, 10 * NS_PER_MS);
}

bool world_commit(void)
{
	bool is_mine = cas_seq(&world.word, make_word(WORLD_PAUSED, stop.number),
		make_word(WORLD_DONE, stop.number));

	world_beat();
	if (!is_mine)
		stop_fails(WORLD_WAS_ABANDONED);
	return is_mine;
}

void world_start(void)
{
	store_seq(&world.word, make_word(WORLD_RUNS, stop.number));
	wake_all();
}

enum world_failure world_last_failure(void)
{
	return world.failure;
}

void world_fork_child(void)
{
	store_seq(&world.word, make_word(WORLD_RUNS, number_of(world.word)));
	world.answers_wanted = 0;
	world.foreign_task = 0;
}
