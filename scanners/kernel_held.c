/*
 * The table: open addressing with linear probing in memory of ours, at most half full, doubled when it is not. A dropped entry is closed up by
 * moving later ones back (no tombstones: a server adds and drops for years).
 *
 * Programs close watched descriptors without a word to epoll, and the kernel forgets them silently. So before a cycle, when there are many entries, the kernel
 * is asked what each epoll descriptor watches (fdinfo), and entries that it does not name are dropped. An entry made while it was asked has a
 * newer stamp and stays.
 *
 * Alternate signal stacks need no entry: each thread's record knows the one it set, and the kernel tells us the one in force with each signal frame.
 */
#include "scanners/kernel_held.h"

#include "core/base/check.h"
#include "core/base/format.h"
#include "core/gc/thread.h"
#include "core/os/lock.h"
#include "core/os/memory.h"
#include "core/os/proc.h"
#include "core/os/sandbox.h"
#include "core/os/syscall.h"
#include "scanners/scanners.h"

#include <fcntl.h>
#include <string.h>

struct entry {
	struct held_key key; // kind HELD_NONE: free
	uint64_t value;
	uint32_t stamp; // held.stamp when it was set
};

enum {
	SLOTS_FIRST = 512,
	FORGET_ENTRIES_MIN = 64, // fewer are not worth asking
	FORGET_PERIOD = 16,      // cycles; sooner if the entries have doubled
	EPOLLS_MAX = 64,         // asked in one go
	WATCHED_MAX = 1 << 20,   // descriptors beyond are taken for watched
	TEXT_BYTES = 16 * 1024,
};

/* Guard: lock. The collector reads it in a pause, when nobody holds the lock. */
static struct {
	struct lock lock;
	struct entry *slots;
	size_t slot_count; // a power of two, or 0
	size_t used;
	bool incomplete; // an entry found no memory
	uint32_t stamp;  // times the kernel was asked

	// collector thread
	size_t forget_at;  // entries that make it worth asking again
	uint32_t cycles;   // since it was asked
	uint64_t *watched; // WATCHED_MAX bits, mapped at first use
	char *text;        // TEXT_BYTES behind it
} held = {.lock = LOCK_INITIAL(KERNEL_HELD)};

void held_begin(struct signal_guard *guard)
{
	signals_block(guard);
	lock_acquire(&held.lock);
}

void held_end(const struct signal_guard *guard)
{
	lock_release(&held.lock);
	signals_restore(guard);
}

static size_t slot_of(struct held_key key, size_t slot_count)
{
	uint64_t hash = (key.first ^ (uint64_t)key.second << 32 ^ key.kind) * 0x9e3779b97f4a7c15ull;

	return (hash >> 20) & (slot_count - 1);
}

static bool keys_are_equal(struct held_key a, struct held_key b)
{
	return a.kind == b.kind && a.first == b.first && a.second == b.second;
}

/* Where the key is, or would be. */
static struct entry *find(struct entry *slots, size_t slot_count, struct held_key key)
{
	size_t at = slot_of(key, slot_count);

	while (slots[at].key.kind != HELD_NONE && !keys_are_equal(slots[at].key, key))
		at = (at + 1) & (slot_count - 1);
	return &slots[at];
}

static bool grow(void)
{
	size_t slot_count = held.slot_count ? held.slot_count * 2 : SLOTS_FIRST;
	struct entry *slots = os_map(slot_count * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < held.slot_count; i++) {
		if (held.slots[i].key.kind != HELD_NONE)
			*find(slots, slot_count, held.slots[i].key) = held.slots[i];
	}
	if (held.slots)
		os_unmap(held.slots, held.slot_count * sizeof(*slots));
	held.slots = slots;
	held.slot_count = slot_count;
	return true;
}

void held_set(struct held_key key, uint64_t value)
{
	struct entry *entry;

	lock_assert_held(&held.lock);
	check(key.kind != HELD_NONE);
	if ((held.used + 1) * 2 > held.slot_count && !grow() && held.used + 1 >= held.slot_count) {
		held.incomplete = true;
		return;
	}
	entry = find(held.slots, held.slot_count, key);
	held.used += entry->key.kind == HELD_NONE;
	*entry = (struct entry){key, value, held.stamp};
}

void held_drop(struct held_key key)
{
	size_t mask = held.slot_count - 1;
	size_t hole, at;

	lock_assert_held(&held.lock);
	if (held.slot_count == 0)
		return;
	hole = (size_t)(find(held.slots, held.slot_count, key) - held.slots);
	if (held.slots[hole].key.kind == HELD_NONE)
		return;
	held.used--;
	// an entry may move into the hole if its own place is not between the hole and itself
	for (at = (hole + 1) & mask; held.slots[at].key.kind != HELD_NONE; at = (at + 1) & mask) {
		size_t home = slot_of(held.slots[at].key, held.slot_count);

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		held.slots[hole] = held.slots[at];
		hole = at;
	}
	held.slots[hole] = (struct entry){0};
}

bool held_get(struct held_key key, uint64_t *ret_value)
{
	const struct entry *entry;

	lock_assert_held(&held.lock);
	if (held.slot_count == 0)
		return false;
	entry = find(held.slots, held.slot_count, key);
	if (entry->key.kind == HELD_NONE)
		return false;
	*ret_value = entry->value;
	return true;
}

size_t held_count(void)
{
	return held.used;
}

/* ---- what the kernel has forgotten ---- */

static void find_task(struct thread *thread, void *argument)
{
	int *task = argument;

	if (*task == 0 && thread->life == THREAD_LIVE)
		*task = thread->tid;
}

/* True when the descriptor of that task is an epoll. */
static bool is_epoll(int task, unsigned epoll)
{
	static const char name[] = "anon_inode:[eventpoll]";
	char path[48], link[sizeof(name)];

	format_text(path, sizeof(path), "%d/fd/%u", task, epoll);
	return SYSCALL(readlinkat, proc_descriptor(PROC_TASKS), path, link, sizeof(link)) ==
		       sizeof(name) - 1 &&
	       memcmp(link, name, sizeof(name) - 1) == 0;
}

/* "tfd:        5 events: ...": notes 5. */
static void note_watched(const char *line, const char *end)
{
	uint64_t watched = 0;

	if (end - line < 5 || memcmp(line, "tfd:", 4) != 0)
		return;
	for (line += 4; line < end && *line == ' '; line++)
		;
	for (; line < end && *line >= '0' && *line <= '9'; line++)
		watched = watched * 10 + (uint64_t)(*line - '0');
	if (watched < WATCHED_MAX)
		held.watched[watched / 64] |= 1ull << (watched % 64);
}

/* Fills `watched`. False: unreadable. */
static bool read_watched(int task, unsigned epoll)
{
	char path[48];
	size_t kept = 0;
	long file, bytes;

	format_text(path, sizeof(path), "%d/fdinfo/%u", task, epoll);
	file = SYSCALL(openat, proc_descriptor(PROC_TASKS), path, O_RDONLY | O_CLOEXEC);
	if (syscall_failed(file))
		return false;
	memset(held.watched, 0, WATCHED_MAX / 8);
	while ((bytes = SYSCALL(read, file, held.text + kept, TEXT_BYTES - kept)) > 0) {
		size_t line = 0;

		kept += (size_t)bytes;
		for (size_t i = 0; i < kept; i++) {
			if (held.text[i] != '\n')
				continue;
			note_watched(held.text + line, held.text + i);
			line = i + 1;
		}
		memmove(held.text, held.text + line, kept - line);
		kept -= line;
	}
	SYSCALL(close, file);
	return bytes == 0;
}

static bool is_forgotten(const struct entry *entry, unsigned epoll, uint32_t stamp)
{
	uint32_t watched = entry->key.second;

	return entry->key.kind == HELD_EPOLL && entry->key.first == epoll &&
	       entry->stamp != stamp && watched < WATCHED_MAX &&
	       !(held.watched[watched / 64] >> (watched % 64) & 1);
}

/* Another entry may move to where one was dropped; one that wraps round may be missed until the next time. */
static void drop_forgotten(unsigned epoll, uint32_t stamp)
{
	struct signal_guard guard;

	held_begin(&guard);
	for (size_t i = 0; i < held.slot_count; i++) {
		while (is_forgotten(&held.slots[i], epoll, stamp))
			held_drop(held.slots[i].key);
	}
	held_end(&guard);
}

/* The epoll descriptors of the table, at most EPOLLS_MAX; entries made from now on bear the new stamp. */
static size_t list_epolls(unsigned *ret_epolls, uint32_t *ret_stamp)
{
	struct signal_guard guard;
	size_t count = 0;

	held_begin(&guard);
	*ret_stamp = ++held.stamp;
	for (size_t i = 0; i < held.slot_count && count < EPOLLS_MAX; i++) {
		unsigned epoll = (unsigned)held.slots[i].key.first;
		size_t known = 0;

		if (held.slots[i].key.kind != HELD_EPOLL)
			continue;
		while (known < count && ret_epolls[known] != epoll)
			known++;
		ret_epolls[known] = epoll;
		count += known == count;
	}
	held_end(&guard);
	return count;
}

static void forget_closed(void)
{
	unsigned epolls[EPOLLS_MAX];
	uint32_t stamp;
	size_t count;
	int task = 0;

	if (held.used < FORGET_ENTRIES_MIN ||
		(++held.cycles < FORGET_PERIOD && held.used < held.forget_at))
		return;
	if (!sandbox_allows(SANDBOX_ASK))
		return;
	if (!held.watched)
		held.watched = os_map(WATCHED_MAX / 8 + TEXT_BYTES);
	if (!held.watched)
		return;
	held.text = (char *)held.watched + WATCHED_MAX / 8;
	threads_for_each(find_task, &task);
	count = list_epolls(epolls, &stamp);
	for (size_t i = 0; i < count; i++) {
		if (is_epoll(task, epolls[i]) && read_watched(task, epolls[i]))
			drop_forgotten(epolls[i], stamp);
	}
	held.cycles = 0;
	held.forget_at = 2 * held.used;
}

/* ---- the scanner ---- */

static void scan_altstacks(struct thread *thread, void *argument)
{
	uintptr_t words[2] = {0, 0};

	if (thread->altstack_bytes != 0)
		words[0] = thread->altstack_low;
	if (thread_gate_state(thread) == GATE_PARKED && thread->stop_altstack_bytes != 0)
		words[1] = thread->stop_altstack_low;
	root_scan_words_of(argument, thread->tid, 0, words, 2);
}

static bool scan_held(struct root_scan *scan)
{
	threads_for_each(scan_altstacks, scan);
	for (size_t i = 0; i < held.slot_count; i++) {
		if (held.slots[i].key.kind != HELD_NONE)
			root_scan_words(scan, (const uintptr_t *)&held.slots[i].value, 1);
	}
	if (held.incomplete)
		scan->requests_in_flight = true;
	return true;
}

const struct scanner scanner_kernel_held = {
	.name = "kernel_held", .prepare = forget_closed, .scan = scan_held};

struct lock *held_lock(void)
{
	return &held.lock;
}
