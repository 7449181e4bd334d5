/*
 * Thread cache: per size class, the free slots of one group of 64 (a word of bits), and in free=trust a small LIFO of slots just freed.
 * The thread's malloc takes a bit, stores the state byte, done: no lock, no atomic read-modify-write.
 */
#pragma once

#include "core/heap/heap.h"

enum {
	HINT_QUANTUM_BYTES = 128 * 1024, // a thread reports its frees in pieces of this size
	FIRST_LIFO_SIZE = 8,             // slots of a LIFO until it is full for the first time
	SHARED_SLOTS = 32, // a thread that needs more of a class takes a span of its own
};

/* A freed slot and its state byte. */
struct lifo_entry {
	char *address;
	uint8_t *state;
};

/* One class of a thread cache. Touched by its thread only; by the collector never (nothing here is a root, or a root's bound). */
struct cache_bin {
	uint64_t word;   // free slots of the group that are ours to hand out
	char *base;      // address of the group's slot 0
	uint8_t *states; // state byte of the group's slot 0
	uint32_t slot_bytes;
	uint16_t next_group; // next group of `span` to look at
	uint16_t
		shared_count; // slots had from spans that threads share or from stock, up to SHARED_SLOTS
	struct lifo_entry *lifo_top; // behind the newest
	struct lifo_entry *lifo_end; // what free may fill by itself; with stacks: nothing
	struct lifo_entry *lifo;     // with stacks: where the part begins that is paid for
	struct span *span;           // current span, or NULL
} ALIGNED(64);

enum {
	LARGE_UNITS_MAX = 8,        // longest large block kept in a cache
	LARGE_BIN_UNITS = 8,        // so many units of one length, in blocks
	LARGE_CACHE_UNITS_MAX = 16, // and of all lengths: what an idle thread keeps from the kernel
};

/* stacks=suspects: how many more stacks of a class the thread may take (core/profile/suspects.h). All zero until the class is suspected. */
struct suspect_pace {
	uint64_t looked_ns; // when its credit was last looked at
	uint32_t credit_ns; // time that may still be spent
	uint32_t cost_ns;   // of one stack, by experience; 0: none
	uint16_t left;      // stacks until the clock is read again
	uint16_t passing;   // slots that pass without one before the clock is read again
	bool is_first;      // the next one is the first of them: it tells the cost
};

/* free=trust: large blocks of one length that the thread has freed, in state CACHED. */
struct large_bin {
	uint32_t count;
	struct span *spans[LARGE_BIN_UNITS];
};

/* A thread's cache. Every field is the thread's own. */
struct thread_cache {
	int64_t hint_credit;   // bytes this thread may free before it tells the pacer
	int64_t sample_credit; // bytes until the next sampled block
	uint64_t random_state;
	uint64_t refilled_bytes; // since the last report to the pacer
	uint32_t
		bypasses; // thread_cache_bypass_begin() without its end: every allocation takes the slow path
	uint32_t suspects_seen; // suspects_generation() that the words were last looked through for
	void *known_stack;      // its owner: core/alloc, core/profile/known_stack.h; or NULL
	struct cache_bin bins[SIZE_CLASS_COUNT + 1];
	struct lifo_entry *kept[SIZE_CLASS_COUNT +
				1]; // thread_cache_keep(): where the whole LIFO begins; or NULL
	struct lifo_entry first_lifos
		[SIZE_CLASS_COUNT]
		[FIRST_LIFO_SIZE]; // side by side: a thread that frees little touches few pages
	struct large_bin large[LARGE_UNITS_MAX + 1]; // by length in units
	struct suspect_pace paces[SIZE_CLASS_COUNT + 1];
};

/* The cache of a thread that has none: every bin is empty, so every malloc takes the slow path. Never written but for its credits. */
extern struct thread_cache thread_cache_none HIDDEN;
#define THREAD_CACHE_NONE (&thread_cache_none)

/* The calling thread's cache; never NULL. */
extern __thread struct thread_cache *thread_cache_current HIDDEN
	__attribute__((tls_model("initial-exec")));

/* A new empty cache, or NULL without memory. Any thread; blocks signals inside. */
struct thread_cache *thread_cache_create(void);

/* Gives all slots and spans of a cache back to the central lists. The cache is empty afterwards. By its thread, or when its thread is dead. */
void thread_cache_flush(struct thread_cache *cache);

/* Frees the large blocks in the cache. True: there were some. By its thread. */
bool thread_cache_drop_large(struct thread_cache *cache);

/* Flushes and recycles. The caller has made sure that no thread uses it (thread_cache_current is something else). */
void thread_cache_destroy(struct thread_cache *cache);

/* In a fork child: the cache of a thread that stayed behind. It may have been changing it: spans go back, slots of its LIFOs are lost. */
void thread_cache_inherit(struct thread_cache *cache);

/*
 * Finds free slots for `class`: fills bins[class].word. False: out of memory. Blocks signals where it holds locks.
 * Slots are those with state FREE in the current span's next groups, then a span from the central list, swept if need be, then a fresh one. In free=trust
 * the LIFO is filled first, from the class's stock, and a thread that has had few slots of the class gets single ones from a span it shares.
 */
bool thread_cache_refill(struct thread_cache *cache, unsigned class);

/*
 * The word was just refilled for a block of so many granules, pad included. A large slot that was in use before came alone: of this the end is cleared, which the
 * program will not write. What stands there would be read for as long as the slot is in use. (Small slots have a word or two of it.)
 */
void thread_cache_clear_end(const struct cache_bin *bin, size_t granules);

/*
 * From here to the end nothing is allocated from the cache but by way of thread_cache_refill(), whose caller leaves one slot in the word at most. Nests. By the
 * cache's thread; not for THREAD_CACHE_NONE.
 */
void thread_cache_bypass_begin(struct thread_cache *cache);
void thread_cache_bypass_end(struct thread_cache *cache);

/* No slot of the class is left in the cache's word or LIFO; those of the word are found again. By its thread. */
void thread_cache_empty_bin(struct thread_cache *cache, unsigned class);

/* The group that the word was filled from comes next again. */
void thread_cache_look_again(struct cache_bin *bin);

/*
 * From now on slots that were in use before are cleared before they are handed out. In what a program does not write of its blocks there stays what their former
 * owners wrote; a pointer to an element of a list that goes on keeps all that came after it. Any thread.
 */
void thread_cache_start_clearing(void);

/*
 * free=trust where stacks are sampled: a slot just freed goes on the LIFO (it becomes CACHED afterwards). malloc's fast path sees only as many of the newest as the
 * sample credit pays for; who comes to the slow path instead is to pay for the others (thread_cache_pay()) or to be the sample.
 */
void thread_cache_keep(struct thread_cache *cache, unsigned class, struct lifo_entry entry);

/* Some slot of the class is kept, paid for or not. */
static inline bool thread_cache_keeps(const struct thread_cache *cache, unsigned class)
{
	return cache->kept[class] && cache->bins[class].lifo_top != cache->kept[class];
}

/* Of the slots kept, pays for those that are not; false: the credit is not enough for one. */
bool thread_cache_pay(struct thread_cache *cache, unsigned class);

/* The newest slot kept, of which none is paid for. */
static inline struct lifo_entry *thread_cache_newest_kept(
	struct thread_cache *cache, unsigned class)
{
	return cache->bins[class].lifo_top - 1;
}

/* Takes it off: the caller stores a live state. */
void thread_cache_take_kept(struct thread_cache *cache, unsigned class);

/* free=trust, LIFO full (or not yet in use): makes room in it. The first LIFO becomes one of full size, one of full size gives its older half back. */
void thread_cache_spill(struct thread_cache *cache, unsigned class);

/* For fork. */
struct lock *thread_cache_lock(void);
