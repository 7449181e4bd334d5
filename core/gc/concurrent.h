/*
 * The concurrent tier: the heap is marked while the program runs. The kernel notes which pages the program writes meanwhile (core/os/tracking.h), and what lies
 * there is read again; two short pauses read the roots. The order, which must hold:
 *
 *	concurrent_begin	watch the whole window and protect it; spans are born MARKING; all others become MARKING and are preset
 *	pause, roots		the first mark, so that there is something to mark from
 *	concurrent_mark_roots	large roots that the pause left out: watched, protected, read (tracked_roots.h)
 *	concurrent_mark		through the heap; then what was written, again and again until that is little or does not get less
 *	pause, concurrent_catch_up, roots, mark_drain
 *	concurrent_look_at_cold	and if need be concurrent_mark_again and the pause again
 *	concurrent_end or concurrent_abort
 *
 * Why nothing reachable is left unmarked at the last pause: a slot that was in use when it was preset is marked when a word that names it is read, and then read
 * itself; every word that was stored into the heap after the protection lies on a page that is told as written, and is read again if its slot is marked and in
 * use. A slot that was free then is marked from the start: its contents were stored later. All roots are read in the pause, but for pages that hold what was read of
 * them before.
 *
 * The walk over the page tables grows with the heap (1.2 ms per GiB), so the pause looks only where the program wrote lately, and at what is new. The rest,
 * which is cold, is looked at when the program runs again: a page counts as written until it is protected anew, so if none is, none was at the pause, and
 * the verdict stands. Else there is none yet: what was written joins the hot ranges, and there is another pause; the third looks at all.
 *
 * Collector thread (or the one that runs cycles), lock CYCLE held; it is let go for forks while the program runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* True: this kernel, this process and these options allow the tier. */
bool concurrent_is_available(void);

struct concurrent_stats {
	uint32_t rounds;        // of catching up, beside the program
	uint32_t pauses;        // that caught up
	uint32_t broken_off;    // pauses that did not
	uint64_t written_bytes; // read again in the last pause
};
extern struct concurrent_stats concurrent_stats; // of the cycle under way

/* False: nothing is under way. *ret_is_broken tells that the kernel refused to track. */
bool concurrent_begin(bool *ret_is_broken);

/* Of both tiers that mark beside the program: spans are born MARKING, all others become MARKING and are preset. False: call concurrent_abort(). */
bool concurrent_preset(void);

/* Beside the program. False: told to end; call concurrent_abort(). */
bool concurrent_mark_roots(void);

/* Beside the program. False: call concurrent_abort(). */
bool concurrent_mark(bool *ret_is_broken);

/*
 * In the pause; no new block is read after `deadline_ns`. False: as above, but for CONCURRENT_TOO_LONG: so much was written that the deadline has passed; what was
 * read counts, and another round beside the program may follow.
 */
enum concurrent_caught_up {
	CONCURRENT_CAUGHT_UP,
	CONCURRENT_TOO_LONG,
	CONCURRENT_NOT_TRACKED,
	CONCURRENT_UNREADABLE
};
enum concurrent_caught_up concurrent_catch_up(uint64_t deadline_ns);

/* After the pause: what it did not look at. To be asked in a pause, too (checking builds). */
enum concurrent_cold {
	CONCURRENT_COLD_UNWRITTEN,
	CONCURRENT_COLD_WRITTEN,
	CONCURRENT_COLD_UNKNOWN
};
enum concurrent_cold concurrent_look_at_cold(void);

/* Beside the program: further rounds. False: as above. */
bool concurrent_mark_again(bool *ret_is_broken);

/* After the pause: the program may write the heap without faults, unless the next cycle is near. */
void concurrent_release(void);

/* Of both tiers. After the pause, with all marked: mark_for_each_span() meets every span that existed at the pause, all MARKING. False: no memory, call concurrent_abort(). */
bool concurrent_end(void);

/* No verdict: all spans are SWEPT. At any point after concurrent_begin(). */
void concurrent_abort(void);

/* In a fork child: nothing is under way. */
void concurrent_fork_child(void);
