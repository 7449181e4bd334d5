/*
 * What the kernel knows of this process. This header: the files of /proc, and the list of tasks. maps.h: the mappings; pages.h: which pages hold
 * something, and their bytes.
 *
 * All of it goes through files that proc_open() opens once and keeps for life: a daemon that drops root could not open them again, but reads from
 * what is open go on working. The caller is the collector thread, which has a descriptor table of its own; so the program neither sees nor
 * closes them. One thread at a time; no lock, no libc, no memory but what proc_open() mapped: usable in a pause.
 *
 * /proc/thread-self is used instead of /proc/self, for that one is empty once the main thread has exited.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens maps, smaps, pagemap, mem, smaps_rollup and the task folder (maps and tasks are needed; a process that has dropped root cannot open pagemap and mem any
 * more, and does without). Called first by the collector thread once it has its own descriptor table; again in a child after
 * proc_forget(). False: there is no /proc or it may not be read (no collection then); nothing stays open. */
bool proc_open(void);

/* Closes what proc_open() opened. */
void proc_close(void);

/*
 * Closes every descriptor of this thread but `kept` (-1: none), for kernels without close_range. The thread's table must be its own. False: some may be open
 * still, for /proc cannot be read and there is no saying how many there are.
 */
bool descriptors_close(int kept);

/* After fork, in the child: the descriptors were another table's and are gone. */
void proc_forget(void);

bool proc_is_open(void);

/* The task that called proc_open(): it lives as long as the files are used. */
int proc_task(void);

/* The open files, for maps.c and pages.c; -1: not open. */
enum proc_file {
	PROC_MAPS,
	PROC_PAGEMAP,
	PROC_MEM,
	PROC_SMAPS,
	PROC_ROLLUP,
	PROC_TASKS,
	PROC_FILE_COUNT
};
int proc_descriptor(enum proc_file file);

/* Bytes of the process in memory, of all kinds; UINT64_MAX: unreadable. */
uint64_t proc_resident_bytes(void);

/* ---- tasks ---- */

enum {
	TASK_IO_WORKER = 0x10,     // PF_IO_WORKER: an io_uring worker, no user state
	TASK_USER_WORKER = 0x4000, // PF_USER_WORKER: the same for vhost
	TASK_EXITING = 0x4,        // PF_EXITING
};

/* A walk over the tasks of the process. In the collector's memory; about 4 KiB. */
struct task_walk {
	char buffer[4096];
	long bytes;  // in buffer
	long offset; // of the next entry
	bool failed;
};

/* Starts at the first task. One walk at a time. False: unreadable. */
bool task_walk_begin(struct task_walk *walk);

/* The next task's id; false at the end, or (walk->failed) on an error. A task that is born or dies meanwhile may be missed: compare two walks. */
bool task_walk_next(struct task_walk *walk, int *ret_tid);

/* How many tasks the process has now, by the kernel's own count (links of the task folder). False: unreadable. */
bool task_count(uint32_t *ret_count);

/* Field 3 (state letter) and field 9 (PF_ flags) of the task's stat. False: no such task any more, or unreadable. */
bool task_read_state(int tid, char *ret_state, unsigned *ret_flags);

/* The signals pending for this very task, and those it blocks: bit n - 1 is signal n. False: no such task any more, or unreadable. */
bool task_read_signals(int tid, uint64_t *ret_pending, uint64_t *ret_blocked);
