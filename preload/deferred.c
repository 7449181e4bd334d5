/*
 * Signals whose handlers were held off because their thread was in a section of ours (core/os/lock.h). At the section's end they are queued to the thread
 * again, and delivered by the kernel with mask, stack and flags as ever.
 *
 * What is queued again comes last, after others of the same number that were sent to the thread meanwhile; and of the numbers below the real-time ones
 * the kernel keeps one. So the queue of held signals is kept here, in order, and what is queued to the kernel is a mark for each: whatever of that number comes
 * next, a mark or a later signal, the first one here has its turn. If it was a later signal it becomes the last one here, for the mark is yet to come. Marks
 * are the signals themselves but for si_errno, which is 0 in what the kernel makes: whoever waits for the number in the kernel gets the right one.
 *
 * A mark may lose its siginfo (RLIMIT_SIGPENDING) or, for a real-time number, be refused: then the handler is called from here, with the mask that the kernel
 * would set; not on the alternate stack, which is the one difference.
 *
 * The queue belongs to the thread, and is changed with all signals blocked by the kernel.
 */
#include "preload/deferred.h"

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/os/kernel_action.h"
#include "core/os/lock.h"
#include "preload/signals.h"

#include <ucontext.h>

enum {
	HELD_MAX = 4, // in one section mostly one, see signals_hold()
	POOL_SIZE = 256,
	FIRST_REAL_TIME = 34,
	MARK = 0x6d61726b, // more than a seccomp filter can put there
	TRAP_BY_PERF = 6,  // TRAP_PERF of newer headers
};

/* In a pool, for thread-local bytes are few. */
struct held {
	uint32_t is_taken; // atomic, by compare-and-swap; the rest belongs to the thread that did
	uint32_t disposition; // see deferred_take()
	bool is_marked;       // the kernel has a mark for it
	siginfo_t info;
};

static struct held pool[POOL_SIZE];
static uint32_t pool_was_used; // so that a fork's child need not look at it

struct queue {
	uint32_t count;
	struct held *entries[HELD_MAX];
};

static __thread struct queue queue __attribute__((tls_model("initial-exec")));

/* ---- the queue ---- */

/* Threads begin at different places: the stack's address differs. NULL: all are taken. */
static struct held *take_from_pool(void)
{
	uintptr_t at = (uintptr_t)&queue >> 12;

	for (uint32_t i = 0; i < POOL_SIZE; i++) {
		struct held *held = &pool[(at + i) % POOL_SIZE];

		if (load_relaxed(&held->is_taken) == 0 && cas_seq(&held->is_taken, 0u, 1u)) {
			store_relaxed(&pool_was_used, 1u);
			return held;
		}
	}
	return 0;
}

/* False: no room. */
static bool append(const siginfo_t *info, uint32_t disposition, bool is_marked)
{
	struct held *held = queue.count < HELD_MAX ? take_from_pool() : 0;

	if (!held)
		return false;
	held->info = *info;
	held->disposition = disposition;
	held->is_marked = is_marked;
	queue.entries[queue.count++] = held;
	return true;
}

static struct held *find(int number)
{
	for (uint32_t i = 0; i < queue.count; i++) {
		if (queue.entries[i]->info.si_signo == number)
			return queue.entries[i];
	}
	return 0;
}

static struct held *find_marked(int number)
{
	for (uint32_t i = 0; i < queue.count; i++) {
		if (queue.entries[i]->info.si_signo == number && queue.entries[i]->is_marked)
			return queue.entries[i];
	}
	return 0;
}

static void drop(struct held *held)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < queue.count; i++) {
		if (queue.entries[i] != held)
			queue.entries[kept++] = queue.entries[i];
	}
	queue.count = kept;
	store_seq(&held->is_taken, 0u);
}

/* ---- marks ---- */

static bool send(const siginfo_t *info)
{
	long process = SYSCALL(getpid), thread = SYSCALL(gettid);

	return !syscall_failed(SYSCALL(rt_tgsigqueueinfo, process, thread, info->si_signo, info));
}

static bool send_mark(const struct held *held)
{
	siginfo_t mark = held->info;

	mark.si_errno = MARK;
	return send(&mark);
}

static bool may_lose_info(const siginfo_t *info)
{
	return info->si_signo < FIRST_REAL_TIME || info->si_code == SI_USER;
}

/* A mark for `held` or for what waits behind it. One that lost its siginfo looks like any signal that did. */
static bool is_mark(const siginfo_t *info, const struct held *held)
{
	bool has_lost_info = info->si_code == SI_USER && info->si_pid == 0 && info->si_uid == 0;

	return info->si_errno == MARK || (has_lost_info && may_lose_info(&held->info));
}

/* ---- holding off ---- */

/* Raised by the interrupted instruction, which cannot be gone on with. */
static bool is_fault(int number, const siginfo_t *info)
{
	switch (number) {
	case SIGBUS:
		return info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
	case SIGTRAP:
		return info->si_code > 0 && info->si_code != TRAP_BY_PERF;
	case SIGSEGV:
	case SIGFPE:
	case SIGILL:
	case SIGSYS:
		return info->si_code > 0;
	default:
		return false;
	}
}

/* As the kernel does with a fault whose signal is blocked: the process dies of it. A handler would find locks taken. */
static void die_of(int number, const siginfo_t *info)
{
	struct kernel_action standard = {0};

	kernel_action_write(number, &standard);
	send(info);
}

static void hold(int number, const siginfo_t *info, uint32_t disposition)
{
	struct held *marked = find_marked(number);

	if (marked &&
		is_mark(info, marked)) { // whichever it was for: the first one has the first turn
		marked->is_marked = false;
		marked->disposition = disposition;
	} else if (!append(info, disposition, false)) {
		send(info); // for want of room out of turn
	}
}

void deferred_take(int number, siginfo_t *info, void *context, uint32_t disposition)
{
	uint64_t *mask = (uint64_t *)&((ucontext_t *)context)->uc_sigmask;

	if (is_fault(number, info)) {
		die_of(number, info);
		return;
	}
	signals_hold(mask);
	hold(number, info, disposition);
}

/* ---- delivering ---- */

/* The first one that the kernel has to get a mark for. */
static struct held *next_due(void)
{
	for (uint32_t i = 0; i < queue.count; i++) {
		if (!queue.entries[i]->is_marked)
			return queue.entries[i];
	}
	return 0;
}

/* At the end of a section. Where a mark is refused the first of that number has its turn now, and its mark, if it had one, is for this one. */
static void send_marks(uint64_t mask)
{
	siginfo_t refused[HELD_MAX];
	struct held *held;
	uint32_t count = 0;

	while ((held = next_due())) {
		signals_rearm(held->info.si_signo, held->disposition);
		held->is_marked = true;
		if (!send_mark(held)) {
			struct held *first = find(held->info.si_signo);

			refused[count++] = first->info;
			drop(first);
		}
	}
	for (uint32_t i = 0; i < count; i++)
		signals_handle(refused[i].si_signo, &refused[i], mask);
}

/* Of these numbers the kernel keeps one: marks were merged with it. With SA_RESETHAND a further one would meet the default action, which ends the process. */
static void settle_merged(int number)
{
	struct held *next = find(number);

	if (!next || number >= FIRST_REAL_TIME)
		return;
	if (!signals_is_one_shot(number)) {
		send_mark(next);
		return;
	}
	for (; next; next = find(number))
		drop(next);
}

/* `come` comes next after all that are here. Its entry is that of the one whose turn it was, for there may be no other. */
static void become_last(struct held *held, const siginfo_t *come)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < queue.count; i++) {
		if (queue.entries[i] != held)
			queue.entries[kept++] = queue.entries[i];
	}
	queue.entries[kept] = held;
	held->info = *come;
}

static void exchange(int number, siginfo_t *info)
{
	struct held *first = find(number);
	siginfo_t come = *info;

	if (first) {
		*info = first->info;
		if (is_mark(&come, first))
			drop(first);
		else
			become_last(first, &come);
		settle_merged(number);
	} else if (come.si_errno == MARK) {
		info->si_errno = 0;
	}
}

void deferred_exchange(int number, siginfo_t *info)
{
	struct signal_guard guard;

	if (LIKELY(queue.count == 0 && info->si_errno != MARK) || signals_is_vfork_child())
		return;
	signals_block_really(&guard);
	exchange(number, info);
	signals_restore(&guard);
}

void deferred_forget(int number, bool is_ignored)
{
	struct signal_guard guard;
	struct held *held;

	if (queue.count == 0)
		return;
	signals_block_really(&guard);
	while ((held = is_ignored ? find(number) : find_marked(number)))
		drop(held);
	signals_restore(&guard);
}

void deferred_fork_child(void)
{
	if (!pool_was_used)
		return;
	queue.count = 0;
	for (uint32_t i = 0; i < POOL_SIZE; i++)
		pool[i].is_taken = 0;
}

void deferred_init(void)
{
	signals_due_hook = send_marks;
}
