/*
 * The public page of a process: live figures that `gasket status` reads, and a place where `gasket
 * set` leaves a request.
 *
 * The page is one file of STATS_PAGE_BYTES, gasket-UID/PID-STARTTIME, in the first of
 * $XDG_RUNTIME_DIR, /run, /dev/shm and /tmp that takes it, mapped shared. Directory and file belong
 * to the user alone. A short-lived process never makes it: until stats_publish() the figures go to
 * a private page inside the library, and are moved when the file appears. Nothing needs a page to
 * exist: where none can be made, the private one stays in use and the process merely cannot be
 * looked at.
 *
 *	+0	header: magic, version, number of figures, whose page it is
 *	+64	command area: one request at a time, see below
 *	+512	figures: 64-bit words in the order of stats_page.def
 *
 * Both sides distrust the other: the command validates all it reads, and the process reads back
 * nothing but the command area.
 *
 * A request: the command (one at a time, under flock of the file) stores `request`, then adds one
 * to `sequence` (release), then adds one to `wake` and wakes its sleepers. The process sees
 * sequence differ from the one it handled last, does it, stores `reply` and `text`, then stores that
 * sequence in `done` (release) and wakes its sleepers. A request nobody waits for any more is still
 * done, once.
 *
 * This header and stats_page.def are the format; the command includes nothing else of the core.
 */
#pragma once

#include "core/base/atomic.h"
#include "core/base/attr.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `report=now` leaves the report in a file of the page's name with this behind it, when it has no
 * better place: a daemon's standard error is closed. `gasket set` prints and removes it. */
#define STATS_REPORT_SUFFIX ".report"

/* The same for `findings=now` and `findings=possible`: a file of findings.h. `gasket leaks` takes it away. */
#define STATS_FINDINGS_SUFFIX ".findings"

/* The same for `snapshot=now`: a file of findings.h, with blocks, edges and holders. `gasket snapshot` and `gasket why` take it away. */
#define STATS_SNAPSHOT_SUFFIX ".snapshot"

#define STATS_MAGIC 0x4547415054455347ull /* "GSTEPAGE", little endian */

enum {
	STATS_VERSION = 1,
	STATS_PAGE_BYTES = 4096,
	STATS_FIGURES_OFFSET = 512,
	STATS_TEXT_BYTES = 192,
};

/* Why Gasket only allocates, or leaves even that to libc. */
#define STATS_ASIDE_REASONS(REASON) \
	REASON(NO, "no") \
	REASON(SETUID, "the program runs with privileges of its file") \
	REASON(SANITIZER, "the program has a sanitizer of its own") \
	REASON(EMULATOR, "the program runs in an emulator or under valgrind") \
	REASON(NO_PROC, "/proc cannot be read") \
	REASON(NO_MEMORY, "there is no memory for marks") \
	REASON(NO_THREAD, "the collector thread could not be started") \
	REASON(SANDBOX, "the program has entered a sandbox") \
	REASON(KERNEL, "the kernel lacks a system call the collector needs") \
	REASON(ALLOCATOR, "the program brings an allocator of its own") \
	REASON(REQUEST, "switched off by gasket set")

/* Why a cycle gave no verdict. */
#define STATS_NO_VERDICT_REASONS(REASON) \
	REASON(NONE, "none") \
	REASON(STOP_TIMEOUT, "a thread did not stop in time") \
	REASON(UNKNOWN_THREAD, "a thread is not known to Gasket") \
	REASON(ABANDONED, "a thread needed to run before the cycle was over") \
	REASON(NO_PROC, "/proc cannot be read") \
	REASON(ROOTS, "a root could not be read") \
	REASON(NO_MEMORY, "no memory for marks") \
	REASON(FORK, "the process forked meanwhile") \
	REASON(SHARED_MEMORY, "another process shares the memory") \
	REASON(IO_URING, "an io_uring worker is alive") \
	REASON(EXITING, "the process is ending") \
	REASON(PAUSE_TOO_LONG, "the pause would be longer than pause_max_ms") \
	REASON(NO_THREAD, "the collector thread could not be started") \
	REASON(TRACKING, "the kernel no longer tells which pages were written") \
	REASON(SNAPSHOT, "the child that marks could not be made, or did not finish")

/* How cycles run. */
#define STATS_TIERS(TIER) \
	TIER(NONE, "none") \
	TIER(STW, "stop the world") \
	TIER(CONCURRENT, "concurrent") \
	TIER(SNAPSHOT, "snapshot")

/* What the look for leaks at the end of a process found. `gasket leaks` reads it from the
 * stats_file. */
#define STATS_EXIT_CHECKS(CHECK) \
	CHECK(NONE, "not made") \
	CHECK(CLEAN, "clean") \
	CHECK(LEAKS, "leaks") \
	CHECK(NO_VERDICT, "no verdict")

/* What `gasket set` can ask for. */
#define STATS_REQUESTS(REQUEST) \
	REQUEST(NONE, "none", "") \
	REQUEST(LEAKS_OFF, "leaks=off", "leaked blocks are no longer looked for or taken back") \
	REQUEST(FREE_TRUST, "free=trust", "freed memory is used again at once, unproved") \
	REQUEST(COLLECTOR_OFF, "collector=off", \
		"no further cycle is run; free is trusted and leaks stay") \
	REQUEST(REPORT_NOW, "report=now", "a cycle is run and the leak report written") \
	REQUEST(FINDINGS_NOW, "findings=now", \
		"a cycle is run and a file of findings written, for gasket leaks") \
	REQUEST(GROWTH_WATCH, "growth=watch", \
		"for an hour cycles are run now and then, so that growth is seen") \
	REQUEST(SNAPSHOT_NOW, "snapshot=now", \
		"blocks and what refers to them are written to a file; see gasket snapshot") \
	REQUEST(FINDINGS_POSSIBLE, "findings=possible", \
		"as findings=now; possible leaks are looked for, too")

/* How a request ended. */
#define STATS_REPLIES(REPLY) \
	REPLY(NONE, "no reply") \
	REPLY(DONE, "done") \
	REPLY(REFUSED, "refused") \
	REPLY(NO_VERDICT, "no verdict") \
	REPLY(FAILED, "failed") \
	REPLY(UNKNOWN, "not known to this version")

#define STATS_ENTRY(name, ...) STATS_ASIDE_##name,
enum stats_aside { STATS_ASIDE_REASONS(STATS_ENTRY) STATS_ASIDE_COUNT };
#undef STATS_ENTRY
#define STATS_ENTRY(name, ...) STATS_NO_VERDICT_##name,
enum stats_no_verdict { STATS_NO_VERDICT_REASONS(STATS_ENTRY) STATS_NO_VERDICT_COUNT };
#undef STATS_ENTRY
#define STATS_ENTRY(name, ...) STATS_TIER_##name,
enum stats_tier { STATS_TIERS(STATS_ENTRY) STATS_TIER_COUNT };
#undef STATS_ENTRY
#define STATS_ENTRY(name, ...) STATS_EXIT_CHECK_##name,
enum stats_exit_check { STATS_EXIT_CHECKS(STATS_ENTRY) STATS_EXIT_CHECK_COUNT };
#undef STATS_ENTRY
#define STATS_ENTRY(name, ...) STATS_REQUEST_##name,
enum stats_request { STATS_REQUESTS(STATS_ENTRY) STATS_REQUEST_COUNT };
#undef STATS_ENTRY
#define STATS_ENTRY(name, ...) STATS_REPLY_##name,
enum stats_reply { STATS_REPLIES(STATS_ENTRY) STATS_REPLY_COUNT };
#undef STATS_ENTRY

#define STATS_WORD(name, words, ...) words "|"
#define STATS_ASIDE_WORDS STATS_ASIDE_REASONS(STATS_WORD)
#define STATS_NO_VERDICT_WORDS STATS_NO_VERDICT_REASONS(STATS_WORD)
#define STATS_TIER_WORDS STATS_TIERS(STATS_WORD)
#define STATS_EXIT_CHECK_WORDS STATS_EXIT_CHECKS(STATS_WORD)

/* Guard: atomics, protocol in the head. */
struct stats_command_area {
	uint32_t request;  // enum stats_request; written by the command
	uint32_t sequence; // number of requests made so far; written by the command
	uint32_t done;     // value of `sequence` that was handled last; written by the process; the
			   // command sleeps on it
	uint32_t reply;    // enum stats_reply of that request; written by the process
	uint32_t wake;     // the collector thread sleeps on it; changed by whoever wants to wake it
	uint32_t reserved;
	char text[STATS_TEXT_BYTES]; // reply in words, ends in 0; written by the process
};

struct stats_page {
	uint64_t magic;         // STATS_MAGIC
	uint32_t version;       // STATS_VERSION
	uint32_t figure_count;  // figures that follow at STATS_FIGURES_OFFSET; a later version may
				// have more
	uint64_t pid;           // as the process sees itself
	uint64_t start_time;    // field 22 of /proc/self/stat as the process sees it
	uint64_t pid_namespace; // inode of /proc/self/ns/pid, or 0
	uint64_t reserved[3];
	struct stats_command_area command ALIGNED(64);
	char padding[STATS_FIGURES_OFFSET - 64 - sizeof(struct stats_command_area)];

	// figures; their writers stand in stats_page.def
#define STATS_NUMBER(name, unit, writer, help) uint64_t name;
#define STATS_OPTION(name, writer, help) uint64_t name;
#define STATS_CHOICE(name, words, writer, help) uint64_t name;
#include "core/profile/stats_page.def"
#undef STATS_NUMBER
#undef STATS_OPTION
#undef STATS_CHOICE
};

static_assert(offsetof(struct stats_page, command) == 64, "format");
static_assert(offsetof(struct stats_page, aside) == STATS_FIGURES_OFFSET, "format");
static_assert(sizeof(struct stats_page) <= STATS_PAGE_BYTES, "format");

/*
 * The page the figures go to now. It changes once, in stats_publish(), and back to the private page
 * in a fork child, so load it anew for each access: by these macros. Figures are 64-bit words
 * changed by relaxed atomics; readers want no order among them.
 */
extern struct stats_page *stats;

#define stats_add(figure, amount) add_relaxed(&load_acquire(&stats)->figure, (uint64_t)(amount))
#define stats_set(figure, value) store_relaxed(&load_acquire(&stats)->figure, (uint64_t)(value))
#define stats_get(figure) load_relaxed(&load_acquire(&stats)->figure)

/* A request as the process sees it. */
struct stats_command {
	enum stats_request request; // never STATS_REQUEST_NONE; unknown ones are answered by
				    // stats_poll_command() itself
	uint32_t sequence;
};

/* Start-up, before the first use of anything below (figures may be counted earlier).
 * `runtime_directory` is the value of XDG_RUNTIME_DIR, or NULL; it is copied. */
void stats_init(const char *runtime_directory);

/*
 * Makes the file, once; later calls return at once. Call it when the collector starts, and from a
 * wrapped blocking call. Any thread, no lock of ours held; about 15 system calls. A thread that
 * finds another at it does not wait. errno is left alone. True when there is a file.
 */
bool stats_publish(void);

/* False: stats_publish() may still have something to do. One load; for fast paths of wrapped calls.
 */
bool stats_publish_was_tried(void);

/*
 * No file is made or removed from now on, here and in children: the program is about to enter a sandbox
 * that might kill it for such a system call. What is left behind is removed by whoever next makes a page.
 */
void stats_forbid_files(void);

/* It was not forbidden after all: what was published goes on; what was not stays so. */
void stats_allow_files(void);

/* Removes the file, if this process (not a vfork child that shares its memory) made it. The page
 * stays usable. Async-signal-safe. */
void stats_unpublish(void);

/* False in a vfork child, which shares its parent's memory, and in a child that libc knows nothing of. */
bool stats_belong_here(void);

/* Where a report asked for by `gasket set` may be left: beside the page. False when there is no
 * page. `text` of the answer then is this path. */
bool stats_report_path(char *buffer, size_t capacity);

/* The same for a file with another suffix. */
bool stats_path_beside(const char *suffix, char *buffer, size_t capacity);

/* Nanoseconds since stats_init(), in a fork child since the fork. */
uint64_t stats_age_ns(void);

/*
 * option stats_file: writes all figures as lines name=number, in the order of stats_page.def
 * (choices by position), to `path`, in which %p is the process id. A file of that name is replaced.
 * False when it could not be written. For the end of the process; any state.
 */
bool stats_write_file(const char *path);

/* In the child of a fork, before anything is counted there: leaves the parent's page, starts from
 * zero (options are kept). */
void stats_after_fork_in_child(void);

/* True when a request waits. One load; for slow paths. */
bool stats_command_is_pending(void);

/*
 * Takes the waiting request, if there is one; the caller then does it and calls
 * stats_command_done(). Only one thread gets it.
 */
bool stats_poll_command(struct stats_command *ret_command);

/* Answers it. `text` (cut to STATS_TEXT_BYTES - 1, may be NULL) is shown by `gasket set`: a path,
 * or a reason. False: another was made since, so nobody waits for this answer. */
bool stats_command_done(
	const struct stats_command *command, enum stats_reply reply, const char *text);

/*
 * Sleep of the collector thread: value = stats_wake_value(), look for work, stats_wait(value,
 * timeout). It wakes when a request arrives, when stats_wake() is called, or when the time is over
 * (FUTEX_NO_TIMEOUT: never).
 */
uint32_t stats_wake_value(void);
void stats_wait(uint32_t value, uint64_t timeout_ns);
void stats_wake(void);
