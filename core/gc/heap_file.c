/*
 * Where the file is written is opened before the pause, by the parent: it knows what to remove when the child is killed. The child renames the file as its last act, so that it
 * stands under its name is all that says it is whole.
 *
 * Locks: CYCLE until the program runs again.
 */
#include "core/gc/heap_file.h"

#include "core/base/arith.h"
#include "core/base/format.h"
#include "core/gc/copy.h"
#include "core/gc/cycle.h"
#include "core/gc/heap_graph.h"
#include "core/gc/root_holders.h"
#include "core/os/arch.h"
#include "core/os/clock.h"
#include "core/os/lock.h"
#include "core/os/syscall.h"
#include "core/profile/findings_meta.h"
#include "core/profile/findings_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

enum {
	LOOK_MS = 10,
	CHILD_SECONDS_MAX = 600,
	PATH_BYTES = 256,
};

/* How the child ended, and what is said of it. */
#define ENDINGS(ENDING) \
	ENDING(DONE, "") \
	ENDING(NO_MEMORY, "no snapshot: no memory for the numbers of blocks") \
	ENDING(ROOTS, "no snapshot: a root could not be read") \
	ENDING(HEAP, "no snapshot: the heap could not be read") \
	ENDING(FILE, "no snapshot: there is no room for the file beside the public page")

#define ENTRY(name, words) ENDING_##name,
enum ending { ENDINGS(ENTRY) ENDING_COUNT };
#undef ENTRY
#define ENTRY(name, words) words,
static const char *const ending_words[ENDING_COUNT] = {ENDINGS(ENTRY)};
#undef ENTRY

/* The collector thread's; the child's copy is the child's. */
static struct {
	long child; // 0: none is under way
	uint64_t begun_ns;
	struct stats_command command;
	struct findings_writer writer;
	struct findings_meta meta;
} heap_file;

/* ---- the child ---- */

static void put_meta(struct findings_writer *writer)
{
	struct findings_meta *meta = &heap_file.meta;

	meta->live_blocks = heap_graph_totals.blocks - heap_graph_totals.freed_blocks;
	meta->live_bytes = heap_graph_totals.bytes - heap_graph_totals.freed_bytes;
	meta->dangling_blocks = heap_graph_totals.freed_blocks;
	meta->dangling_bytes = heap_graph_totals.freed_bytes;
	findings_begin(writer, FINDINGS_META, sizeof(*meta));
	findings_put(writer, meta, 1);
}

static int write_file(void *argument)
{
	struct findings_writer *writer = argument;

	if (!heap_graph_begin())
		return ENDING_NO_MEMORY;
	heap_graph_put_blocks(writer);
	if (!heap_graph_put_edges(writer))
		return ENDING_HEAP;
	if (root_holders_put(writer) != ROOTS_NOT_FAILED)
		return ENDING_ROOTS;
	findings_put_stacks(writer);
	put_meta(writer);
	return findings_close(writer) ? ENDING_DONE : ENDING_FILE;
}

/* ---- the parent ---- */

static void fill_meta(void)
{
	heap_file.meta = (struct findings_meta){
		.reason = FINDINGS_REASON_REQUEST,
		.verdict = cycle_last.has_verdict ? FINDINGS_VERDICT_FULL : FINDINGS_VERDICT_NONE,
		.no_verdict = cycle_last.no_verdict,
		.cycles = stats_get(cycles_with_verdict),
		.leaked_blocks = stats_get(leaked_blocks),
		.leaked_bytes = stats_get(leaked_bytes),
		.reclaimed_blocks = stats_get(reclaimed_blocks),
		.reclaimed_bytes = stats_get(reclaimed_bytes),
		.double_frees = stats_get(double_frees),
		.invalid_frees = stats_get(foreign_frees) + stats_get(interior_frees),
	};
	findings_describe_process(&heap_file.writer, &heap_file.meta);
}

/* Half of what is free where the file lies. */
static uint64_t room_for(const struct whole_file *file)
{
	struct statfs status;

	if (syscall_failed(SYSCALL(fstatfs, file->fd, &status)))
		return 0;
	return max_u64((uint64_t)status.f_bavail * (uint64_t)status.f_bsize / 2, 1);
}

/* NULL: it may be tried. */
static const char *refusal(void)
{
	return heap_file.child != 0 ? "a snapshot is under way" : copy_refusal();
}

static bool pause_and_copy(void)
{
	uint64_t keys = protection_keys_open();
	struct signal_guard guard;

	signals_block(&guard);
	lock_acquire(cycle_lock());
	heap_file.child = copy_make_still("gasket-snapshot", write_file, &heap_file.writer);
	lock_release(cycle_lock());
	signals_restore(&guard);
	protection_keys_restore(keys);
	return heap_file.child != 0;
}

enum stats_reply heap_file_begin(const struct stats_command *command, char *text, size_t capacity)
{
	const char *why = refusal();
	char path[PATH_BYTES];

	if (!why && !stats_path_beside(STATS_SNAPSHOT_SUFFIX, path, sizeof(path)))
		why = "the process has no public page, beside which the file could be written";
	if (why) {
		format_text(text, capacity, "%s", why);
		return STATS_REPLY_REFUSED;
	}
	SYSCALL(unlinkat, AT_FDCWD, path, 0);
	if (!findings_open(&heap_file.writer, path)) {
		format_text(text, capacity, "%s cannot be written", path);
		return STATS_REPLY_FAILED;
	}
	heap_file.writer.limit = room_for(&heap_file.writer.file);
	heap_file.command = *command;
	heap_file.begun_ns = clock_now_ns();
	fill_meta();
	if (pause_and_copy())
		return STATS_REPLY_NONE;
	findings_abandon(&heap_file.writer);
	format_text(text, capacity,
		"the threads could not be stopped for long enough, or the kernel made no copy of the process");
	return STATS_REPLY_FAILED;
}

static bool file_stands(void)
{
	struct stat status;

	return !syscall_failed(SYSCALL(
		newfstatat, AT_FDCWD, heap_file.writer.file.path, &status, AT_SYMLINK_NOFOLLOW));
}

static void answer(int status)
{
	const char *path = heap_file.writer.file.path, *text;
	bool done = file_stands();

	text = done ? path
	       : status >= 0 && status < ENDING_COUNT
		       ? ending_words[status]
		       : "no snapshot: the child that wrote it was ended";
	if (!stats_command_done(
		    &heap_file.command, done ? STATS_REPLY_DONE : STATS_REPLY_FAILED, text))
		SYSCALL(unlinkat, AT_FDCWD, path, 0);
}

void heap_file_look(void)
{
	struct copy_end end = {.status = COPY_KILLED};

	if (heap_file.child == 0)
		return;
	if (!copy_has_ended(heap_file.child, &end)) {
		if (clock_now_ns() - heap_file.begun_ns < CHILD_SECONDS_MAX * NS_PER_S)
			return;
		copy_kill(heap_file.child);
	}
	heap_file.child = 0;
	findings_abandon(
		&heap_file.writer); // the child's file bears its name by now, if it is whole
	answer(end.status);
}

uint64_t heap_file_next_look_ns(uint64_t now)
{
	return heap_file.child != 0 ? now + LOOK_MS * NS_PER_MS : UINT64_MAX;
}

void heap_file_stop(void)
{
	if (heap_file.child == 0)
		return;
	copy_kill(heap_file.child);
	heap_file_look();
}

void heap_file_fork_child(void)
{
	if (heap_file.child != 0) // or the page would be copied for nothing
		heap_file.child = 0;
}
