/*
 * Stopping every task but the collector.
 *
 * First all known records are asked: a thread BLOCKED at its gate is HELD by one compare-and-swap; any other is sent one signal, and is pending until it has
 * PARKED. A thread that still owes an answer to an earlier signal is not sent another, unless that one is lost: somebody else took it, or it was discarded
 * (the program changed the disposition by a system call of its own). The kernel tells: it is neither pending nor blocked, which it is while our handler runs.
 * Between the two lie only moments in which the kernel lays the signal frame; so it is looked at twice. One that is sent too often after all is a stray, which
 * the handler drops.
 *
 * Mostly the kernel's count of tasks then tells that these were all. n records whose ids are all different stand still, and n + 1 tasks are counted: if the tasks
 * of the n lived at that moment there is no other but the collector, and who stands still makes none. Whether they lived is looked at when the stop is over
 * (stop_tasks_were_all), a system call each: who has left its gate since did, for nobody else opens it (but who buries the dead: threads_died_at_gate()); who
 * has not must still have a task. Only by force can a thread end at its gate (by a seccomp filter); then there is no verdict, and the next stops read the list.
 *
 * Else /proc lists the tasks, for there may be some without a record. A task is accounted for when it is stopped, or has no user state: io_uring's and
 * vhost's workers, zombies, tasks that are exiting. The list is read until one reading contains no task that is not accounted for and is as long as the
 * kernel's own count of tasks: all listed ones stand still, so one that was not listed would be counted. Those without user state may end meanwhile (and the
 * walk may end early at one that does): they must still be there after the count, or the list is read again.
 *
 * Time is counted in wake-ups of the collector that brought nothing: when the whole process is frozen or throttled, no time passes.
 *
 * Locks: none, but THREADS for moments (thread_adopt()). Memory is reserved before anybody stands still.
 */
#include "core/gc/stop_tasks.h"

#include "core/base/arith.h"
#include "core/base/atomic.h"
#include "core/gc/gate.h"
#include "core/gc/stop_handler.h"
#include "core/gc/stop_signal.h"
#include "core/gc/thread.h"
#include "core/gc/world_word.h"
#include "core/os/futex.h"
#include "core/os/memory.h"
#include "core/os/proc.h"
#include "core/os/syscall.h"

#include <errno.h>

enum {
	TICK_NS = 1000000,
	TICKS_PER_STATE_CHECK = 4,
	LISTINGS_MAX = 1000,
	FREE_LISTINGS = 4,    // each further one costs a tick
	SPIN_FOR_MAX = 2,     // threads: that many may run beside the collector
	SPINS = 400,          // some 10 to 50 us
	REST = 64,            // stops that do not count, after one that was wrong to
	PASSED_MAX = 1024,    // tasks without user state; with more of them there is no verdict
	UNPAID_LOOKS_MAX = 2, // by which a debt is lost before the signal is sent again
	SIGNAL_FRAME_BYTES = 4096, // where the kernel does not say how large its frame is
};

/* The collector's memory for one stop. */
static struct {
	struct thread **index;   // open addressing by task id; NULL: free
	struct thread **pending; // asked, not stopped yet
	int *passed;             // tasks without user state
	size_t capacity; // of each, a power of two; at least twice the tasks there were when it was made
	size_t pending_count;
	size_t index_count;
	uint32_t number;
	int self;
	int process;
	bool not_sent;
	enum world_failure failure; // why it fails, if it does
	struct task_walk walk;
	size_t passed_count;
	size_t stopped_count;  // records, each once
	bool has_doubles;      // two records have one id
	bool was_counted;      // all were told by their number
	uint32_t died_at_gate; // threads_died_at_gate() when the stop began
	uint32_t rest;         // stops that do not count
} stop;

/* ---- which task is whose ---- */

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
	while (stop.index[slot]) {
		stop.has_doubles |= load_relaxed(&stop.index[slot]->tid) == tid;
		slot = (slot + 1) & (stop.capacity - 1);
	}
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

/* Room for `wanted` of each. */
static bool reserve(size_t wanted)
{
	size_t each = sizeof(stop.index[0]) + sizeof(stop.pending[0]) + sizeof(stop.passed[0]);

	if (wanted <= stop.capacity)
		return true;
	if (stop.index)
		os_unmap(stop.index, stop.capacity * each);
	stop.capacity = 0;
	stop.index = os_map(wanted * each);
	if (!stop.index)
		return false;
	stop.capacity = wanted;
	stop.pending = stop.index + wanted;
	stop.passed = (int *)(stop.pending + wanted);
	return true;
}

/* The list of tasks is open. Not every task has a record, and not every record a task. */
bool stop_tasks_reserve(void)
{
	size_t wanted = 1024;
	uint32_t tasks;

	if (!task_count(&tasks))
		tasks = 0;
	while (wanted < 8 * (size_t)threads_count() || wanted < 8 * (size_t)tasks)
		wanted *= 2;
	if (!reserve(wanted))
		return false;
	for (size_t i = 0; i < stop.capacity; i++)
		stop.index[i] = 0;
	stop.index_count = 0;
	stop.has_doubles = false;
	return true;
}

/* ---- one thread ---- */

enum answer { ANSWER_STOPPED, ANSWER_PENDING, ANSWER_GONE };

static bool altstack_is_too_small(const struct thread *thread)
{
	size_t frame = world_hooks.signal_frame_bytes ? world_hooks.signal_frame_bytes
						      : SIGNAL_FRAME_BYTES;
	size_t bytes = load_relaxed(&thread->altstack_bytes);

	return bytes != 0 && bytes < frame + STOP_HANDLER_STACK_BYTES;
}

/* `owes` first, then `exempt` again: pairs with gate_forbid_signals(). */
static enum answer send_signal(struct thread *thread, int tid)
{
	uint32_t number = (uint32_t)stop_signal_number();
	long result;

	if (load_seq(&thread->owes) || load_seq(&thread->exempt) || altstack_is_too_small(thread))
		return ANSWER_PENDING;
	thread->unpaid_looks = 0;
	store_seq(&thread->owes, number | OWES_UNSENT);
	if (load_seq(&thread->exempt)) {
		store_seq(&thread->owes, 0);
		return ANSWER_PENDING;
	}
	result = SYSCALL(tgkill, stop.process, tid, number);
	if (!syscall_failed(result)) {
		cas_seq(&thread->owes, number | OWES_UNSENT, number); // or it was handled already
		world_stats.signals++;
		return ANSWER_PENDING;
	}
	store_seq(&thread->owes, 0);
	stop.not_sent |= result == -EAGAIN;
	return result == -ESRCH ? ANSWER_GONE : ANSWER_PENDING;
}

/* Looks whether the signal is still under way; if it is not, the thread owes nothing. */
static void look_at_debt(struct thread *thread, int tid)
{
	uint32_t owed = load_seq(&thread->owes);
	uint64_t pending, blocked;

	if (owed == 0 || !task_read_signals(tid, &pending, &blocked))
		return;
	if ((pending | blocked) >> (owed - 1) & 1)
		thread->unpaid_looks = 0;
	else if (++thread->unpaid_looks >= UNPAID_LOOKS_MAX)
		cas_seq(&thread->owes, owed, 0);
}

static enum answer ask(struct thread *thread)
{
	int tid = load_acquire(&thread->tid);
	uint32_t gate = load_seq(&thread->gate);
	uint32_t held = gate_make(GATE_HELD, stop.number);
	bool counted = gates_count();

	world_beat(); // thousands of threads that answer take the processor from who asks them
	if (tid == 0 || tid == stop.self)
		return ANSWER_GONE;
	if (gate == gate_make(GATE_PARKED, stop.number) || (gate == held && counted))
		return ANSWER_STOPPED;
	if (counted && (gate_state(gate) == GATE_BLOCKED || gate_state(gate) == GATE_HELD)) {
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
	enum answer answer;

	if (load_relaxed(&thread->life) == THREAD_DEAD)
		return;
	answer = ask(thread);
	stop.stopped_count += answer == ANSWER_STOPPED;
	if (answer == ANSWER_PENDING)
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
			look_at_debt(thread, tid);
		}
		if (result == ANSWER_PENDING)
			stop.pending[kept++] = thread;
		else
			stop.stopped_count += result == ANSWER_STOPPED;
	}
	stop.pending_count = kept;
}

/* A thread that runs answers sooner than a CPU wakes up again on which the collector sleeps. */
static void await_answers(uint32_t answers)
{
	for (int i = 0; i < SPINS && stop.pending_count <= SPIN_FOR_MAX; i++) {
		if ((int32_t)(load_seq(&stop_answers.count) - stop_answers.wanted) >= 0)
			return;
		cpu_relax();
	}
	futex_wait(&stop_answers.count, answers, TICK_NS);
}

/* Waits until nobody is pending. *ticks is what is left of the time. */
static bool wait_for_pending(uint64_t *ticks)
{
	for (uint64_t quiet = 1; stop.pending_count > 0;) {
		uint32_t answers = load_seq(&stop_answers.count);
		size_t before = stop.pending_count;

		store_seq(&stop_answers.wanted, answers + (uint32_t)before);
		ask_pending(quiet % TICKS_PER_STATE_CHECK == 0);
		if (stop.pending_count == 0)
			break;
		if (load_seq(&world_word) != world_make_word(WORLD_STOPPING, stop.number))
			return false;
		await_answers(answers);
		if (load_seq(&stop_answers.count) != answers || stop.pending_count < before)
			continue;
		quiet++;
		if ((*ticks)-- == 0)
			return false;
	}
	return true;
}

/* ---- all of them ---- */

enum listing { LISTING_COMPLETE, LISTING_GREW, LISTING_FAILED };

static enum listing listing_fails(enum world_failure failure)
{
	stop.failure = failure;
	return LISTING_FAILED;
}

/* A task that need not be stopped, but may end at any moment. */
static enum listing pass_over(int tid)
{
	if (stop.passed_count == stop.capacity)
		return listing_fails(WORLD_MANY_TASKS);
	stop.passed[stop.passed_count++] = tid;
	return LISTING_COMPLETE;
}

/* Whoever was passed over is still there, so the count that was just taken includes them. */
static bool passed_are_there(void)
{
	for (size_t i = 0; i < stop.passed_count; i++) {
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
		if (!thread)
			return listing_fails(WORLD_NO_MEMORY);
		if (stop.index_count * 2 > stop.capacity)
			return listing_fails(WORLD_MANY_TASKS);
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
	return pending_add(thread) ? LISTING_GREW : listing_fails(WORLD_MANY_TASKS);
}

/* COMPLETE: every task there is stands still. */
static enum listing list_tasks(void)
{
	enum listing result = LISTING_COMPLETE;
	uint32_t listed = 0, counted;
	int tid;

	stop.passed_count = 0;
	if (!task_walk_begin(&stop.walk))
		return listing_fails(WORLD_NO_PROC);
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
		return listing_fails(WORLD_NO_PROC);
	return result == LISTING_COMPLETE && (listed != counted || !passed_are_there())
		       ? LISTING_GREW
		       : result;
}

/* ---- all of them, by their number ---- */

/* Everybody that was asked stands still, and nobody was asked twice. */
static bool are_all_by_count(void)
{
	uint32_t counted;

	stop.was_counted = stop.rest == 0 && !stop.has_doubles && task_count(&counted) &&
			   counted == stop.stopped_count + 1;
	world_stats.counted += stop.was_counted;
	return stop.was_counted;
}

static bool stands_still(const struct thread *thread)
{
	uint32_t gate = load_seq(&thread->gate);

	return gate == gate_make(GATE_HELD, stop.number) ||
	       gate == gate_make(GATE_PARKED, stop.number);
}

/* It may leave and end in between: that it has left is seen then. */
static void look_for_task(struct thread *thread, void *argument)
{
	bool *are_there = argument;
	int tid = load_acquire(&thread->tid);

	if (stands_still(thread) && syscall_failed(SYSCALL(tgkill, stop.process, tid, 0)))
		*are_there &= !stands_still(thread);
}

bool stop_tasks_were_all(void)
{
	bool are_there = true;

	stop.rest -= stop.rest > 0;
	if (!stop.was_counted)
		return true;
	threads_for_each(look_for_task, &are_there);
	are_there &= threads_died_at_gate() == stop.died_at_gate;
	if (!are_there)
		stop.rest = REST;
	return are_there;
}

/* ---- the stop ---- */

static bool stop_everybody(uint64_t ticks, bool may_count)
{
	bool is_full = false;

	threads_for_each(index_add, 0);
	threads_for_each(ask_first, &is_full);
	if (is_full)
		stop.failure = WORLD_MANY_TASKS;
	for (int i = 0; i < LISTINGS_MAX && !is_full; i++) {
		if (!wait_for_pending(&ticks))
			return false;
		if (i == 0 && may_count && are_all_by_count())
			return true;
		switch (list_tasks()) {
		case LISTING_COMPLETE:
			return true;
		case LISTING_FAILED:
			return false;
		case LISTING_GREW:
			break;
		}
		if (i >= FREE_LISTINGS && ticks-- == 0)
			return false;
	}
	return false;
}

void stop_tasks_begin(uint32_t number)
{
	stop.number = number;
	stop.self = thread_id_now();
	stop.process = (int)SYSCALL(getpid);
	stop.pending_count = 0;
	stop.not_sent = false;
	stop.failure = WORLD_NO_ANSWER;
	stop.stopped_count = 0;
	stop.was_counted = false;
	stop.died_at_gate = threads_died_at_gate();
}

bool stop_tasks_all(uint64_t timeout_ns, bool may_count)
{
	return stop_everybody(max_u64(timeout_ns / TICK_NS, 1), may_count);
}

enum world_failure stop_tasks_failure(void)
{
	return stop.failure == WORLD_NO_ANSWER && stop.not_sent ? WORLD_NOT_SENT : stop.failure;
}

bool stop_tasks_find_silent(int32_t *ret_tid)
{
	if (stop.pending_count == 0)
		return false;
	*ret_tid = stop.pending[0]->tid;
	return true;
}
