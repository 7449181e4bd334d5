/*
 * The stop signal arrives: the thread says where it stands and stands still.
 *
 * A signal counts only if we sent it: by tgkill from this very process, to a thread that owes an answer. Any other with that number is the program's
 * (world_hooks.foreign_signal). A thread at its gate needs no parking: it comes to (1) or (2) of world.c by itself, unless gates do not count.
 *
 * A call that was interrupted. The program must not notice: if our signal alone interrupted it, that is counted (thread->stops) and the wrapper makes the
 * call again. If a signal of the program came while the thread stood still, the call ends as it would have without us.
 *
 * Locks: none. Calls no libc and touches no thread-local storage but thread_current. Runs on whatever stack there is, within STOP_HANDLER_STACK_BYTES.
 */
#include "core/gc/stop_handler.h"

#include "core/base/atomic.h"
#include "core/base/check.h"
#include "core/gc/gate.h"
#include "core/gc/thread.h"
#include "core/gc/world_word.h"
#include "core/os/futex.h"
#include "core/os/kernel_action.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"

#include <errno.h>
#include <signal.h>
#include <sys/ucontext.h>

struct stop_answers stop_answers;
struct world_hooks world_hooks;

/* ---- parking ---- */

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
	uint32_t answers = add_seq(&stop_answers.count, 1) + 1;

	if (answers >= load_seq(&stop_answers.wanted))
		futex_wake(&stop_answers.count, 1);
}

/* Stands still in stop `number`, from gate value `former`. */
static void stand_still(struct thread *thread, uint32_t former, uint32_t number)
{
	uint32_t parked = gate_make(GATE_PARKED, number);
	struct world_watch watch = {.time_ns = 0};
	uint32_t word;

	store_seq(&thread->gate,
		parked); // from RUNNING; or from BLOCKED while gates do not count, so nobody else changes it
	answer();
	while (gate_is_in_force(parked, word = load_seq(&world_word)))
		world_wait_for_change(&watch, word);
	store_seq(&thread->gate, former);
}

static void park(struct thread *thread, const ucontext_t *context)
{
	thread->stop_handler_sp =
		(uintptr_t)__builtin_frame_address(0) - STOP_HANDLER_STACK_BYTES / 4;
	note_stop(thread, context);
	for (;;) {
		uint32_t word = load_seq(&world_word);
		uint32_t gate = load_seq(&thread->gate);

		if (!world_word_is_in_force(word))
			break;
		if (gate_state(gate) != GATE_RUNNING && gates_count())
			break;
		if (gate_state(gate) == GATE_HELD && gate_is_in_force(gate, word))
			break;
		stand_still(thread, gate, world_number_of(word));
	}
	thread->stop_context = 0;
	thread->stop_pointer = 0;
	thread->stop_handler_sp = 0;
}

/* ---- the interrupted call ---- */

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

		if (!kernel_action_read(__builtin_ctzll(pending) + 1, &action) ||
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

/* ---- the handler ---- */

/* The record of this very task; thread_current may be somebody else's. */
static struct thread *own_record(void)
{
	struct thread *thread = thread_current;
	int tid = thread_id_now();

	return thread && load_relaxed(&thread->tid) == tid ? thread : thread_find(tid);
}

/* True: it was owed. Only the collector writes it meanwhile: if it has just given this signal up for lost and sends another, that one will be a stray. */
static bool pay(struct thread *thread, int number)
{
	if ((load_seq(&thread->owes) & ~(uint32_t)OWES_UNSENT) != (uint32_t)number)
		return false;
	store_seq(&thread->owes, 0);
	return true;
}

static void handle_stop_signal(int number, siginfo_t *info, void *context)
{
	struct thread *thread = own_record();
	bool from_here = info->si_code == SI_TKILL && info->si_pid == (int)SYSCALL(getpid);

	// without a collector only who asks for a cycle stops threads; they hold no lock then, as ever
	if (from_here && signals_are_deferred()) {
		signals_hold_stop(number, (uint64_t *)&((ucontext_t *)context)->uc_sigmask);
		return;
	}
	if (thread && from_here && pay(thread, number)) {
		check(!signals_are_deferred());
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
bool stop_handler_install(int number)
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
	return kernel_action_write(number, &action);
}

bool world_is_stop_handler(uintptr_t handler)
{
	return handler == (uintptr_t)handle_stop_signal;
}
