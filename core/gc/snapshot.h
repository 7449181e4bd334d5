/*
 * The snapshot tier, for kernels that do not tell which pages are written (Linux before 6.7, filters that refuse userfaultfd) and for programs that write faster
 * than we can read: in a pause all roots are read and the process is cloned; the child, a copy of the memory as it stood, marks, and leaves its marks in
 * memory that both share. The order, which must hold:
 *
 *	snapshot_begin		spans are born MARKING; all others become MARKING and are preset
 *	pause, roots, snapshot_take
 *	snapshot_wait		beside the program; the child's marks are added to ours
 *	snapshot_end
 *
 * Why nothing reachable is left unmarked: the child reads every slot that is marked and in use at the pause (what the roots name, and what was allocated since the
 * preset), and marks and reads what that reaches. A slot that was free at the preset is marked here, whoever gets it; none that was in use changes hands
 * before the verdict, for spans that are MARKING are not swept. What the child would not see as it is (shared memory, ranges that fork leaves out) are
 * roots, which are read in the pause.
 *
 * What the child may do, and who sees it: copy.h.
 *
 * Collector thread, lock CYCLE held; it is let go for forks while the program runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* True: such children can be made here. */
bool snapshot_is_available(void);

/* False: no memory, or a thread holds a span for too long; nothing is under way. */
bool snapshot_begin(void);

/* In the pause, the roots' marks set and queued. False: the kernel makes no child. */
bool snapshot_take(void);

/* Until the child has done. *ret_cpu_ns is its time. False: it did not finish, or the program does not want the cycle any more. */
bool snapshot_wait(uint64_t *ret_cpu_ns);

/* At any point after snapshot_begin(): with a verdict mark_for_each_span() meets every span that existed at the pause, all MARKING; without one, or if false is
 * returned, all spans are SWEPT. */
bool snapshot_end(bool has_verdict);
