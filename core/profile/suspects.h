/*
 * stacks=suspects: which sizes of blocks leak, and which of their allocations get a full stack.
 *
 * The collector names classes of sizes (core/gc/leak_suspects.h); the slow path of malloc asks here. A suspected class has nothing left in any thread's
 * word of free slots, so that each malloc of it takes the slow path: the fast path knows nothing of it. Threads drop their words themselves, when they next
 * come by with an old generation.
 *
 * Time is bounded. A thread may spend an eighth of its time on stacks, shared equally by the classes that are suspected, and save up that of a few dozen stacks: a
 * class that is allocated now and then has them all; one that is allocated millions of times a second has those of some, drawn at random, while
 * the rest passes by the word, as ever.
 */
#pragma once

#include "core/base/atomic.h"
#include "core/heap/size_class.h"
#include "core/heap/thread_cache.h"

#include <stdbool.h>
#include <stdint.h>

/* All words: written under the lock CYCLE, read relaxed anywhere. */
struct suspects {
	uint32_t generation; // grows when a class is named
	uint32_t count;
	uint8_t is_suspected[BLOCK_CLASS_COUNT]; // by block_class_of()
};
extern struct suspects suspects HIDDEN;

/* The collector names or clears a class. Lock CYCLE. */
void suspects_name(unsigned class);
void suspects_clear(unsigned class);

static inline bool suspects_contain(unsigned class)
{
	return load_relaxed(&suspects.is_suspected[class]) != 0;
}

/* Of the calling thread's cache (or THREAD_CACHE_NONE, which is left alone): words of suspected classes are given up, if any was named since the last call. */
void suspects_obey_slow(struct thread_cache *cache);
static inline void suspects_obey(struct thread_cache *cache)
{
	if (UNLIKELY(cache->suspects_seen != load_relaxed(&suspects.generation)))
		suspects_obey_slow(cache);
}

/*
 * A slot of a suspected small class is about to be handed out. 0: with a stack, and suspect_done() is to be called after it was taken. Else so many slots at most,
 * at least one, may be handed out without, which suspect_passed() is told. The thread's own cache.
 */
unsigned suspect_passing(struct thread_cache *cache, unsigned class);
void suspect_passed(struct thread_cache *cache, unsigned class, unsigned count);
void suspect_done(struct thread_cache *cache, unsigned class);

/* Pure: a thread with this pace looks at the clock while `count` classes are suspected: `left` is set to the stacks it may take now. */
void suspect_pace_look(struct suspect_pace *pace, uint64_t now_ns, uint32_t count);
