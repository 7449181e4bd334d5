/*
 * When a cycle is due. Program threads report what they freed and how the heap grew, in quanta, from slow paths; the arithmetic is pure and tested
 * alone. Nothing here runs in a malloc or free that did not enter its slow path.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What triggers are computed from. */
struct pacer_input {
	uint64_t heap_bytes; // in spans after the last cycle
	uint64_t growth_percent;
	uint64_t quarantine_percent;
	uint64_t quarantine_bytes; // OPTION_AUTO: by what is live
	uint64_t live_bytes;
	uint64_t root_bytes;   // read by the last cycle
	uint64_t memory_limit; // 0: none
};

struct pacer_goal {
	uint64_t hinted_bytes; // hinted bytes that start a cycle
	uint64_t hard_bytes;   // hinted bytes at which those who allocate wait
	uint64_t heap_bytes;   // span bytes that start a cycle
};

/* Pure: the goals after a cycle. */
struct pacer_goal pacer_compute(const struct pacer_input *input);

/* At start and after each cycle, verdict or not: `hinted_bytes` are still hinted, `live_bytes` were reached by the last verdict, which read
 * `root_bytes` of roots. Collector (or start). */
void pacer_set(
	uint64_t heap_bytes, uint64_t hinted_bytes, uint64_t live_bytes, uint64_t root_bytes);

/* Bytes the control groups allow the process, 0: no limit. For the next pacer_set(). Collector. */
void pacer_set_allowed_bytes(uint64_t bytes);

/* A thread freed so much; starts a cycle, or at the hard limit waits for one. Called with no lock held and signals open. */
void pacer_note_hinted(uint64_t bytes);

/* The heap may have grown (a span was taken). Cheap when nothing is due. Same conditions. */
void pacer_note_growth(uint64_t bytes);

/* free=trust: spans may have become free; their pages go back to the kernel after a while. Same conditions. */
void pacer_note_free_pages(void);

/*
 * While `us` is not 0, a thread that takes a span waits so many microseconds first: the program writes faster than is read. Collector, and a child of fork.
 */
void pacer_set_brake(uint32_t us);

/* How often a thread was held up so. */
uint64_t pacer_brake_count(void);

/* Bytes of spans that threads have got so far, new ones and such as have free slots. */
uint64_t pacer_grown_bytes(void);

/* Hinted bytes, about. */
uint64_t pacer_hinted_bytes(void);

/* Takes bytes off the count (trusted hints, swept ones). */
void pacer_forget_hinted(uint64_t bytes);

const struct pacer_goal *pacer_goal(void);
